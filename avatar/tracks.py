"""Cameras and motion: the shared values that need numpy only, so that playback works without torch.

Everybody else imports them from `avatar.types`, which also says what the conventions are.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float, Int

N_EXPRESSIONS = 52
JOINTS = ("neck", "jaw", "left_eye", "right_eye")


@dataclass(frozen=True)
class Camera:
    """Focal lengths and principal point in pixels; pixel centres lie at +0.5.

    `model` is "pinhole", "fisheye" (equidistant: OpenCV's without distortion, less than 180 degrees wide) or
    "orthographic" (fx, fy in pixels per metre).
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    T_camera_world: Float[np.ndarray, "4 4"] = field(default_factory=lambda: np.eye(4, dtype=np.float32))
    model: str = "pinhole"

    def project(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 2"]:
        """Pixels of world points; points at or behind the camera are taken as just before it."""
        T = self.T_camera_world.astype(np.float64)
        local = points @ T[:3, :3].T + T[:3, 3]
        flat, z = local[:, :2], np.maximum(local[:, 2:], 1e-3)
        if self.model == "pinhole":
            flat = flat / z
        elif self.model == "fisheye":
            radius = np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)
            flat = flat / radius * np.arctan2(radius, z)
        return flat * [self.fx, self.fy] + [self.cx, self.cy]

    def pixels_of(
        self, points: Float[np.ndarray, "n 3"]
    ) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
        """Row and column of the pixel under each world point, the nearest one in the picture, and whether the point
        lies in it."""
        x, y = np.floor(self.project(points)).astype(int).T
        inside = (x >= 0) & (y >= 0) & (x < self.width) & (y < self.height)
        return y.clip(0, self.height - 1), x.clip(0, self.width - 1), inside

    def scaled(self, width: int, height: int) -> Camera:
        """The same view sampled at another resolution."""
        sx, sy = width / self.width, height / self.height
        return replace(
            self, width=width, height=height, fx=self.fx * sx, fy=self.fy * sy, cx=self.cx * sx, cy=self.cy * sy
        )

    def with_long_side(self, pixels: int) -> Camera:
        """The same view with its longer side at `pixels`; both sides at least 1."""
        s = pixels / max(self.width, self.height)
        return self.scaled(max(1, round(self.width * s)), max(1, round(self.height * s)))


@dataclass(frozen=True)
class Motion:
    """A track of head motion, identity-agnostic: one file drives any avatar. Arrays are numpy, t frames."""

    timestamps_seconds: Float[np.ndarray, " t"]
    expression: Float[np.ndarray, "t 52"]
    joints: Float[np.ndarray, "t 4 3"]
    quats_wxyz: Float[np.ndarray, "t 4"]
    """Rotation world <- head."""
    translation: Float[np.ndarray, "t 3"]
    torso: Float[np.ndarray, "t 3"] = None  # pyright: ignore[reportAssignmentType]  (set below)
    """How the shoulders moved since the frame that defines them: x, y in metres, then roll in radians about the world's
    z axis. All zero (the default) says that nothing is known: they then follow the head."""

    def __post_init__(self) -> None:
        if self.torso is None:
            object.__setattr__(self, "torso", np.zeros((len(self.timestamps_seconds), 3), np.float32))

    def __len__(self) -> int:
        return len(self.timestamps_seconds)

    def __getitem__(self, frames: slice | np.ndarray) -> Motion:
        return Motion(*(getattr(self, f)[frames] for f in MOTION_FIELDS))

    @property
    def fps(self) -> float:
        """Mean frame rate; 25 for a single frame."""
        t = self.timestamps_seconds
        return float((len(t) - 1) / (t[-1] - t[0])) if len(t) > 1 and t[-1] > t[0] else 25.0


MOTION_FIELDS = ("timestamps_seconds", "expression", "joints", "quats_wxyz", "translation", "torso")


class AlongMotion:
    """What goes along a motion, frame by frame."""

    motion: Motion

    def __len__(self) -> int:
        return len(self.motion)

    @property
    def fps(self) -> float:
        return self.motion.fps

    @property
    def timestamps_seconds(self) -> Float[np.ndarray, " t"]:
        return self.motion.timestamps_seconds
