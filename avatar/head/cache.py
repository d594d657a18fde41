"""Which head a name means, and its converted copy on disk."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from avatar.assets import head_folder
from avatar.errors import BadInput
from avatar.head.linear import LinearHead, load, save
from avatar.progress import note


def load_cached(name_or_path: str) -> LinearHead:
    """See `avatar.head.load_head`."""
    kind, content_hash, convert = _resolve(name_or_path)
    path = head_folder() / f"{kind}-{content_hash[:16]}.safetensors"
    if not path.exists():
        note(f"converting the {kind} head (once, about half a minute) ...")
        save(convert(), path)
    return _load(path)


@lru_cache(maxsize=4)
def _load(path: Path) -> LinearHead:
    return load(path)


def _resolve(name_or_path: str) -> tuple[str, str, Callable[[], LinearHead]]:
    """Kind of head, its content hash, and what converts it."""
    if name_or_path == "anny":
        from avatar.head import anny

        return "anny", anny.source_hash(), anny.convert
    kind, _, rest = name_or_path.partition(":")
    if kind not in ("flame", "gnm") or not rest:
        kind, rest = {".pkl": "flame", ".npz": "gnm"}.get(Path(name_or_path).suffix, ""), name_or_path
    if not kind:
        raise BadInput(
            f"no head model is called {name_or_path!r}",
            expected="anny, flame:/path/to/generic_model.pkl or gnm:/path/to/head.npz",
            got=name_or_path,
        )
    path = Path(rest).expanduser()
    if not path.is_file():
        raise BadInput(f"no such {kind} file: {path}", expected="a file", got=str(path), fix="check the path")
    if kind == "flame":
        from avatar.head import flame

        return kind, flame.source_hash(path), lambda: flame.convert(path)
    from avatar.head import gnm

    return kind, gnm.source_hash(path), lambda: gnm.convert(path)
