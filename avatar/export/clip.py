"""Renders a motion to a clip: the one loop that flat, stereo and multi-view exports share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, UInt8

from avatar.errors import BadInput
from avatar.export.cameras import CameraAt
from avatar.export.provenance import Provenance, write_sidecar
from avatar.export.video import VideoWriter
from avatar.progress import progress
from avatar.types import Camera, Gaussians

Background = str | tuple[float, float, float]
"""`plate` (the captured room), `none` (black), or an sRGB colour in [0, 1]."""


@runtime_checkable
class Prepared(Protocol):
    """A motion in an avatar's driving space, as `Avatar.prepare` gives it."""

    def __len__(self) -> int: ...
    @property
    def timestamps_seconds(self) -> Float[np.ndarray, " t"]: ...
    @property
    def fps(self) -> float: ...


@runtime_checkable
class Renderable(Protocol):
    """What exporters need of an avatar."""

    def frame(
        self, prepared, index: int, camera: Camera, background: Background = "plate"
    ) -> UInt8[np.ndarray, "h w 3"]: ...
    def gaussians(self, prepared, index: int) -> Gaussians: ...


@dataclass(frozen=True)
class ClipOptions:
    """How a clip is made, whatever its cameras."""

    long_side: int | None = None
    """Longer side of each view, pixels; the camera's own size if not given."""
    fps: float | None = None
    """Frames per second of the clip; the motion's own rate if not given. Motion frames are picked by nearest time."""
    audio_path: Path | None = None
    audio_start_seconds: float = 0.0
    """Where in the audio file the motion's first frame lies."""
    background: Background = "plate"
    crf: int = 18


def render_clip(
    avatar: Renderable,
    prepared: Prepared,
    camera_at: CameraAt | tuple[CameraAt, ...],
    path: Path,
    *,
    options: ClipOptions | None = None,
    provenance: Provenance | None = None,
    label: str = "rendering",
) -> int:
    """Render every moment of a motion and write the clip with its provenance; returns the number of frames.

    Args:
        avatar: anything with `frame(prepared, index, camera, background)`.
        prepared: `avatar.prepare(motion)`.
        camera_at: camera as a function of seconds since the first frame; of several, the pictures stand side by side.
        path: the .mp4; `PATH.provenance.json` is written beside it.

    Raises:
        BadInput: the motion is empty, the disk is full, the sound can't be read.
    """
    options = options or ClipOptions()
    provenance = provenance or Provenance()
    eyes = camera_at if isinstance(camera_at, tuple) else (camera_at,)
    fps = options.fps or prepared.fps
    indices = frames_at_rate(prepared.timestamps_seconds, fps)
    sizes = [_sized(eye(0.0), options.long_side) for eye in eyes]
    writer = VideoWriter(
        path,
        sum(c.width for c in sizes),
        max(c.height for c in sizes),
        fps,
        audio_path=options.audio_path,
        audio_start_seconds=options.audio_start_seconds,
        crf=options.crf,
        comment=provenance.mark,
    )
    with writer as clip, progress(label, len(indices)) as bar:
        for k, index in enumerate(indices):
            cameras = [_sized(eye(k / fps), options.long_side) for eye in eyes]
            views = [avatar.frame(prepared, int(index), camera, background=options.background) for camera in cameras]
            clip.add(np.concatenate(views, axis=1) if len(views) > 1 else views[0])
            bar.update(k + 1)
    write_sidecar(path, provenance)
    return len(indices)


def frames_at_rate(timestamps_seconds: Float[np.ndarray, " t"], fps: float) -> Int[np.ndarray, " n"]:
    """Indices of the frames shown at a constant rate, nearest in time: a variable frame rate keeps its pace.

    Raises:
        BadInput: there are no frames, or the rate is not positive.
    """
    if not len(timestamps_seconds) or not fps > 0:
        raise BadInput(f"cannot make a clip of {len(timestamps_seconds)} frames at {fps:g} frames per second")
    times = timestamps_seconds.astype(np.float64) - timestamps_seconds[0]
    shown = np.arange(max(1, round((times[-1] + 1 / fps) * fps))) / fps
    right = np.searchsorted(times, shown).clip(0, len(times) - 1)
    left = (right - 1).clip(0)
    return np.where(shown - times[left] < times[right] - shown, left, right)


def duration_seconds(prepared: Prepared) -> float:
    """Length of the clip that `render_clip` makes of a motion."""
    return float(prepared.timestamps_seconds[-1] - prepared.timestamps_seconds[0]) + 1 / prepared.fps


def _sized(camera: Camera, long_side: int | None) -> Camera:
    return camera.with_long_side(long_side) if long_side else camera
