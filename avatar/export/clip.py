"""Renders a motion to clips: the one loop that flat, stereo and multi-view exports share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
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

    def frames(
        self, prepared, index: int, cameras: Sequence[Camera], background: Background = "plate"
    ) -> list[UInt8[np.ndarray, "h w 3"]]: ...
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
    camera_at: CameraAt,
    path: Path,
    *,
    options: ClipOptions | None = None,
    provenance: Provenance | None = None,
    label: str = "rendering",
) -> int:
    """`render_clips` of one clip from one camera."""
    clips = {path: (camera_at,)}
    return render_clips(avatar, prepared, clips, options=options, provenance=provenance, label=label)


def render_clips(
    avatar: Renderable,
    prepared: Prepared,
    clips: Mapping[Path, tuple[CameraAt, ...]],
    *,
    options: ClipOptions | None = None,
    provenance: Provenance | None = None,
    label: str = "rendering",
) -> int:
    """Render every moment of a motion once, from all cameras of all clips; returns the number of frames.

    The clips and their provenance are written at the same time: each keeps an encoder open.

    Args:
        avatar: anything with `frames(prepared, index, cameras, background)`.
        prepared: `avatar.prepare(motion)`.
        clips: what each .mp4 shows: cameras, functions of seconds since the first frame, their pictures side by side.
            All are of one size and model. `PATH.provenance.json` is written beside each clip.

    Raises:
        BadInput: the motion is empty, the disk is full, the sound can't be read, the cameras differ in size or model.
    """
    options = options or ClipOptions()
    provenance = provenance or Provenance()
    fps = options.fps or prepared.fps
    indices = frames_at_rate(prepared.timestamps_seconds, fps)
    cameras_at = [camera_at for shown in clips.values() for camera_at in shown]
    with ExitStack() as stack:
        writers = [
            stack.enter_context(_writer(path, [at(0.0) for at in shown], fps, options, provenance))
            for path, shown in clips.items()
        ]
        bar = stack.enter_context(progress(label, len(indices)))
        for k, index in enumerate(indices):
            cameras = [_sized(at(k / fps), options.long_side) for at in cameras_at]
            views = iter(avatar.frames(prepared, int(index), cameras, background=options.background))
            for writer, shown in zip(writers, clips.values(), strict=True):
                side_by_side = [next(views) for _ in shown]
                writer.add(np.concatenate(side_by_side, axis=1) if len(shown) > 1 else side_by_side[0])
            bar.update(k + 1)
    for path in clips:
        write_sidecar(path, provenance)
    return len(indices)


def _writer(
    path: Path, cameras: Sequence[Camera], fps: float, options: ClipOptions, provenance: Provenance
) -> VideoWriter:
    """For a clip that shows these cameras side by side."""
    sizes = [_sized(camera, options.long_side) for camera in cameras]
    return VideoWriter(
        path,
        sum(c.width for c in sizes),
        max(c.height for c in sizes),
        fps,
        audio_path=options.audio_path,
        audio_start_seconds=options.audio_start_seconds,
        crf=options.crf,
        comment=provenance.mark,
    )


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
