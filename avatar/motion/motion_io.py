"""Motion files: one .npz of plain arrays (never pickled), schema `visavis.motion/1`; or a table (`motion_csv`).

Arrays: `schema`, `names` (the 52 actions in order), `timestamps_seconds` t, `expression` t x 52, `joints` t x 4 x 3
(axis-angle radians), `quats_wxyz` t x 4 (world <- head), `translation` t x 3 (metres), `torso` t x 3 (metres, radians).
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from avatar.errors import BadInput, FormatMismatch
from avatar.files import atomic_path, read_npz
from avatar.head.arkit import ARKIT_NAMES
from avatar.motion.motion_csv import read_csv, write_csv
from avatar.tracks import JOINTS, MOTION_FIELDS, N_EXPRESSIONS, Motion

SCHEMA = "visavis.motion/1"
_SHAPES = {
    "timestamps_seconds": (),
    "expression": (N_EXPRESSIONS,),
    "joints": (len(JOINTS), 3),
    "quats_wxyz": (4,),
    "translation": (3,),
    "torso": (3,),
}


def save_motion(path: Path, motion: Motion) -> None:
    """Write a motion, as a table if the name ends in .csv; an older file is replaced once the new one is complete.

    Raises:
        BadInput: the file can't be written.
    """
    if path.suffix.lower() == ".csv":
        return write_csv(path, motion)
    arrays = {name: getattr(motion, name) for name in MOTION_FIELDS}
    with atomic_path(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, schema=np.array(SCHEMA), names=np.array(ARKIT_NAMES), **arrays)


def load_motion(path: Path) -> Motion:
    """Read a motion (.npz, or .csv of ours or of Live Link Face) and check that it can be played.

    Raises:
        BadInput: there is no such file.
        FormatMismatch: it is no motion file of this schema, or holds impossible values.
    """
    arrays = read_csv(path) if path.suffix.lower() == ".csv" else _read_npz(path)
    for name, shape in _SHAPES.items():
        _check(path, name, arrays.get(name), shape, len(arrays.get("timestamps_seconds", ())))
    times = arrays["timestamps_seconds"].astype(np.float64)
    if (np.diff(times) <= 0).any():
        raise _no_motion(path, "timestamps that do not rise")
    if (np.linalg.norm(arrays["quats_wxyz"], axis=1) < 1e-3).any():
        raise _no_motion(path, "a rotation of length 0")
    return Motion(times, *(arrays[name].astype(np.float32) for name in MOTION_FIELDS[1:]))


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        arrays = read_npz(path)
    except OSError as error:
        raise BadInput(f"cannot read the motion {path}", got=error.strerror or str(error)) from error
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise _no_motion(path, f"no .npz of plain arrays: {error}") from error
    if "schema" not in arrays or str(arrays["schema"]) != SCHEMA:
        raise _no_motion(path, f"schema {str(arrays.get('schema'))!r}")
    if tuple(map(str, arrays.get("names", ()))) != ARKIT_NAMES:
        raise _no_motion(path, "another list of actions")
    return arrays


def _check(path: Path, name: str, array: np.ndarray | None, shape: tuple[int, ...], frames: int) -> None:
    if array is None or array.shape != (frames, *shape) or not frames or not np.issubdtype(array.dtype, np.number):
        got = "nothing" if array is None else f"{array.dtype} {array.shape}"
        raise _no_motion(path, f"{name}: {got}, where {('t', *shape)} numbers belong")
    if not np.isfinite(array).all():
        raise _no_motion(path, f"{name} holds a value that is not finite")


def _no_motion(path: Path, got: str) -> FormatMismatch:
    return FormatMismatch(
        f"{path} is not a usable motion file",
        expected=f"an .npz of schema {SCHEMA} or a .csv, as `visavis convert` writes them",
        got=got,
        fix="make it again, or give a capture folder instead",
    )
