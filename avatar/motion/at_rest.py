"""A person's face at rest, told from what it did: where drivers start from. numpy only.

Brows and lids rest at a low quantile of each action. Not so the lips: they are held together by several actions at
once, each of which is nought in most of what is said. They rest where they are nearly closed and move least.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.ndimage import uniform_filter1d

from avatar.motion.groups import GROUPS
from avatar.motion.visemes import target_vector

OPENING_MM: Float[np.ndarray, "52"] = target_vector({
    "cheekPuff": -1.1, "jawForward": 1.4, "jawOpen": 33.1, "mouthClose": -33.4, "mouthFunnel": 14.4, "mouthLeft": -0.8,
    "mouthLowerDown": 1.9, "mouthPress": -1.5, "mouthPucker": 0.3, "mouthRight": -0.8, "mouthRollLower": -3.2,
    "mouthRollUpper": -5.1, "mouthShrugLower": -5.0, "mouthShrugUpper": 4.9, "mouthSmile": -1.7, "mouthUpperUp": 2.2,
})  # fmt: skip
"""How far each action opens the lips of the open head's template; `FaceGeometry.of` measures it."""
_REST_QUANTILE = 0.2
_NEARLY_CLOSED, _STILLEST = 0.35, 0.5
"""Shares: of all frames, those with the least opening; of these, those with the least movement."""
_AROUND_FRAMES = 9
"""Movement counts so long: lips that meet in speech have just moved."""


def face_at_rest(expression: Float[np.ndarray, "t 52"]) -> Float[np.ndarray, "52"]:
    """The actions of a face that rests.

    Args:
        expression: frames that follow each other, at video rate, one at the least.
    """
    expression = np.asarray(expression, np.float64)
    lips = expression[:, GROUPS["lips"]]
    moved = (np.diff(lips, axis=0, prepend=lips[:1]) ** 2).sum(1)
    movement, opening = uniform_filter1d(moved, _AROUND_FRAMES, mode="nearest"), expression @ OPENING_MM
    closed = np.flatnonzero(opening <= np.quantile(opening, _NEARLY_CLOSED))
    still = closed[movement[closed] <= np.quantile(movement[closed], _STILLEST)]
    rest = np.quantile(expression, _REST_QUANTILE, axis=0)
    rest[list(GROUPS["lips"])] = np.median(lips[still], axis=0)
    return rest.astype(np.float32)
