"""Lips that close when speech is broken off, and open again with the next sound."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from avatar.motion.blinks import smoothstep
from avatar.motion.groups import GROUPS
from avatar.tracks import Motion

CLOSING_FRAMES = 4
"""160 ms; the frame after the last of them is the first that was asked for 200 ms after."""
_OPENING_FRAMES = 3


class LipsShut:
    """Draws the lips to rest from one frame on, until a later frame sounds; frames by their number, rising."""

    def __init__(self, rest: Float[np.ndarray, "52"]) -> None:
        self._index = list(GROUPS["lips"])
        self._rest = rest[self._index]
        self._from: int | None = None
        self._sound: int | None = None

    def close(self, frame: int) -> None:
        """Begin with this frame."""
        self._from, self._sound = frame, None

    def sounding(self, frame: int) -> None:
        """This frame is the next one of which there is a sound."""
        if self._from is not None and self._sound is None:
            self._sound = frame

    def onto(self, motion: Motion, frame: int) -> Motion:
        """One frame of motion with the lips as far closed as they should be."""
        share = self._share(frame)
        if share == 0:
            return motion
        expression = motion.expression.copy()
        expression[:, self._index] += np.float32(share) * (self._rest - expression[:, self._index])
        return replace(motion, expression=expression)

    def _share(self, frame: int) -> float:
        if self._from is None:
            return 0.0
        closed = _ramp((frame - self._from + 1) / CLOSING_FRAMES)
        if self._sound is None:
            return closed
        # Lips part a little before they sound; but shut they were.
        opens = max(self._sound - 1, self._from + CLOSING_FRAMES)
        opened = _ramp((frame - opens + 1) / _OPENING_FRAMES)
        if opened == 1:
            self._from = None
        return closed * (1 - opened)


def _ramp(x: float) -> float:
    return float(smoothstep(np.array([x]))[0])
