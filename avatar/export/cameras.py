"""Cameras for clips: orbit, ring, stereo pair, and paths read from JSON.

A moving camera is a function of time, `CameraAt`: clips of any frame rate sample the same movement.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation, Slerp

from avatar.errors import BadInput, FormatMismatch
from avatar.files import write_json
from avatar.types import Camera
from cuda_ext.camera_models import CAMERA_MODELS

SCHEMA = "visavis.cameras/1"
CameraAt = Callable[[float], Camera]
"""Camera at a time in seconds."""
_NUMBERS = ("width", "height", "fx", "fy", "cx", "cy")


def front(camera: Camera) -> CameraAt:
    """The given camera, at rest."""
    return lambda seconds: camera


def orbit(
    camera: Camera,
    center: Float[np.ndarray, "3"],
    *,
    seconds: float,
    yaw_degrees: float = 15.0,
    pitch_degrees: float = 0.0,
) -> CameraAt:
    """Swing about `center` in a sine of yaw (with pitch: a lying figure eight): smooth, and it loops.

    Args:
        camera: where the swing starts, in the middle.
        center: world point that keeps its place in the picture, metres.
        seconds: length of one period.
        yaw_degrees, pitch_degrees: amplitudes; positive goes to the camera's right and up first.
    """
    if seconds <= 0:
        raise BadInput(f"an orbit needs a period above 0 s, got {seconds:g} s")

    def at(time_seconds: float) -> Camera:
        phase = 2 * np.pi * time_seconds / seconds
        return turned(camera, center, yaw_degrees * np.sin(phase), pitch_degrees * np.sin(2 * phase))

    return at


def ring(camera: Camera, center: Float[np.ndarray, "3"], views: int, span_degrees: float) -> list[Camera]:
    """`views` cameras evenly spaced on an arc about `center`, `camera` in its middle; 360 degrees close the circle.

    Raises:
        BadInput: fewer than one view, or a span outside 0..360 degrees.
    """
    if views < 1 or not 0 <= span_degrees <= 360:
        raise BadInput(f"cannot place {views} views on {span_degrees:g} degrees", expected="views >= 1, span 0..360")
    if span_degrees == 360:
        yaws = np.arange(views) * 360.0 / views
    else:
        yaws = np.linspace(-span_degrees / 2, span_degrees / 2, views) if views > 1 else np.zeros(1)
    return [turned(camera, center, float(yaw)) for yaw in yaws]


def turned(camera: Camera, center: Float[np.ndarray, "3"], yaw_degrees: float, pitch_degrees: float = 0.0) -> Camera:
    """Move a camera about `center`, keeping the centre's place in the picture.

    Yaw is about the camera's own vertical and moves it to its right, pitch is about its horizontal and moves it up.
    """
    T_world_camera = np.linalg.inv(camera.T_camera_world.astype(np.float64))
    right, down = T_world_camera[:3, 0], T_world_camera[:3, 1]
    # OpenCV's y axis points down: turning by a negative angle about it carries the camera to its right.
    turn = Rotation.from_rotvec(-np.radians(yaw_degrees) * down) * Rotation.from_rotvec(
        -np.radians(pitch_degrees) * right
    )
    moved = np.eye(4)
    moved[:3, :3] = turn.as_matrix() @ T_world_camera[:3, :3]
    moved[:3, 3] = center + turn.apply(T_world_camera[:3, 3] - center)
    return replace(camera, T_camera_world=np.linalg.inv(moved).astype(np.float32))


def stereo_pair(camera: Camera, center: Float[np.ndarray, "3"], ipd_m: float = 0.063) -> tuple[Camera, Camera]:
    """Left and right eye of a viewer at `camera`: parallel cameras, principal points shifted (off-axis).

    Points at the depth of `center` get zero disparity, i.e. appear in the plane of the screen. Turning the cameras
    inwards instead would add vertical disparity, which strains the eyes (Woods, Docherty, Koch: Image distortions in
    stereoscopic video systems, 1993).

    Raises:
        BadInput: `ipd_m` is not within 0..0.5 m, the centre lies behind the camera, or that is orthographic.
    """
    if camera.model == "orthographic":
        raise BadInput("an orthographic camera sees no disparity: a stereo pair needs a pinhole or fisheye camera")
    if not 0 < ipd_m < 0.5:
        raise BadInput(f"an eye distance of {ipd_m * 1000:g} mm makes no sense", expected="about 63 mm")
    T = camera.T_camera_world.astype(np.float64)
    depth = float(T[2, :3] @ center + T[2, 3])
    if depth <= 0:
        raise BadInput("the head lies behind the camera: a stereo pair has nothing to converge on")
    eyes = []
    for side in (-1, 1):
        offset = side * ipd_m / 2
        shifted = T.copy()
        shifted[0, 3] -= offset
        angle = offset / depth if camera.model == "pinhole" else np.arctan2(offset, depth)
        cx = camera.cx + camera.fx * float(angle)
        eyes.append(replace(camera, cx=cx, T_camera_world=shifted.astype(np.float32)))
    return eyes[0], eyes[1]


@dataclass(frozen=True)
class CameraPath:
    """Key cameras at rising times; between them rotation goes by slerp, position and intrinsics linearly."""

    times_seconds: Float[np.ndarray, " k"]
    cameras: tuple[Camera, ...]

    def __call__(self, seconds: float) -> Camera:
        """Camera at a time; the first and last key hold outside the path."""
        t = float(np.clip(seconds, self.times_seconds[0], self.times_seconds[-1]))
        i = int(np.clip(np.searchsorted(self.times_seconds, t, side="right") - 1, 0, max(len(self.cameras) - 2, 0)))
        if len(self.cameras) == 1:
            return self.cameras[0]
        a, b = self.cameras[i], self.cameras[i + 1]
        share = (t - self.times_seconds[i]) / (self.times_seconds[i + 1] - self.times_seconds[i])
        poses = [np.linalg.inv(c.T_camera_world.astype(np.float64)) for c in (a, b)]
        pose = np.eye(4)
        pose[:3, :3] = Slerp([0, 1], Rotation.from_matrix([p[:3, :3] for p in poses]))(share).as_matrix()
        pose[:3, 3] = (1 - share) * poses[0][:3, 3] + share * poses[1][:3, 3]
        numbers = {k: float((1 - share) * getattr(a, k) + share * getattr(b, k)) for k in ("fx", "fy", "cx", "cy")}
        return replace(a, **numbers, T_camera_world=np.linalg.inv(pose).astype(np.float32))


def camera_to_json(camera: Camera) -> dict[str, Any]:
    """A camera as plain numbers: model, pixels, and the 4x4 world -> camera matrix in metres (OpenCV axes)."""
    pose = [[float(x) for x in row] for row in camera.T_camera_world]
    return {"model": camera.model, **{k: getattr(camera, k) for k in _NUMBERS}, "T_camera_world": pose}


def camera_from_json(record: Any, where: str) -> Camera:
    """The inverse of `camera_to_json`, pinhole unless it says otherwise; `where` names the place for the error.

    Raises:
        FormatMismatch: a field is missing, no number, out of range, or the matrix is no rigid motion.
    """
    try:
        width, height, fx, fy, cx, cy = (float(record[k]) for k in _NUMBERS)
        pose = np.array(record["T_camera_world"], dtype=np.float64)
        model = record.get("model", "pinhole")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _bad_path(where, f"{type(error).__name__}: {error}") from error
    if model not in CAMERA_MODELS:
        raise _bad_path(where, f"the camera model {model!r}; there are {', '.join(CAMERA_MODELS)}")
    if not np.isfinite([width, height, fx, fy, cx, cy]).all() or min(width, height, fx, fy) < 1:
        raise _bad_path(where, f"width {width:g}, height {height:g}, fx {fx:g}, fy {fy:g}, cx {cx:g}, cy {cy:g}")
    rigid = pose.shape == (4, 4) and np.allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-3)
    if not rigid or np.linalg.det(pose[:3, :3]) < 0 or not np.allclose(pose[3], (0, 0, 0, 1)):
        raise _bad_path(where, "a T_camera_world that is no rotation and translation")
    return Camera(int(width), int(height), fx, fy, cx, cy, pose.astype(np.float32), model)


def write_path(path: Path, times_seconds: Sequence[float], cameras: Sequence[Camera]) -> None:
    """Write a camera path that `read_path` reads."""
    keys = [{"time_seconds": float(t), **camera_to_json(c)} for t, c in zip(times_seconds, cameras, strict=True)]
    write_json(path, {"schema": SCHEMA, "cameras": keys})


def read_path(path: Path) -> CameraPath:
    """Read a camera path.

    Raises:
        BadInput: the file can't be read.
        FormatMismatch: it is not a camera path, or holds an impossible camera.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"cannot read the camera path {path}", got=error.strerror or str(error)) from error
    except ValueError as error:
        raise _bad_path(str(path), f"no JSON: {error}") from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise _bad_path(str(path), f"schema {document.get('schema') if isinstance(document, dict) else None!r}")
    keys = document.get("cameras")
    if not isinstance(keys, list) or not keys:
        raise _bad_path(str(path), "no cameras")
    cameras = tuple(camera_from_json(key, f"camera {i} of {path}") for i, key in enumerate(keys))
    try:
        times = np.array([float(key["time_seconds"]) for key in keys])
    except (KeyError, TypeError, ValueError) as error:
        raise _bad_path(str(path), f"a bad time_seconds ({error})") from error
    if not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        raise _bad_path(str(path), "time_seconds that do not rise")
    if len({(c.width, c.height, c.model) for c in cameras}) > 1:
        raise _bad_path(str(path), "cameras of several picture sizes or models")
    return CameraPath(times, cameras)


def _bad_path(where: str, got: str) -> FormatMismatch:
    return FormatMismatch(
        f"{where} is not a usable camera path",
        expected=f'{{"schema": "{SCHEMA}", "cameras": [{{"time_seconds", "width", "height", "fx", "fy", "cx", "cy", '
        '"T_camera_world": 4x4}, ...]}, times rising, one picture size and model',
        got=got,
        fix="write one with avatar.export.cameras.write_path and edit that",
    )
