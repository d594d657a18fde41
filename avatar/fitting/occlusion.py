"""What covers the face in a training frame (hands, hair, a cup), found without a detector.

After the rough stage the avatar knows what the face looks like in most frames. Where a frame's face still differs over
an area, something else is in front of it, and the pixel teaches nothing. Lips and eyes change by nature and are exempt,
unless what surrounds them is covered too. In the spirit of RobustNeRF (Sabour et al. 2023): errors of things that do
not belong to the scene are large and coherent.

A hand has the face's own colour: inside of the face only its outlines differ. What gives it away is the rest of it,
beside the face. In frames with such an intruder small errors count as well, and what they enclose.
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
INTRUDER_WIDTH_SHARE, INTRUDER_AREA = 0.06, 0.03
"""Something strange beside the face is at least this wide and large (shares of the face's size, and of its square)."""
WEAK_ERROR, WEAK_PERCENTILE, WEAK_RATIO = 0.035, 30, 1.6
"""Where there is an intruder this much is covered, and this many times the error of the face's better part."""
GAP_SHARE = 0.32
"""Width of what lies between covered places and is covered too: between a finger's outlines."""


def covered_pixels(
    rendered: Float[np.ndarray, "h w 3"],
    frame: Float[np.ndarray, "h w 3"],
    person: Bool[np.ndarray, "h w"],
    landmarks_px: Float[np.ndarray, "478 2"],
) -> Bool[np.ndarray, "h w"]:
    """Pixels of the face that something covers.

    Args:
        rendered, frame: the rough avatar in this frame's pose, and the frame, in [0, 1].
        person: where the frame shows the person.
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
    covered = _connected(covered, error > STRONG_ERROR)
    intruder = _large(person & ~face & (error > STRONG_ERROR), size)
    if (intruder & _grown(face, GROWTH_SHARE * size)).any():
        weak = max(WEAK_ERROR, WEAK_RATIO * float(np.percentile(error[skin], WEAK_PERCENTILE)))
        suspicious = intruder | covered | (face & (error > weak))
        reached = suspicious & _connected(intruder, _grown(suspicious, GROWTH_SHARE / 2 * size))
        covered |= _closed(reached, GAP_SHARE * size)
    return _grown(covered, GROWTH_SHARE * size)


def _hull(points: Float[np.ndarray, "n 2"], shape: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    canvas = np.zeros(shape, np.uint8)
    cv2.fillConvexPoly(canvas, cv2.convexHull(np.floor(points).astype(np.int32)), 1)
    return canvas > 0


def _connected(seeds: Bool[np.ndarray, "h w"], wrong: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """The seeds and all wrong pixels that hang together with them: the arm of a hand on the face."""
    labels = cv2.connectedComponents((seeds | wrong).astype(np.uint8))[1]
    return np.isin(labels, np.unique(labels[seeds])) & (labels > 0)


def _large(mask: Bool[np.ndarray, "h w"], size: float) -> Bool[np.ndarray, "h w"]:
    """The wide and large pieces of a mask."""
    opened = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, _disk(INTRUDER_WIDTH_SHARE / 2 * size))
    labels = np.asarray(cv2.connectedComponents(opened)[1])
    large = np.flatnonzero(np.bincount(labels.ravel()) > INTRUDER_AREA * size**2)
    return np.isin(labels, large) & (labels > 0)


def _closed(mask: Bool[np.ndarray, "h w"], width: float) -> Bool[np.ndarray, "h w"]:
    """The mask and what lies between its parts, if that is no wider; the picture's border is no part's end."""
    margin = int(width) + 1
    wide = cv2.copyMakeBorder(mask.astype(np.uint8), margin, margin, margin, margin, cv2.BORDER_REPLICATE)
    closed = cv2.morphologyEx(wide, cv2.MORPH_CLOSE, _disk(width / 2))
    return closed[margin:-margin, margin:-margin] > 0


def _grown(mask: Bool[np.ndarray, "h w"], pixels: float) -> Bool[np.ndarray, "h w"]:
    return cv2.dilate(mask.astype(np.uint8), _disk(pixels)) > 0


def _disk(radius_px: float) -> np.ndarray:
    size = 2 * max(1, round(radius_px)) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
