"""The values that every room of visavis passes around: one frozen dataclass per concept.

Conventions (all rooms): OpenCV cameras (+X right, +Y down, +Z forward) with `T_camera_world`; the world of a capture
is its first camera's frame, so the capturing camera has `T_camera_world = I`. Head frame: metres, +X subject's left, +Y
up, +Z out of the face. Quaternions are wxyz, angles radians, time seconds, colours sRGB in [0, 1], float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from avatar.tracks import JOINTS, MOTION_FIELDS, N_EXPRESSIONS, Camera, Motion

__all__ = [
    "CAPTURE_SCHEMA", "JOINTS", "MOTION_FIELDS", "N_EXPRESSIONS", "TORSO_BEHIND_HEAD_M", "Camera", "Capture",
    "Gaussians", "HeadParams", "Motion", "RenderOutput",
]  # fmt: skip
CAPTURE_SCHEMA = "visavis.capture/1"
TORSO_BEHIND_HEAD_M = 0.06
"""Depth of the shoulders behind the middle of the head."""


@dataclass(frozen=True)
class Gaussians:
    """Activated 3D Gaussians in the world: what a rasteriser consumes."""

    means: Float[Tensor, "n 3"]
    """Centres, metres."""
    quats_wxyz: Float[Tensor, "n 4"]
    """Rotations; need not be normalised."""
    scales: Float[Tensor, "n 3"]
    """Standard deviations along the local axes, metres."""
    opacities: Float[Tensor, " n"]
    colors: Float[Tensor, "n 3"]

    def __len__(self) -> int:
        return self.means.shape[0]

    @staticmethod
    def cat(parts: list[Gaussians]) -> Gaussians:
        """Join several sets into one, in order."""
        fields = ("means", "quats_wxyz", "scales", "opacities", "colors")
        return Gaussians(*(torch.cat([getattr(p, f) for p in parts]) for f in fields))


@dataclass(frozen=True)
class RenderOutput:
    """What a render gives; a leading camera axis is present when several cameras were asked for."""

    rgb: Float[Tensor, "*cameras h w 3"]
    """Premultiplied by alpha unless a background was composited."""
    alpha: Float[Tensor, "*cameras h w"]
    depth: Float[Tensor, "*cameras h w"]
    """Alpha-weighted expected camera-space z, metres; 0 where alpha is 0."""


@dataclass(frozen=True)
class HeadParams:
    """Pose of one head (or a batch): everything that changes from frame to frame.

    The 52 ARKit actions carry the jaw (`jawOpen`, ...), the lids (`eyeBlink*`) and the gaze (`eyeLook*`); `joints` are
    further rotations of the rig's neck, jaw and eyes, on top of them.
    """

    expression: Float[Tensor, "*batch 52"]
    """ARKit actions, 0 = neutral, 1 = full."""
    joints: Float[Tensor, "*batch 4 3"]
    """Axis-angle rotations of `JOINTS`, radians."""
    rotation: Float[Tensor, "*batch 3 3"]
    """R_world_head."""
    translation: Float[Tensor, "*batch 3"]
    """Position of the head frame's origin in the world, metres."""


@runtime_checkable
class Capture(Protocol):
    """A tracked clip of one person, as fitting and evaluation read it (`preprocess.capture` writes it).

    Frames are numbered 0..t-1; images are RGB uint8 at the capture's own resolution (`camera.width` x `camera.height`).
    """

    path: Path
    camera: Camera
    head_name: str
    """What `load_head` takes."""
    head_hash: str
    neutral: Float[np.ndarray, "v 3"]
    """The person's neutral vertices in the head frame, metres."""
    motion: Motion
    tracked: Bool[np.ndarray, " t"]
    landmarks_px: Float[np.ndarray, "t 478 2"]
    """Detected landmarks in capture pixels, NaN where no face was found."""
    background: UInt8[np.ndarray, "h w 3"]
    background_seen: Bool[np.ndarray, "h w"]
    """Where the background was ever visible; elsewhere it is filled in."""
    audio_path: Path | None
    content_hash: str

    def frame(self, index: int) -> UInt8[np.ndarray, "h w 3"]: ...

    def mask(self, index: int) -> UInt8[np.ndarray, "h w"]: ...
