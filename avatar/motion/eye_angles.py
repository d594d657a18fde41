"""Where the eyes look, in degrees in the head: read from the eight `eyeLook*` actions, and set."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from avatar.head.arkit import ARKIT_INDEX, GAZE_DEGREES

EYE_LOW = np.array([-GAZE_DEGREES["In"], -GAZE_DEGREES["Down"]])
EYE_HIGH = np.array([GAZE_DEGREES["Out"], GAZE_DEGREES["Up"]])
"""How far an eye turns (to the subject's left, up), degrees."""
_SIDES = {"Left": ("Out", "In"), "Right": ("In", "Out")}
"""Of each eye, the actions that look to the subject's left and right."""


def eye_angles(expression: Float[np.ndarray, "t 52"]) -> Float[np.ndarray, "t 2 2"]:
    """Of the left and the right eye: degrees to the subject's left, degrees up."""

    def turn(positive: str, negative: str, side: str) -> np.ndarray:
        first, second = (
            expression[:, ARKIT_INDEX[f"eyeLook{name}{side}"]] * GAZE_DEGREES[name] for name in (positive, negative)
        )
        return first - second

    return np.stack([np.stack([turn(*_SIDES[s], s), turn("Up", "Down", s)], -1) for s in _SIDES], 1).astype(np.float64)


def with_eyes(
    expression: Float[np.ndarray, "t 52"],
    degrees: Float[np.ndarray, "t 2 2"],
    where: Bool[np.ndarray, " t"] | None = None,
) -> Float[np.ndarray, "t 52"]:
    """The eyes turned as `eye_angles` has it, within their limits; frames not in `where` stay the same to the bit."""
    where = np.ones(len(expression), bool) if where is None else where
    out = expression.copy()
    for eye, (side, (left, right)) in enumerate(_SIDES.items()):
        for axis, (positive, negative) in enumerate(((left, right), ("Up", "Down"))):
            for name, sign in ((positive, 1), (negative, -1)):
                column = ARKIT_INDEX[f"eyeLook{name}{side}"]
                value = (sign * degrees[:, eye, axis] / GAZE_DEGREES[name]).clip(0, 1)
                out[where, column] = value[where]
    return out


def gaze_degrees(expression: Float[np.ndarray, "t 52"]) -> Float[np.ndarray, "t 3"]:
    """Where both eyes look: to the subject's left, up, and how far they converge (right eye's yaw over the left)."""
    eyes = eye_angles(expression)
    return np.column_stack([eyes.mean(1), eyes[:, 1, 0] - eyes[:, 0, 0]])


def with_gaze(
    expression: Float[np.ndarray, "t 52"], gaze: Float[np.ndarray, "t 2"] | Float[np.ndarray, "t 3"]
) -> Float[np.ndarray, "t 52"]:
    """Both eyes turned as `gaze_degrees` has it; parallel if no vergence is given."""
    eyes = np.repeat(gaze[:, None, :2], 2, axis=1)
    if gaze.shape[1] > 2:
        eyes[:, :, 0] += gaze[:, 2:] * (-0.5, 0.5)
    return with_eyes(expression, eyes)
