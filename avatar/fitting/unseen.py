"""What a clip never shows of a face, so that its avatar can't know it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from avatar.fitting.mouth import LEAST_OPENING
from avatar.head.landmarks import LEFT_EYE, RIGHT_EYE, eye_distance, lip_opening
from avatar.progress import note

LEAST_FRAMES = 3
"""What fewer frames show is as good as unseen, and may be the detector's mistake."""
OPEN_LIDS = 0.15
"""Height of an eye over its width: below, it is closed."""


def never_seen(landmarks: Float[np.ndarray, "t 478 d"]) -> list[str]:
    """Which of "open eyes" and "teeth" the frames of these landmarks never show."""
    points = landmarks[np.isfinite(landmarks).all((1, 2))].astype(np.float64)
    mouth_open = lip_opening(points) > LEAST_OPENING * eye_distance(points)
    seen = {"open eyes": _is_open(points, RIGHT_EYE) | _is_open(points, LEFT_EYE), "teeth": mouth_open}
    return [name for name, frames in seen.items() if frames.sum() < LEAST_FRAMES]


def warn_of(names: list[str]) -> None:
    """Tell the user what the avatar has to make up."""
    if names:
        note(f"the training frames never show {' and '.join(names)}: the avatar only guesses what they look like")


def _is_open(points: Float[np.ndarray, "t 478 d"], outline: tuple[int, ...]) -> Bool[np.ndarray, " t"]:
    """Whether an eye is. Its outline runs from corner to corner below and back above."""
    lower, upper = points[:, outline[1:8]], points[:, outline[:8:-1]]
    height = np.linalg.norm(lower - upper, axis=-1).max(1)
    width = np.linalg.norm(points[:, outline[0]] - points[:, outline[8]], axis=-1)
    return height > OPEN_LIDS * width
