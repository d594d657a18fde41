"""Somebody else's style, told from a clip of him, for a prior to move in. numpy only.

What the network can be told is a code of statistics (`avatar.motion.style`). Blinks and glances are events, which it
does not make: their habits are measured and taken over as such. A prior that moves in a style is a `Prior`, so that
whatever takes one (clips, streams, what is redone) takes it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from avatar.errors import BadInput
from avatar.motion.at_rest import face_at_rest
from avatar.motion.eyes import EyeHabits
from avatar.motion.hearing import FPS
from avatar.motion.prior.checkpoint import Prior
from avatar.motion.resampling import resampled
from avatar.motion.style import style_of, style_windows
from avatar.motion.takes import Tracked, about_mean_pose
from avatar.tracks import Motion

LEAST_SECONDS, ENOUGH_SECONDS = 3.0, 10.0
"""Of tracked motion: with less it tells of no style; with less, not reliably."""
MOST_AMOUNT = 3.0
_FARTHEST = 3.0
"""Deviations of the training's styles: a network knows nothing of what lies beyond."""


@dataclass(frozen=True)
class BorrowedStyle:
    """How somebody moves, in the terms of one prior."""

    code: Float[np.ndarray, " s"]
    """`style_of`, whitened by the prior."""
    eyes: EyeHabits
    seconds: float
    """Of tracked motion that it was told from."""

    @staticmethod
    def of_capture(prior: Prior, capture: Tracked) -> BorrowedStyle:
        """Of a clip; it needs no sound.

        Raises:
            BadInput: no frame was tracked, or less than `LEAST_SECONDS`.
        """
        return BorrowedStyle.of_motion(prior, about_mean_pose(capture), capture.tracked)

    @staticmethod
    def of_motion(prior: Prior, motion: Motion, tracked: Bool[np.ndarray, " t"]) -> BorrowedStyle:
        """Of a motion about the identity pose at the origin, relative to the mover's own face at rest.

        Raises:
            BadInput: less than `LEAST_SECONDS` were tracked.
        """
        seconds = float(tracked.sum() / motion.fps) if len(motion) > 1 else 0.0
        if seconds < LEAST_SECONDS:
            raise BadInput(
                "this clip is too short to tell a style from",
                expected=f"{LEAST_SECONDS:g} s with a tracked face, better {ENOUGH_SECONDS:g} s and more",
                got=f"{seconds:.1f} s",
            )  # fmt: skip
        first, last = motion.timestamps_seconds[[0, -1]]
        times = np.arange(first, last + 0.5 / FPS, 1 / FPS)
        x = prior.space.encode(resampled(motion, times), face_at_rest(motion.expression[tracked]))
        seen, windows = np.interp(times, motion.timestamps_seconds, tracked), style_windows(len(times))
        styles = [style_of(x[window], prior.space) for window in windows]
        code = np.average(styles, axis=0, weights=[seen[window].mean() + 1e-6 for window in windows])
        code = ((code - prior.style_mean) / prior.style_deviation).astype(np.float32)
        return BorrowedStyle(code, EyeHabits.of([motion[tracked]]), seconds)

    def onto(self, prior: Prior, amount: float = 1.0) -> Prior:
        """The prior that moves so.

        Args:
            amount: 0 is the prior's own style (the very prior), 1 this one, above 1 this one overdone. Codes are held
                within `_FARTHEST` deviations of what the prior was trained on, eyes within what eyes do.

        Raises:
            BadInput: an amount outside 0..`MOST_AMOUNT`.
        """
        check_amount(amount)
        if amount == 0:
            return prior
        code = np.clip(prior.style + amount * (self.code - prior.style), -_FARTHEST, _FARTHEST).astype(np.float32)
        return replace(prior, style=code, eyes=prior.eyes.toward(self.eyes, amount))


def check_amount(amount: float) -> None:
    """Refuse how much of a style can't be meant.

    Raises:
        BadInput: outside 0..`MOST_AMOUNT`.
    """
    if not 0 <= amount <= MOST_AMOUNT:
        raise BadInput("the amount of style is out of range", expected=f"0 to {MOST_AMOUNT:g}", got=f"{amount:g}")
