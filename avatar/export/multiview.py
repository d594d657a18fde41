"""Synchronised clips of one motion from a ring of cameras, with their calibration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from avatar.export.cameras import camera_to_json, front
from avatar.export.clip import ClipOptions, Prepared, Renderable, render_clips
from avatar.export.provenance import Provenance
from avatar.files import write_json
from avatar.types import Camera

SCHEMA = "visavis.multiview/1"
CLIPS_AT_ONCE, PIXELS_AT_ONCE = 16, 1 << 22
"""So many views share a pass over the motion: each holds an encoder open, and pictures in memory."""


def export_multiview(
    avatar: Renderable,
    prepared: Prepared,
    cameras: Sequence[Camera],
    folder: Path,
    *,
    options: ClipOptions | None = None,
    provenance: Provenance | None = None,
) -> list[Path]:
    """Write `view_00.mp4` ... and `cameras.json`; frame k of every clip shows the same moment.

    `cameras.json` holds per view the file name and its camera as rendered: picture size, fx, fy, cx, cy in pixels and
    the 4x4 world -> camera matrix (OpenCV axes, metres). It is written last: where it is, the set is complete.

    Args:
        cameras: one per view, at rest; `avatar.export.cameras.ring` makes them.

    Returns:
        Paths of the clips, in the order of `cameras`.

    Raises:
        BadInput: the folder can't be written, an empty motion, a full disk.
    """
    options = options or ClipOptions()
    if options.long_side:
        cameras = [c.with_long_side(options.long_side) for c in cameras]
    paths = [folder / f"view_{i:02d}.mp4" for i in range(len(cameras))]
    frames, done = 0, 0
    for batch in _batches(cameras):
        clips = {path: (front(camera),) for path, camera in zip(paths[done:], batch, strict=False)}
        label = f"rendering views {done + 1} to {done + len(batch)} of {len(cameras)}"
        frames = render_clips(avatar, prepared, clips, options=options, provenance=provenance, label=label)
        done += len(batch)
    views = [{"file": p.name, **camera_to_json(c)} for p, c in zip(paths, cameras, strict=True)]
    document = {"schema": SCHEMA, "fps": options.fps or prepared.fps, "frames": frames, "views": views}
    write_json(folder / "cameras.json", document)
    return paths


def _batches(cameras: Sequence[Camera]) -> Iterator[list[Camera]]:
    """Neighbours that one call can draw, in their order."""
    for (width, height, _), same in groupby(cameras, key=lambda c: (c.width, c.height, c.model)):
        alike = list(same)
        size = max(1, min(CLIPS_AT_ONCE, PIXELS_AT_ONCE // (width * height)))
        yield from (alike[i : i + size] for i in range(0, len(alike), size))
