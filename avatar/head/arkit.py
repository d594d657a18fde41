"""The 52 ARKit face actions: names, left-right pairs, and MediaPipe's scores in this order.

The order is MediaPipe's (alphabetical, as in its face blendshape model) without `_neutral`, with `tongueOut`, which
MediaPipe does not score, last. Left and right are the subject's. Every action lives in [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

ARKIT_NAMES: tuple[str, ...] = (
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff",
    "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight",
    "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight",
    "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel",
    "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker",
    "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft",
    "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight", "tongueOut",
)  # fmt: skip

ARKIT_INDEX: dict[str, int] = {name: i for i, name in enumerate(ARKIT_NAMES)}


def _mirrored(name: str) -> str:
    if name.endswith("Left"):
        return name[: -len("Left")] + "Right"
    return name[: -len("Right")] + "Left" if name.endswith("Right") else name


MIRROR: tuple[int, ...] = tuple(ARKIT_INDEX[_mirrored(name)] for name in ARKIT_NAMES)
"""`expression[..., MIRROR]` is the expression of the mirrored face."""

GAZE_DEGREES = {"In": 25.0, "Out": 25.0, "Up": 20.0, "Down": 25.0}
"""How far an eye turns at `eyeLook...` 1. anny's own actions stop at 9 to 14 degrees (they are face units of an
animation system), which would leave tracked gaze outside [0, 1]."""


def from_mediapipe(
    scores: Float[np.ndarray, "*batch n"] | Sequence[float], names: Sequence[str]
) -> Float[np.ndarray, "*batch 52"]:
    """MediaPipe's blendshape scores in `ARKIT_NAMES` order.

    Args:
        scores: scores in [0, 1], last axis in the order of `names`.
        names: category names as MediaPipe gives them (with or without `_neutral`); actions it lacks become 0.

    Raises:
        KeyError: `names` holds something that is no ARKit action.
    """
    scores = np.asarray(scores, dtype=np.float32)
    out = np.zeros((*scores.shape[:-1], len(ARKIT_NAMES)), dtype=np.float32)
    for column, name in enumerate(names):
        if name != "_neutral":
            out[..., ARKIT_INDEX[name]] = scores[..., column]
    return out
