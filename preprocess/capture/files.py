"""The files of a capture folder: where they lie, how they are written, and whether what is read back can be."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from avatar.errors import BadInput, FormatMismatch
from avatar.files import read_npz, write_json
from avatar.types import CAPTURE_SCHEMA, Camera
from preprocess.capture.pictures import AGAIN

SCHEMA = CAPTURE_SCHEMA

TRACK_SHAPES: dict[str, tuple[str | int, ...]] = {
    "timestamps": ("t",),
    "tracked": ("t",),
    "identity": ("k",),
    "neutral": ("v", 3),
    "expression": ("t", 52),
    "joints": ("t", 4, 3),
    "quats_wxyz": ("t", 4),
    "translation": ("t", 3),
    "torso": ("t", 3),
    "landmarks_px": ("t", 478, 2),
    "scores": ("t", 52),
    "confidence": ("t",),
}
"""Arrays of tracks.npz: t frames, k identity components, v vertices. Seconds, metres, capture pixels, wxyz."""

_RANGES = {
    "neutral": (-1.0, 1.0),
    "expression": (-1.0, 2.0),
    "joints": (-np.pi, np.pi),
    "translation": (-100.0, 100.0),
    "torso": (-10.0, 10.0),
    "scores": (-0.01, 1.01),
    "confidence": (0.0, 1.01),
}


def frame_path(folder: Path, index: int) -> Path:
    """Where picture `index` lies."""
    return folder / "frames" / f"{index:06d}.jpg"


def mask_path(folder: Path, index: int) -> Path:
    """Where mask `index` lies."""
    return folder / "masks" / f"{index:06d}.png"


def save_tracks(folder: Path, **arrays: np.ndarray) -> None:
    """Write tracks.npz; the arrays are those of `TRACK_SHAPES`."""
    if set(arrays) != set(TRACK_SHAPES):
        raise ValueError(f"tracks.npz holds {sorted(TRACK_SHAPES)}, got {sorted(arrays)}")
    floats = {
        k: v if v.dtype == bool else v.astype(np.float64 if k == "timestamps" else np.float32)
        for k, v in arrays.items()
    }
    np.savez(folder / "tracks.npz", **floats)  # pyright: ignore[reportArgumentType]  (its stub mixes up keywords)


def save_info(folder: Path, info: dict[str, Any]) -> None:
    """Write capture.json, with the schema first."""
    write_json(folder / "capture.json", {"schema": SCHEMA, **info})


def read_info(folder: Path) -> dict[str, Any]:
    """capture.json, of this schema."""
    file = folder / "capture.json"
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise BadInput(f"{folder} {what}", expected="a capture folder", fix=AGAIN)
    if not file.is_file():
        raise BadInput(f"{folder} is not a capture: it has no capture.json", fix=AGAIN)
    try:
        info = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FormatMismatch(f"{file} is no valid JSON", got=str(error), fix=AGAIN) from error
    if not isinstance(info, dict) or info.get("schema") != SCHEMA:
        got = info.get("schema") if isinstance(info, dict) else type(info).__name__
        raise FormatMismatch(f"{file} has another schema", expected=SCHEMA, got=repr(got), fix=AGAIN)
    return info


def wrong(file: Path, field: str, expected: str, got: object) -> FormatMismatch:
    """The error for a field that can't be."""
    return FormatMismatch(f"{file}: '{field}' is wrong", expected=expected, got=repr(got)[:200], fix=AGAIN)


def missing(file: Path) -> FormatMismatch:
    """The error for a file that is not there."""
    return FormatMismatch(f"{file} is missing", expected="every file that a capture is made of", fix=AGAIN)


def field(folder: Path, info: dict[str, Any], key: str, kind: type) -> Any:
    """A field of capture.json that must be of a kind."""
    value = info.get(key)
    if not isinstance(value, kind):
        raise wrong(folder / "capture.json", key, kind.__name__, value)
    return value


def whole(folder: Path, info: dict[str, Any], key: str) -> int:
    """A field that must be a positive whole number."""
    value = info.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 10**8:
        raise wrong(folder / "capture.json", key, "a positive whole number", value)
    return value


def number(folder: Path, info: dict[str, Any], key: str) -> float:
    """A field that must be a finite number."""
    value = info.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e30:  # NaN is not either
        raise wrong(folder / "capture.json", key, "a finite number", value)
    return float(value)


