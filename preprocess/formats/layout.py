"""What every layout shares: the protocol, a tracked clip between two formats, cameras, reading of what others wrote."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import Bool, Float, UInt8

from avatar.errors import BadInput, FormatMismatch
from avatar.progress import progress
from avatar.types import Camera, Motion
from preprocess.capture import CaptureFolder

GL = np.diag([1.0, -1.0, -1.0, 1.0])
"""OpenGL's camera axes from OpenCV's, and the other way round."""
Matrices = Float[np.ndarray, "t 4 4"]


@dataclass(frozen=True)
class Track:
    """What a layout knows of the head: person and movement."""

    identity: Float[np.ndarray, " k"]
    neutral: Float[np.ndarray, "v 3"]
    motion: Motion
    tracked: Bool[np.ndarray, " t"]


@dataclass(frozen=True)
class Clip:
    """A clip as it lies in a layout; pictures are read one at a time."""

    camera: Camera
    timestamps_seconds: Float[np.ndarray, " t"]
    picture: Callable[[int], UInt8[np.ndarray, "h w 3"]]
    mask: Callable[[int], UInt8[np.ndarray, "h w"]] | None
    """Person confidence; None where the layout has none."""
    track: Track | None
    """None where the layout's parameters mean nothing to us: the clip is then tracked anew."""
    audio: Path | None
    notes: tuple[str, ...] = ()
    """What was lost or guessed, for the user."""


@dataclass(frozen=True)
class ReadOptions:
    """What layouts do not hold."""

    head: str
    """The head model whose parameters they are, as in `avatar.head.load_head`."""
    fps: float = 25.0
    """Frame rate where the layout has no times."""


class Layout(Protocol):
    """One system's folder. Modules of this package implement it."""

    @property
    def NAME(self) -> str: ...

    @property
    def MARKER(self) -> str:
        """A file that every such folder has."""
        ...

    @property
    def LOST(self) -> str:
        """What of a capture it has no place for."""
        ...

    def write(self, capture: CaptureFolder, folder: Path) -> None:
        """Write a capture into an empty folder."""
        ...

    def read(self, folder: Path, options: ReadOptions) -> Clip:
        """Read a folder; pictures later, on demand.

        Raises:
            FormatMismatch: something is missing, damaged or contradictory; names it.
        """
        ...


def head_poses(motion: Motion) -> Matrices:
    """T_camera_head per frame, OpenCV's axes."""
    from scipy.spatial.transform import Rotation

    poses = np.tile(np.eye(4), (len(motion), 1, 1))
    poses[:, :3, :3] = Rotation.from_quat(motion.quats_wxyz[:, [1, 2, 3, 0]]).as_matrix()
    poses[:, :3, 3] = motion.translation
    return poses


def posed_motion(times: np.ndarray, expression: np.ndarray, joints: np.ndarray, poses: Matrices) -> Motion:
    """The inverse of `head_poses`, with what else a motion holds."""
    from scipy.spatial.transform import Rotation

    quats = Rotation.from_matrix(poses[:, :3, :3]).as_quat()[:, [3, 0, 1, 2]]
    parts = (expression, joints, quats, poses[:, :3, 3])
    return Motion(times, *(np.ascontiguousarray(part, np.float32) for part in parts))


def intrinsics(camera: Camera) -> dict[str, float]:
    """A camera as NeRF tools write it."""
    return {
        "cx": camera.cx, "cy": camera.cy, "fl_x": camera.fx, "fl_y": camera.fy, "w": camera.width, "h": camera.height,
        "camera_angle_x": 2 * math.atan(camera.width / (2 * camera.fx)),
        "camera_angle_y": 2 * math.atan(camera.height / (2 * camera.fy)),
    }  # fmt: skip


def read_intrinsics(file: Path, content: dict[str, Any]) -> Camera:
    """The inverse of `intrinsics`."""
    w, h, fx, cx, cy = (number(file, content, key) for key in ("w", "h", "fl_x", "cx", "cy"))
    return Camera(int(w), int(h), fx, number(file, content, "fl_y") if "fl_y" in content else fx, cx, cy)


