"""Adding to a face what there is room for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from avatar.motion.controls.closures import keep_closures, speaking
from avatar.motion.controls.rest import Rest
from avatar.motion.groups import GROUPS
from avatar.tracks import Motion

MOUTH_SHARE = 1 / 3
"""Of a mood that the mouth shows in running speech: more, and the words can't be read from the lips."""


def add_actions(motion: Motion, rest: Rest, added: Float[np.ndarray, "t 52"]) -> Motion:
    """Add to the actions: a positive number that share of the room up to 1, while a negative one takes its share away.

    Nothing leaves [0, 1] so, and an action at rest gets the number itself. Lips that close while they speak stay
    closed. What gets 0 stays the same to the bit.
    """
    before = motion.expression.astype(np.float64)
    room = np.where(added > 0, 1 - before.clip(0, 1), before.clip(0, None))
    after = np.where(added == 0, motion.expression, before + added.clip(-1, 1) * room).astype(np.float32)
    if (added[:, GROUPS["lips"]] != 0).any():
        sealed = keep_closures(motion.expression, after, rest, motion.fps, in_speech_only=True)
        after = np.where((added[:, GROUPS["lips"]] != 0).any(1)[:, None], sealed, after)
    return replace(motion, expression=after)


def of_mood(motion: Motion, rest: Rest, added: Float[np.ndarray, "t 52"]) -> Float[np.ndarray, "t 52"]:
    """A mood with its share of the mouth limited to a third while the lips are at work, all of it when they rest."""
    work = speaking(rest.aperture(motion.expression), motion.fps)
    out = added.copy()
    out[:, GROUPS["lips"]] *= 1 - (1 - MOUTH_SHARE) * work[:, None]
    return out