def read_camera(folder: Path, info: dict[str, Any], width: int, height: int) -> Camera:
    """The capture's camera."""
    fields = field(folder, info, "camera", dict)
    fx, fy, cx, cy = (number(folder, fields, key) for key in ("fx", "fy", "cx", "cy"))
    for key, value in (("fx", fx), ("fy", fy)):
        if not 0.1 * max(width, height) < value < 100 * max(width, height):
            raise wrong(folder / "capture.json", key, "a focal length of 0.1 to 100 times the long side", value)
    return Camera(width, height, fx, fy, cx, cy)


def read_tracks(file: Path, count: int) -> dict[str, np.ndarray]:
    """The arrays of tracks.npz, checked for kind, shape and range."""
    if not file.is_file():
        raise missing(file)
    try:
        tracks = read_npz(file)
    except Exception as error:  # zip, zlib, header and pickle refusals all come as different types
        raise FormatMismatch(f"{file} can't be read", got=str(error), fix=AGAIN) from error
    sizes: dict[str | int, int] = {"t": count}
    for name, shape in TRACK_SHAPES.items():
        if name not in tracks:
            raise wrong(file, name, "an array", None)
        array = tracks[name]
        if array.dtype.kind not in ("b" if name == "tracked" else "f"):
            raise wrong(file, name, "booleans" if name == "tracked" else "floating-point numbers", array.dtype.name)
        fits = array.ndim == len(shape) and all(
            (sizes.setdefault(s, n) if isinstance(s, str) else s) == n for s, n in zip(shape, array.shape, strict=False)
        )
        if not fits:
            raise wrong(file, name, f"shape {tuple(sizes.get(s, s) for s in shape)}", array.shape)
    _check_values(file, tracks)
    return tracks


def _check_values(file: Path, tracks: dict[str, np.ndarray]) -> None:
    for name, array in tracks.items():
        numbers = array[tracks["tracked"]] if name == "landmarks_px" else array
        if array.dtype.kind == "f" and not np.isfinite(numbers).all():
            raise wrong(file, name, "finite numbers", "NaN or infinity")
        low, high = _RANGES.get(name, (-np.inf, np.inf))
        if array.dtype.kind == "f" and numbers.size and not (low <= numbers.min() and numbers.max() <= high):
            raise wrong(file, name, f"values in [{low:.4g}, {high:.4g}]", (float(numbers.min()), float(numbers.max())))
    steps = np.diff(tracks["timestamps"])
    if tracks["timestamps"][0] < 0 or (len(steps) and steps.min() <= 0):
        raise wrong(file, "timestamps", "seconds that increase from 0", f"a step of {steps.min(initial=0):g} s")
    if (mean := float(tracks["timestamps"][-1]) / max(len(steps), 1)) > 1:
        raise wrong(file, "timestamps", "at least one frame per second", f"one in {mean:g} seconds")
    norms = np.linalg.norm(tracks["quats_wxyz"], axis=1)
    if np.abs(norms - 1).max() > 0.01:
        raise wrong(file, "quats_wxyz", "unit quaternions", f"norm {norms[np.abs(norms - 1).argmax()]:.3f}")
    if tracks["translation"][:, 2].min() <= 0:
        raise wrong(file, "translation", "a head in front of the camera (z > 0)", tracks["translation"][:, 2].min())
    if not tracks["tracked"].any():
        raise wrong(file, "tracked", "at least one tracked frame", "none")


def require_files(folder: Path, count: int) -> None:
    """Raises FormatMismatch unless every frame has its picture and its mask."""
    for kind, name in (("frames", frame_path), ("masks", mask_path)):
        have = {p.name for p in (folder / kind).iterdir()} if (folder / kind).is_dir() else set()
        for index in range(count):
            if name(folder, index).name not in have:
                raise missing(name(folder, index))


def content_hash(folder: Path) -> str:
    """Identity of a capture. Pictures enter by size only: reading them all would take longer than loading."""
    digest = hashlib.sha256()
    info = json.loads((folder / "capture.json").read_text(encoding="utf-8"))
    opinions = ("metrics", "stages", "warnings", "known_warnings", "verdict")
    facts = {key: value for key, value in info.items() if key not in opinions}
    digest.update(json.dumps(facts, sort_keys=True).encode())
    for name in ("tracks.npz", "background.png"):
        digest.update((folder / name).read_bytes())
    for picture in sorted([*(folder / "frames").iterdir(), *(folder / "masks").iterdir()]):
        digest.update(f"{picture.name} {picture.stat().st_size}\n".encode())
    return digest.hexdigest()
