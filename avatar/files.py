"""Writing results so that nothing half-written is ever seen, and reading our own JSON and safetensors back."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from avatar.errors import BadInput, FormatMismatch


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full or read-only disk into an error that says what to do."""
    try:
        yield
    except OSError as e:
        if e.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES):
            raise
        raise BadInput(
            f"can't write {path}",
            expected="a writable disk with room for the result",
            got=os.strerror(e.errno),
            fix="free some space or give another place with -o",
        ) from e


def partial_folder(output: Path) -> Path:
    """Where a result folder is built before it takes its name; also what a later run resumes from."""
    return output.parent / f".{output.name}.partial"


def check_output_folder(output: Path, marker: str, overwrite: bool) -> None:
    """Refuse to write over anything but an older result of the same kind.

    Args:
        marker: the file that tells that a folder is such a result (`capture.json`, `avatar.json`).

    Raises:
        BadInput: `output` is a file, a folder with other things in it, or a result and `overwrite` is not set.
    """
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not (output / marker).is_file():
        raise BadInput(
            f"{output} exists and is not a result of this command",
            expected=f"a new or empty folder, or one that holds {marker}",
            got="a file" if output.is_file() else "a folder with other files",
            fix="choose another -o/--output",
        )
    if not overwrite:
        raise BadInput(f"{output} exists", fix="add --overwrite to replace it, or choose another -o/--output")


def publish_folder(output: Path) -> None:
    """Give the finished partial folder its name; an older result is removed only after the new one is complete."""
    old = output.parent / f".{output.name}.old"
    shutil.rmtree(old, ignore_errors=True)
    if output.exists():
        os.replace(output, old)
    os.replace(partial_folder(output), output)
    shutil.rmtree(old, ignore_errors=True)


def write_json(path: Path, content: dict) -> None:
    """Write JSON atomically."""
    partial = path.with_name(path.name + ".part")
    with disk_errors(path):
        partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(partial, path)


def read_json(path: Path, schema: str, kind: str) -> dict:
    """Read a JSON file of ours and check its schema.

    Raises:
        BadInput: there is no such file.
        FormatMismatch: it is not JSON, or of another schema.
    """
    if not path.is_file():
        raise BadInput(f"{path.parent} is not {kind}", expected=f"a folder with {path.name}", got="no such file")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as e:
        raise FormatMismatch(f"{path} is not valid JSON", got=str(e), fix=f"make {kind} again") from e
    got = content.get("schema") if isinstance(content, dict) else None
    if got != schema:
        raise FormatMismatch(f"{path} has another schema", expected=schema, got=str(got), fix=f"make {kind} again")
    return content


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict | None = None) -> None:
    """Write safetensors atomically and durably; `metadata` is kept as JSON in the header."""
    partial = path.with_name(path.name + ".part")
    header = {"json": json.dumps(metadata or {})}
    with disk_errors(path):
        try:
            save_file({k: t.detach().contiguous() for k, t in tensors.items()}, str(partial), header)
        except SafetensorError as e:  # it wraps the system's error
            partial.unlink(missing_ok=True)
            raise OSError(errno.ENOSPC, str(e)) from e
        with partial.open("rb+") as f:
            os.fsync(f.fileno())
        os.replace(partial, path)


def load_tensors(path: Path, kind: str) -> tuple[dict[str, Tensor], dict]:
    """Read what `save_tensors` wrote: tensors and metadata.

    Raises:
        FormatMismatch: the file is missing, cut off or not safetensors.
    """
    try:
        with safe_open(str(path), framework="pt") as f:
            # Cloned, because tensors inside a file lie unaligned, and vectorised sums then round differently.
            return {k: f.get_tensor(k).clone() for k in f.keys()}, json.loads((f.metadata() or {}).get("json", "{}"))
    except (OSError, SafetensorError, ValueError) as e:
        raise FormatMismatch(f"can't read {path}", got=str(e), fix=f"make {kind} again") from e
