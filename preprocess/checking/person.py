"""What the clip shows of its person: where the head turned, blinks, mouth shapes, and what the sound is worth."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from avatar.head.arkit import ARKIT_INDEX
from avatar.head.landmarks import eye_distance, lip_opening
from avatar.motion.visemes import CUE_FPS, TARGETS, hear, shapes

MIN_BLINK_RISE = 0.15
"""A clip whose lids never rise this far over their rest shows no blink."""
_LONGEST_BLINK_SECONDS = 0.7
_HEARD = 0.3
_FULL_SCALE = 0.985


def head_angles(forward: Float[np.ndarray, "t 3"]) -> tuple[Float[np.ndarray, " t"], Float[np.ndarray, " t"]]:
    """Yaw (to the right of the picture) and pitch (up), degrees, of unit vectors out of the face."""
    right, up, near = forward.T
    return np.degrees(np.arctan2(right, near)), np.degrees(np.arctan2(up, np.hypot(right, near)))


def blinks(seconds: Float[np.ndarray, " t"], scores: Float[np.ndarray, "t 52"]) -> tuple[list[float], float]:
    """Times of the blinks, and the score that counts as one for this very person.

    Half way between this person's open lids and the highest the score ever gets: some people's blinks peak at 0.49.
    Lids that stay down longer than 0.7 s rest, look down or laugh.
    """
    if len(seconds) < 2:
        return [], 0.0
    lids = np.minimum(*(scores[:, ARKIT_INDEX[name]] for name in ("eyeBlinkLeft", "eyeBlinkRight")))
    rest, top = float(np.median(lids)), float(np.max(lids))
    threshold = (rest + top) / 2
    if top - rest < MIN_BLINK_RISE:
        return [], threshold
    shut = np.concatenate([[0], lids > threshold, [0]]).astype(int)
    starts, ends = np.flatnonzero(np.diff(shut) > 0), np.flatnonzero(np.diff(shut) < 0) - 1
    at = [
        float(seconds[a]) for a, b in zip(starts, ends, strict=True) if seconds[b] - seconds[a] < _LONGEST_BLINK_SECONDS
    ]
    return at, threshold


def lip_distance(landmarks_px: Float[np.ndarray, "t 478 2"]) -> Float[np.ndarray, " t"]:
    """How far the lips are apart, over the distance of the outer eye corners."""
    return lip_opening(landmarks_px) / np.maximum(eye_distance(landmarks_px), 1)


def heard_visemes(samples: Float[np.ndarray, " n"]) -> dict[str, float]:
    """Seconds in which each mouth shape is clearly heard, and the lips' closures on p, b and m."""
    cues = hear(samples)
    heard = {name: float((track > _HEARD).sum()) / CUE_FPS for name, track in shapes(cues).items()}
    assert heard.keys() == TARGETS.keys()
    return heard | {"lips_shut": float((cues.seal > 0.5).sum()) / CUE_FPS}


def clipped_share(samples: Float[np.ndarray, " n"]) -> float:
    """Share of the samples that lie in runs of three or more at full scale."""
    loud = np.abs(samples) > _FULL_SCALE
    runs: Bool[np.ndarray, " n"] = loud[:-2] & loud[1:-1] & loud[2:]
    return float(runs.mean()) if len(runs) else 0.0
