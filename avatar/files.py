"""Writing results so that nothing half-written is ever seen, and reading our own JSON and safetensors back."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from avatar.errors import BadInput, FormatMismatch

Tensors = dict[str, Any]
"""Torch tensors by name; torch is not imported here, so that files can be read without it."""

_PARTIAL = ".partial"
_ELSEWHERE = "choose another -o/--output"

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DISK_ERRORS = _DISK_FULL | {errno.EROFS, errno.EACCES, errno.EPERM}


def is_disk_error(error: BaseException | None) -> bool:
    """Whether an error says that the disk is full, read-only or not the user's."""
    return isinstance(error, OSError) and error.errno in _DISK_ERRORS


def cannot_write(path: Path, error: OSError, need: str = "") -> BadInput:
    """What to tell a user whose result can't be written; `need` says how much room it takes."""
    full = error.errno in _DISK_FULL
    return BadInput(
        f"can't write {path}" + (": the disk is full" if full else ""),
        expected="a writable disk with room for the result" + (f", {need}" if need else ""),
        got=error.strerror or str(error),
        fix=("free some space, or " if full else "") + "give another place with -o/--output",
    )


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full or read-only disk into an error that says what to do."""
    try:
        yield
    except OSError as error:
        if not is_disk_error(error):
            raise
        raise cannot_write(path, error) from error


def partial_file(path: Path) -> Path:
    """Where a file is written before it takes its name; another process writing the same file has another one."""
    return path.with_name(f"{path.name}.{os.getpid()}{_PARTIAL}")


def publish_file(path: Path) -> None:
    """Give the finished partial file its name, once its bytes are on the disk."""
    partial = partial_file(path)
    with partial.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(partial, path)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A file to write to, which becomes `path` when the block ends and vanishes when it fails; makes the folder.

    Raises:
        BadInput: the disk is full or read-only.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial_file(path)
            publish_file(path)
        finally:
            partial_file(path).unlink(missing_ok=True)


def partial_folder(output: Path) -> Path:
    """Where a result folder is built before it takes its name; also what a later run resumes from."""
    return output.parent / f".{output.name}.partial"


def check_output_folder(output: Path, marker: str, schema: str, overwrite: bool) -> None:
    """Refuse to mix a result with other things, and to delete what is no such result.

    Args:
        marker: the file that tells that a folder is such a result (`capture.json`, `avatar.json`).
        schema: what it holds as its schema, in any version.

    Raises:
        BadInput: `output` is a file or link, a folder with other things in it, or a result and `overwrite` is not set.
    """
    if output.is_symlink() or output.is_file():
        raise BadInput(f"{output} is a file or a link", expected="a folder to create", fix=_ELSEWHERE)
    if not output.is_dir() or not any(output.iterdir()):
        return
    kind = marker.removesuffix(".json")
    if not _claims(output / marker, schema):
        raise BadInput(
            f"{output} is not empty and not a result of this command ({kind})",
            expected=f"a new or empty folder, or an older {kind} with --overwrite",
            got=", ".join(sorted(p.name for p in output.iterdir())[:4]),
            fix=f"{_ELSEWHERE}; nothing was touched",
        )
    if not overwrite:
        raise BadInput(f"{output} exists", fix=f"add --overwrite to replace it, or {_ELSEWHERE}")


def _claims(file: Path, schema: str) -> bool:
    """Whether a JSON file claims to be of a schema, in any version."""
    try:
        claimed = json.loads(file.read_text(encoding="utf-8"))["schema"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return isinstance(claimed, str) and claimed.partition("/")[0] == schema.partition("/")[0]


def publish_folder(output: Path) -> None:
    """Give the finished partial folder its name; an older result is removed only after the new one is complete."""
    partial, old = partial_folder(output), output.with_name(f".{output.name}.old")
    for leftover in partial.glob(f"*{_PARTIAL}"):  # of a process that was killed while it wrote
        leftover.unlink()
    shutil.rmtree(old, ignore_errors=True)
    if output.exists():
        os.replace(output, old)
    os.replace(partial, output)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def atomic_folder(output: Path) -> Iterator[Path]:
    """A folder to fill, which takes the place of `output` when the block ends and vanishes when it fails.

    What may be replaced is for `check_output_folder` to say.

    Raises:
        BadInput: the disk is full or read-only.
    """
    partial = partial_folder(output)
    with disk_errors(output):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            yield partial
            publish_folder(output)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def write_json(path: Path, content: dict) -> None:
    """Write JSON atomically.

    Raises:
        BadInput: the disk is full or read-only.
        ValueError: a number is not finite, which JSON can't say.
    """
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")


def read_json(path: Path, schema: str, kind: str, again: str = "") -> dict:
    """Read a JSON file of ours and check its schema.

    Args:
        kind: what a folder with this file is called.
        again: how to make one anew, for who has another version.

    Raises:
        BadInput: there is no such file.
        FormatMismatch: it is not JSON, or of another schema.
    """
    again = again or f"make {kind} again"
    if not path.is_file():
        raise BadInput(f"{path.parent} is not {kind}", expected=f"a folder with {path.name}", got="no such file")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as e:
        raise FormatMismatch(f"{path} is not valid JSON", got=str(e), fix=again) from e
    got = content.get("schema") if isinstance(content, dict) else None
    if got != schema:
        newer = isinstance(got, str) and _version(got) > _version(schema)
        fix = f"update visavis to one that reads it, or {again}" if newer else again
        raise FormatMismatch(f"{path} has another schema", expected=schema, got=str(got), fix=fix)
    return content


def _version(schema: str) -> int:
    number = schema.rpartition("/")[2]
    return int(number) if number.isdecimal() else 0


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write an .npz atomically.

    Raises:
        BadInput: the disk is full or read-only.
    """
    with atomic_path(path) as partial, partial.open("wb") as file:
        np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]  (its stub mixes up keywords)


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an .npz; what numpy raises about a file that is none is for the caller to explain."""
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def write_safetensors(path: Path, tensors: Tensors, header: dict[str, str]) -> None:
    """Write safetensors atomically; the header is plain text.

    Raises:
        BadInput: the disk is full or read-only.
    """
    from safetensors.torch import save_file

    with atomic_path(path) as partial:
        try:
            save_file({k: t.detach().contiguous().cpu() for k, t in tensors.items()}, str(partial), header)
        except SafetensorError as e:  # it wraps the system's error: "... No space left on device (os error 28)"
            code = re.search(r"os error (\d+)", str(e))
            if code is None and "No space" not in str(e):
                raise
            raise OSError(int(code[1]) if code else errno.ENOSPC, str(e)) from e


def read_safetensors(path: Path, fix: str) -> tuple[Tensors, dict[str, str]]:
    """Tensors and header of a safetensors file.

    Raises:
        FormatMismatch: the file is missing, cut off or not safetensors.
    """
    # Cloned, because tensors inside a file lie unaligned, and vectorised sums then round differently.
    tensors, header = _read(path, "pt", fix)
    return {name: tensor.clone() for name, tensor in tensors.items()}, header


def read_arrays(path: Path, fix: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """`read_safetensors` as numpy arrays, without torch."""
    arrays, header = _read(path, "np", fix)
    return {name: array.copy() for name, array in arrays.items()}, header


def _read(path: Path, framework: str, fix: str) -> tuple[dict[str, Any], dict[str, str]]:
    try:
        with safe_open(str(path), framework=framework) as f:
            return {k: f.get_tensor(k) for k in f.keys()}, f.metadata() or {}
    except (OSError, SafetensorError) as e:
        raise FormatMismatch(f"can't read {path}", expected="a whole safetensors file", got=str(e), fix=fix) from e


def save_tensors(path: Path, tensors: Tensors, metadata: dict | None = None) -> None:
    """`write_safetensors` with metadata, kept as JSON in the header."""
    write_safetensors(path, tensors, {"json": json.dumps(metadata or {})})


def load_tensors(path: Path, kind: str) -> tuple[Tensors, dict]:
    """Read what `save_tensors` wrote: tensors and metadata.

    Raises:
        FormatMismatch: the file is missing, cut off or not safetensors.
    """
    tensors, header = read_safetensors(path, fix=f"make {kind} again")
    return tensors, json.loads(header.get("json", "{}"))


def link_all(pairs: Iterable[tuple[Path, Path]]) -> None:
    """Second names for files, as (file, new name); copies where the disk knows no hard links."""
    for file, name in pairs:
        name.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file, name)
        except FileExistsError:
            raise
        except OSError:
            shutil.copyfile(file, name)
