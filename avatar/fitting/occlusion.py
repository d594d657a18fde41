"""What covers the face in a training frame (hands, hair, a cup), found without a detector.

After the rough stage the avatar knows what the face looks like in most frames. Where a frame's face still differs over
an area, something else is in front of it, and the pixel teaches nothing. Lips and eyes change by nature and are exempt,
unless what surrounds them is covered too. In the spirit of RobustNeRF (Sabour et al. 2023): errors of things that do
not belong to the scene are large and coherent.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float

from avatar.head.landmarks import LEFT_EYE, OUTER_LIPS, RIGHT_EYE

MIN_ERROR, ERROR_RATIO = 0.06, 2.5
"""A covered pixel differs by this much (sRGB units) and by this many times the median of the face."""
SMOOTHING_SHARE, GROWTH_SHARE, RING_SHARE = 0.04, 0.05, 0.12
"""Coherence, safety margin and the width of the ring around lips and eyes, as shares of the face's size."""
RING_COVERED = 0.4
STRONG_ERROR = 0.2
"""Outside the face only pixels that differ by this much count, and only where they hang together with the face's."""


def covered_pixels(
    rendered: Float[np.ndarray, "h w 3"], frame: Float[np.ndarray, "h w 3"], landmarks_px: Float[np.ndarray, "478 2"]
) -> Bool[np.ndarray, "h w"]:
    """Pixels of the face that something covers.

    Args:
        rendered, frame: the rough avatar in this frame's pose, and the frame, in [0, 1].
        landmarks_px: detected landmarks in the pixels of these pictures.
    """
    shape = frame.shape[:2]
    face = _hull(landmarks_px, shape)
    if not face.any():
        return np.zeros(shape, bool)
    size = float(np.ptp(landmarks_px, axis=0).max())
    error = cv2.GaussianBlur(np.abs(rendered - frame).mean(2), (0, 0), max(SMOOTHING_SHARE * size, 0.5))
    parts = [_hull(landmarks_px[list(ids)], shape) for ids in (OUTER_LIPS, LEFT_EYE, RIGHT_EYE)]
    skin = face & ~_grown(np.any(parts, 0), GROWTH_SHARE * size)
    if not skin.any():
        return np.zeros(shape, bool)
    covered = skin & (error > max(MIN_ERROR, ERROR_RATIO * float(np.median(error[skin]))))
    for part in parts:
        ring = _grown(part, RING_SHARE * size) & skin
        if ring.any() and covered[ring].mean() > RING_COVERED:
            covered |= part
    return _grown(_connected(covered, error > STRONG_ERROR), GROWTH_SHARE * size)


def _hull(points: Float[np.ndarray, "n 2"], shape: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    canvas = np.zeros(shape, np.uint8)
    cv2.fillConvexPoly(canvas, cv2.convexHull(np.floor(points).astype(np.int32)), 1)
    return canvas > 0


def _connected(seeds: Bool[np.ndarray, "h w"], wrong: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """The seeds and all wrong pixels that hang together with them: the arm of a hand on the face."""
    labels = cv2.connectedComponents((seeds | wrong).astype(np.uint8))[1]
    return np.isin(labels, np.unique(labels[seeds])) & (labels > 0)


def _grown(mask: Bool[np.ndarray, "h w"], pixels: float) -> Bool[np.ndarray, "h w"]:
    size = 2 * max(1, round(pixels)) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    return cv2.dilate(mask.astype(np.uint8), kernel) > 0
