"""From where, and doing what, an avatar's person was filmed. numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from avatar.driving_maths import rotations
from avatar.head.arkit import ARKIT_NAMES
from avatar.tracks import Camera, Motion

CREDIBLE_DEGREES = 15.0
"""So far beyond the views that were filmed, what is shown can be believed."""
SHOWN_ACTION = 0.15
"""An action that stays below was never seen: a tracker's noise goes so far."""
Range = tuple[float, float]


@dataclass(frozen=True)
class Limits:
    """Of the training frames, 1st to 99th percentile; degrees."""

    yaw_degrees: Range
    """Where the camera stood, seen from the face: positive to the subject's left."""
    pitch_degrees: Range
    """Positive: above."""
    never_seen: tuple[str, ...]
    """ARKit actions."""
    credible_degrees: float = CREDIBLE_DEGREES
    """So far beyond, the views can be believed."""

    @staticmethod
    def of(motion: Motion) -> Limits:
        """Limits of a training motion, whose camera stands at the world's origin."""
        yaw, pitch = view_degrees(rotations(motion).as_matrix(), motion.translation, np.zeros(3)).T
        most = np.quantile(motion.expression, 0.99, axis=0)
        never = tuple(name for name, value in zip(ARKIT_NAMES, most, strict=True) if value < SHOWN_ACTION)
        return Limits(_range(yaw), _range(pitch), never)

    def beyond(self, R_world_head: Float[np.ndarray, "3 3"], t: Float[np.ndarray, "3"], camera: Camera) -> str:
        """What to tell who looks at a head from there; empty for a view that can be believed."""
        T = camera.T_camera_world.astype(np.float64)
        yaw, pitch = view_degrees(R_world_head, t, -T[:3, :3].T @ T[:3, 3])
        said = []
        for angle, (low, high), names in (
            (float(yaw), self.yaw_degrees, ("the subject's right", "the subject's left")),
            (float(pitch), self.pitch_degrees, ("below", "above")),
        ):
            side = angle > high
            over = angle - high if side else low - angle
            if over > self.credible_degrees:
                said.append(f"{over:.0f}° further from {names[side]} than was filmed")
        return ", ".join(said)


def view_degrees(
    R_world_head: Float[np.ndarray, "*t 3 3"], t_world_head: Float[np.ndarray, "*t 3"], eye: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "*t 2"]:
    """Yaw and pitch of the direction from heads to an eye in the world: see `Limits`."""
    x, y, z = np.moveaxis(np.einsum("...ij,...i->...j", R_world_head, eye - t_world_head), -1, 0)
    return np.degrees(np.stack([np.arctan2(x, z), np.arctan2(y, np.hypot(x, z))], -1))


def _range(values: Float[np.ndarray, " t"]) -> Range:
    low, high = np.quantile(values, [0.01, 0.99])
    return round(float(low), 1), round(float(high), 1)
