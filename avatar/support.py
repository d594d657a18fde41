"""How well the training of an avatar supports what drives it: 1 inside of what was filmed, towards 0 far outside.

Driving features are held inside the training range (see `avatar.driving_maths.soft_clamp`), so a wild driver does not
break a face; but what is shown then is the mesh's guess, not the person. numpy only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from avatar.driving_maths import Statistics, raw_features
from avatar.tracks import Motion

REACH = 3.0
"""So many training deviations beyond the range, support has fallen to 1/e."""
CREDIBLE_TURN, CREDIBLE_SHIFT_M = np.deg2rad(5), 0.03
"""Skin that is seen so much more from the side, or from so much nearer, looks as it did: least pose deviations."""
LOW = 0.5
"""Support below which a frame counts as outside."""
WARN_SHARE = 0.1
"""Of a motion's frames, so many outside are worth a warning."""


@dataclass(frozen=True)
class Support:
    """Of each frame of a motion, 0..1."""

    expression: Float[np.ndarray, " t"]
    turn: Float[np.ndarray, " t"]
    """Of the head's rotation."""
    place: Float[np.ndarray, " t"]
    """Of the head's position."""

    @staticmethod
    def full(frames: int) -> Support:
        """Of a motion that nothing is known against."""
        return Support(*(np.ones(frames, np.float32) for _ in range(3)))

    @property
    def lowest(self) -> Float[np.ndarray, " t"]:
        """Of all parts."""
        return np.minimum.reduce([self.expression, self.turn, self.place])

    def summary(self) -> dict:
        """For JSON: of the whole motion."""
        parts = {"expression": self.expression, "pose": np.minimum(self.turn, self.place)}
        whole = _shares(self.lowest) | {"lowest": round(float(self.lowest.min()), 3)}
        return whole | {name: _shares(part) for name, part in parts.items()}

    def reasons(self, index: int) -> list[str]:
        """What of one frame was never seen."""
        return [text for text, part in self._parts() if part[index] < LOW]

    def warning(self, timestamps_seconds: Float[np.ndarray, " t"]) -> str | None:
        """What to tell who drives an avatar well outside of its training: what was never seen, and from when on."""
        share = float((self.lowest < LOW).mean())
        if share < WARN_SHARE:
            return None
        seconds = timestamps_seconds - timestamps_seconds[0]
        found = [
            f"{text} ({(part < LOW).mean():.0%} of the frames, first at {seconds[np.argmax(part < LOW)]:.1f} s)"
            for text, part in self._parts()
            if (part < LOW).any()
        ]
        return (
            f"{share:.0%} of the frames lie outside of what this avatar was fitted on: {'; '.join(found)}. "
            "They show a guess; a video with such moments would fix it"
        )

    def _parts(self) -> list[tuple[str, np.ndarray]]:
        return [
            ("expressions never seen", self.expression),
            ("the head turned further than seen", self.turn),
            ("the head elsewhere than seen", self.place),
        ]


def support_of(space: Statistics, motion: Motion) -> Support:
    """How far each frame lies outside of what an avatar was fitted on.

    support = exp(-e / `REACH`), where e is a Euclidean norm in training deviations. For turn and place: of what lies
    beyond the training range (1st to 99th percentile); a deviation counts as at least `CREDIBLE_TURN` and
    `CREDIBLE_SHIFT_M`. For the expression: of what lies beyond the range of its principal components, and of what they
    can't express, beyond the most that training had of it: all other directions vary less than the last component.

    Args:
        motion: in this person's terms, as `driving_maths.prepare` takes it.
    """
    raw = raw_features(space, motion)
    beyond = raw - np.clip(raw, space.low, space.high)
    rank = space.basis.shape[1]
    norms = np.linalg.norm(space.basis, axis=0)
    axes = space.basis / np.maximum(norms, 1e-9)
    moved = (space.mesh_actions > 0) | space.basis.any(1)
    rest = (motion.expression - space.mean_expression) * moved
    rest = np.linalg.norm(rest - rest @ axes @ axes.T, axis=1)
    most = np.sqrt(max(int(moved.sum()) - rank, 1)) / max(norms.max(initial=0), 1e-9)
    foreign = REACH * np.maximum(rest / most - 1, 0) if rank else 0 * rest
    scale = np.r_[[CREDIBLE_TURN] * 3, [CREDIBLE_SHIFT_M] * 3]
    pose = beyond[:, -6:] * np.minimum(space.pose_scale / scale, 1)
    return Support(_fall(np.c_[beyond[:, :rank], foreign]), _fall(pose[:, :3]), _fall(pose[:, 3:]))


def _fall(beyond: Float[np.ndarray, "t k"]) -> Float[np.ndarray, " t"]:
    return np.exp(-np.linalg.norm(beyond, axis=1) / REACH).astype(np.float32)


def _shares(part: Float[np.ndarray, " t"]) -> dict[str, float]:
    return {"mean": round(float(part.mean()), 3), "low_share": round(float((part < LOW).mean()), 3)}
