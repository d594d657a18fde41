"""What single pictures tell: focus, light, what covers the face, whether the camera stood still."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8

from avatar.head.landmarks import LEFT_EYE, LIPS, RIGHT_EYE
from preprocess.checking.evidence import Evidence

_FACE = 128
_SIDE = 96
"""Pixels of the upright mean face that all faces are warped to."""
_COVERED_LEVELS, _COVERED_SHARE = 30, 0.08


@dataclass(frozen=True)
class Looks:
    """One value per still; NaN without a face."""

    sharpness: Float[np.ndarray, " s"]
    """Contrast between neighbouring pixels over the face's contrast, the face being 128 pixels wide: 0.3 is good."""
    brightness: Float[np.ndarray, " s"]
    """Mean luma of the face, 0 to 255."""
    burnt: Float[np.ndarray, " s"]
    """Share of the face's pixels that are white or black, beyond what the sensor can tell."""
    covered: Bool[np.ndarray, " s"]
    """Whether something lies over the cheeks, the nose or the chin that is mostly not there."""
    moved: Float[np.ndarray, " s"]
    """How far the room moved since the middle still, over the picture's width; NaN where too little of it is seen."""


def look(evidence: Evidence) -> Looks:
    """Measure the stills of a clip."""
    points = evidence.landmarks_px[evidence.still_index]
    rows = [_face_numbers(rgb, p) for rgb, p in zip(evidence.stills, points, strict=True)]
    sharpness, brightness, burnt = np.array(rows, np.float64).reshape(-1, 3).T
    covered = covered_stills(evidence.stills, points)
    return Looks(sharpness, brightness, burnt, covered, room_motion(evidence.stills, points))


def _face_numbers(rgb: UInt8[np.ndarray, "h w 3"], points: Float[np.ndarray, "478 2"]) -> tuple[float, float, float]:
    import cv2

    if not np.isfinite(points[0, 0]):
        return np.nan, np.nan, np.nan
    left, top, right, bottom = _box(points, rgb.shape)
    if right - left < 8 or bottom - top < 8:
        return np.nan, np.nan, np.nan
    grey = cv2.cvtColor(rgb[top:bottom, left:right], cv2.COLOR_RGB2GRAY)
    # Smaller faces are not enlarged by more than twice: made-up pixels have no contrast.
    size = min(_FACE, 2 * (right - left))
    face = cv2.resize(grey, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32)
    sharpness = cv2.Laplacian(face, cv2.CV_32F).std() / max(float(face.std()), 1.0)
    return float(sharpness), float(face.mean()), float(((grey > 250) | (grey < 4)).mean())


def _box(points: np.ndarray, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    low, high = points.min(0), points.max(0)
    return (
        max(0, int(low[0])), max(0, int(low[1])), min(shape[1], int(high[0]) + 1), min(shape[0], int(high[1]) + 1)
    )  # fmt: skip


def covered_stills(stills: np.ndarray, points: Float[np.ndarray, "s 478 2"]) -> Bool[np.ndarray, " s"]:
    """Stills whose face differs from the clip's median face where expressions change little.

    All faces are warped to one shape by an affine map of the landmarks and set to one brightness first.
    """
    import cv2

    seen = np.flatnonzero(np.isfinite(points[:, 0, 0]))
    covered = np.zeros(len(stills), bool)
    if len(seen) < 5:
        return covered
    shape = np.median(points[seen, :468] - points[seen, :468].mean(1, keepdims=True), 0)
    shape = (shape / np.abs(shape).max() * 0.46 + 0.5) * _SIDE
    skin = _skin(shape)
    if not skin.any():
        return covered
    faces = []
    for index in seen:
        design = np.concatenate([points[index, :468], np.ones((468, 1))], 1)
        matrix = np.linalg.lstsq(design, shape, rcond=None)[0].T.astype(np.float32)
        blurred = cv2.GaussianBlur(stills[index], (0, 0), 1)
        faces.append(cv2.warpAffine(blurred, matrix, (_SIDE, _SIDE)).astype(np.float32))
    faces = np.stack(faces)
    usual = np.median(faces, 0)
    for _ in range(2):
        gain = np.array([np.median(face[skin] / np.maximum(usual[skin], 8)) for face in faces]).clip(0.1)
        usual = np.median(faces / gain[:, None, None, None], 0)
    strange = np.abs(faces / gain[:, None, None, None] - usual).max(-1)
    share = np.array([(cv2.blur(s, (8, 8))[skin] > _COVERED_LEVELS).mean() for s in strange])
    covered[seen] = share > _COVERED_SHARE
    return covered


def _skin(shape: Float[np.ndarray, "468 2"]) -> Bool[np.ndarray, "96 96"]:
    """The inner face without eyes and lips; the rim turns away from the camera too easily."""
    import cv2

    def hull(points: np.ndarray) -> np.ndarray:
        mask = np.zeros((_SIDE, _SIDE), np.uint8)
        cv2.fillConvexPoly(mask, cv2.convexHull(points.astype(np.float32)).astype(np.int32), 1)
        return mask

    skin = cv2.erode(hull(shape), np.ones((17, 17), np.uint8)) > 0
    for part in (LIPS, RIGHT_EYE, LEFT_EYE):
        skin &= cv2.dilate(hull(shape[list(part)]), np.ones((7, 7), np.uint8)) == 0
    return skin


def room_motion(stills: np.ndarray, points: Float[np.ndarray, "s 478 2"]) -> Float[np.ndarray, " s"]:
    """Median motion of corners around the person since the middle still, over the picture's width."""
    import cv2

    middle = len(stills) // 2
    greys = [cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY) for rgb in stills]
    room = _room(points, greys[0].shape)
    moved = np.full(len(stills), np.nan)
    corners = cv2.goodFeaturesToTrack(greys[middle], 60, 0.02, 8, mask=room.astype(np.uint8) * 255)
    if corners is None or len(corners) < 8:
        return moved
    for index, grey in enumerate(greys):
        there, ok, _ = cv2.calcOpticalFlowPyrLK(greys[middle], grey, corners, None)  # pyright: ignore
        back, ok_back, _ = cv2.calcOpticalFlowPyrLK(grey, greys[middle], there, None)  # pyright: ignore
        sure = (ok[:, 0] > 0) & (ok_back[:, 0] > 0) & (np.linalg.norm(back - corners, axis=-1)[:, 0] < 1)
        if sure.sum() >= 8:
            moved[index] = np.median(np.linalg.norm((there - corners)[sure, 0], axis=-1)) / grey.shape[1]
    return moved


def _room(points: np.ndarray, shape: tuple[int, ...]) -> Bool[np.ndarray, "h w"]:
    """What is above the shoulders and beside the head in every still."""
    room = np.ones(shape, bool)
    for p in points[np.isfinite(points[:, 0, 0])]:
        left, top, right, bottom = _box(p, shape)
        wide, high = (right - left) // 2, (bottom - top) // 2
        room[max(0, top - high) :, max(0, left - wide) : right + wide] = False
        room[bottom - high // 2 :] = False
    return room