def write_transforms(folder: Path, split: str, content: dict[str, Any]) -> None:
    """transforms_SPLIT.json (transforms.json for an empty split)."""
    name = f"transforms_{split}.json" if split else "transforms.json"
    (folder / name).write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_transforms(file: Path) -> dict[str, Any]:
    """A transforms file with at least one frame.

    Raises:
        FormatMismatch: it is missing, or no such file.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FormatMismatch(f"{file} can't be read", expected="a JSON file with frames", got=str(error)) from error
    frames = content.get("frames") if isinstance(content, dict) else None
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        raise FormatMismatch(f"{file} has no frames", expected="a list 'frames' of objects", got=repr(frames)[:80])
    return content


def number(file: Path, content: dict[str, Any], key: str) -> float:
    """A finite number of a JSON object."""
    value = content.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise FormatMismatch(f"{file}: '{key}' is wrong", expected="a finite number", got=repr(value)[:80])
    return float(value)


def numbers(file: Path, arrays: dict[str, np.ndarray], name: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """An array of finite numbers, of a certain shape if one is given.

    Raises:
        FormatMismatch: there is none of that name, kind or shape.
    """
    array = arrays.get(name)
    good = array is not None and array.dtype.kind in "fiub" and np.isfinite(array).all()
    if array is None or not good or (shape is not None and array.shape != shape):
        expected = "finite numbers" + (f" of shape {shape}" if shape is not None else "")
        got = "nothing" if array is None else f"{array.dtype} {array.shape}"
        raise FormatMismatch(f"{file}: '{name}' is wrong", expected=expected, got=got)
    return array


def matrices(file: Path, frames: list[dict[str, Any]]) -> Matrices:
    """The `transform_matrix` of all frames."""
    try:
        got = np.array([frame["transform_matrix"] for frame in frames], np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise FormatMismatch(
            f"{file}: a transform_matrix is wrong", expected="4 x 4 numbers", got=str(error)
        ) from error
    if got.shape[1:] != (4, 4) or not np.isfinite(got).all():
        raise FormatMismatch(
            f"{file}: a transform_matrix is wrong", expected="4 x 4 finite numbers", got=str(got.shape)
        )
    return got


def inside(folder: Path, file: Path, frame: dict[str, Any], key: str) -> Path:
    """A file that a frame names, which must lie in the folder.

    Raises:
        FormatMismatch: there is none, or it points elsewhere.
    """
    name = frame.get(key)
    path = folder / name if isinstance(name, str) else None
    if path is None or not path.resolve().is_relative_to(folder.resolve()) or not path.is_file():
        raise FormatMismatch(f"{file}: '{key}' names no file of this folder", expected="a file in it", got=repr(name))
    return path


def times_of(frames: list[dict[str, Any]], file: Path, fps: float) -> Float[np.ndarray, " t"]:
    """Times that we wrote into a layout without any, else frames at a steady rate, from 0."""
    if all("timestamp_seconds" in frame for frame in frames):
        times = np.array([number(file, frame, "timestamp_seconds") for frame in frames])
    else:
        times = np.arange(len(frames)) / fps
    if (np.diff(times) <= 0).any():
        raise FormatMismatch(f"{file}: timestamps do not rise")
    return times - times[0]


def each(capture: CaptureFolder, label: str) -> Iterator[int]:
    """Frame numbers, with progress."""
    with progress(label, len(capture)) as bar:
        for index in range(len(capture)):
            yield index
            bar.update(index + 1)


def require_size(path: Path, got: tuple[int, ...], camera: Camera) -> None:
    """Raise unless a picture has the camera's size."""
    if got[:2] != (camera.height, camera.width):
        expected = f"{camera.width}x{camera.height}"
        raise FormatMismatch(f"{path} has another size", expected=expected, got=f"{got[1]}x{got[0]}")


def no_layout(path: Path, names: str) -> BadInput:
    """What to say of a folder that is none."""
    return BadInput(f"{path} is in no layout that is known", expected=names, got="none of their files")
