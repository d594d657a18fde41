"""Side-by-side stereo clips for headsets and 3D screens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float

from avatar.export.cameras import CameraAt, stereo_pair
from avatar.export.clip import ClipOptions, Prepared, Renderable, render_clips
from avatar.export.provenance import Provenance


def sbs_path(path: Path) -> Path:
    """`clip.mp4` -> `clip_sbs.mp4`: players recognise side-by-side clips by this suffix. Kept if already there."""
    return path if path.stem.lower().endswith("_sbs") else path.with_name(f"{path.stem}_sbs{path.suffix}")


def export_stereo(
    avatar: Renderable,
    prepared: Prepared,
    camera_at: CameraAt,
    center: Float[np.ndarray, "3"],
    path: Path,
    *,
    ipd_mm: float = 63.0,
    options: ClipOptions | None = None,
    provenance: Provenance | None = None,
) -> Path:
    """Write a full-width side-by-side clip, left eye on the left, screen plane at the depth of `center`.

    Args:
        camera_at: where the viewer's nose is, as a function of seconds.
        center: world point that gets zero disparity: the head centre, metres.
        path: the wanted name; `_sbs` is added where it is missing.
        ipd_mm: distance between the eyes. Metric, because heads are.

    Returns:
        The path that was written.

    Raises:
        BadInput: an impossible eye distance, an empty motion, a full disk.
    """
    target = sbs_path(path)
    left, right = (
        lambda seconds, side=side: stereo_pair(camera_at(seconds), center, ipd_mm / 1000)[side] for side in (0, 1)
    )
    clips = {target: (left, right)}
    render_clips(avatar, prepared, clips, options=options, provenance=provenance, label="rendering stereo")
    return target
