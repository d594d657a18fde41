"""Where the shoulders go: a rigid alignment of the torso's pixels with one reference frame.

Shoulders move on their own; predicted from the head alone they slide under it. Enhanced correlation coefficients
(Evangelidis and Psarakis 2008, in OpenCV) give shift and roll to a fraction of a pixel and say how sure they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from avatar.progress import progress
from avatar.split import training_span
from avatar.types import TORSO_BEHIND_HEAD_M, Camera, Motion
from preprocess.capture.pictures import read_ahead
from preprocess.tracking.interpolation import fill_linear

LONG_SIDE = 256
MIN_CORRELATION, MIN_SHARE = 0.8, 0.6
"""An alignment below this correlation is not believed; with fewer believed frames than this share, none is."""
MIN_REGION = 0.03
"""Least share of the picture that must show the torso."""
CHIN_GAP = 0.03
"""The region begins this share of the height below the chin."""
MARGIN = 16
"""Pixels of the picture around where the region was last that are looked at."""
CRITERIA = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 1e-3)
BLUR = 5

Read = Callable[[int], UInt8[np.ndarray, "h w *c"]]


def track_torso(
    motion: Motion, camera: Camera, chin_px: Float[np.ndarray, " t"], frame: Read, mask: Read, jobs: int = 1
) -> Float[np.ndarray, "t 3"]:
    """`Motion.torso` of a tracked clip; all zero where the shoulders can't be followed (too little of them to see).

    Args:
        chin_px: row of the chin per frame in capture pixels, NaN where no face was found.
        frame, mask: the capture's pictures (RGB) and person masks, by index; read once each, nothing is kept.
        jobs: processors to use.
    """
    count, scale = len(motion), LONG_SIDE / max(camera.width, camera.height)
    size = (round(camera.width * scale), round(camera.height * scale))
    training = training_span(motion.timestamps_seconds)
    usable = np.isfinite(chin_px) & training
    if not usable.any():
        return np.zeros((count, 3), np.float32)
    reference = _calmest(motion, usable)
    region = _region(cv2.resize(mask(reference), size), float(chin_px[reference]) * scale)
    if region.mean() < MIN_REGION:
        return np.zeros((count, 3), np.float32)
    template = _Template.of(_gray(frame(reference), size), region)
    warps, sure = np.zeros((count, 2, 3)), np.zeros(count, bool)
    lost, allowed = 0, (1 - MIN_SHARE) * training.sum()
    with progress("following the shoulders", count) as bar:
        for order in (range(reference, count), range(reference - 1, -1, -1)):
            warp = np.eye(2, 3)
            for index, picture in zip(order, read_ahead(lambda i: _gray(frame(i), size), order, jobs), strict=True):
                found = _align(template, picture, warp)
                if found is not None:
                    warp = warps[index] = found
                    sure[index] = True
                elif training[index]:
                    lost += 1
                    if lost > allowed:
                        return np.zeros((count, 3), np.float32)
                bar.update(index - reference + 1 if index >= reference else count - index)
    depth = float(np.median(motion.translation[training, 2])) + TORSO_BEHIND_HEAD_M
    moves = _in_metres(warps, camera.scaled(*size), depth)
    return fill_linear(moves, sure, motion.timestamps_seconds)


def _calmest(motion: Motion, seen: Bool[np.ndarray, " t"]) -> int:
    """The frame whose head pose is nearest to the median pose."""
    pose = np.concatenate([motion.quats_wxyz, motion.translation], 1)
    distance = np.abs(pose - np.median(pose[seen], 0)).sum(1)
    return int(np.where(seen, distance, np.inf).argmin())


def _region(mask: UInt8[np.ndarray, "h w"], chin_row: float) -> UInt8[np.ndarray, "h w"]:
    rows = np.arange(len(mask))[:, None]
    region = (mask > 200) & (rows > chin_row + CHIN_GAP * len(mask))
    return cv2.erode(region.astype(np.uint8), np.ones((3, 3), np.uint8))


def _gray(rgb: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "h2 w2"]:
    return cv2.resize(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA)


@dataclass(frozen=True)
class _Template:
    """What of the reference frame is looked for: the torso's surroundings, and which of their pixels count."""

    picture: UInt8[np.ndarray, "h w"]
    region: UInt8[np.ndarray, "h w"]
    corner: Float[np.ndarray, "2"]
    """Of these in the whole reference frame, x and y."""

    @staticmethod
    def of(picture: UInt8[np.ndarray, "h w"], region: UInt8[np.ndarray, "h w"]) -> _Template:
        # The blur and the slopes of pixels that count reach this much further.
        (left, right), (top, bottom) = (_span(np.any(region, axis), BLUR) for axis in (0, 1))
        return _Template(picture[top:bottom, left:right], region[top:bottom, left:right], np.array([left, top], float))


def _span(used: np.ndarray, margin: int) -> tuple[int, int]:
    inside = np.flatnonzero(used)
    return max(0, int(inside[0]) - margin), min(len(used), int(inside[-1]) + 1 + margin)


def _align(template: _Template, picture: np.ndarray, start: Float[np.ndarray, "2 3"]) -> np.ndarray | None:
    """The warp from template to picture pixels, or None if none is found that can be believed."""
    height, width = template.region.shape
    box = template.corner + np.array([(0, 0), (width, 0), (0, height), (width, height)])
    there = box @ start[:, :2].T + start[:, 2]
    corner = np.maximum(np.floor(there.min(0)) - MARGIN, 0).astype(int)
    right, bottom = (np.ceil(there.max(0)) + MARGIN).astype(int)
    part = picture[corner[1] : max(bottom, 0), corner[0] : max(right, 0)]
    # The mask belongs to the second image: so the picture is aligned to the template, and the result is turned round.
    back = _between(cv2.invertAffineTransform(start), corner, template.corner).astype(np.float32)
    try:
        correlation, back = cv2.findTransformECC(
            part, template.picture, back, cv2.MOTION_EUCLIDEAN, CRITERIA, template.region, BLUR
        )
    except cv2.error:  # "did not converge"; or there is nothing left of the picture
        return None
    if correlation < MIN_CORRELATION:
        return None
    return cv2.invertAffineTransform(_between(back, -corner, -template.corner))


def _between(warp: Float[np.ndarray, "2 3"], source: np.ndarray, target: np.ndarray) -> Float[np.ndarray, "2 3"]:
    """A warp of whole pictures as one of their parts, which begin at `source` and `target` (x, y)."""
    shift = warp[:, :2] @ source + warp[:, 2] - target
    return np.concatenate([warp[:, :2], shift[:, None]], 1).astype(np.float64)


def _in_metres(warps: Float[np.ndarray, "t 2 3"], camera: Camera, depth: float) -> Float[np.ndarray, "t 3"]:
    """Pixel warps as a movement of points at `depth`: u' - c = R (u - c) + shift, with c the principal point."""
    # OpenCV counts pixel centres at whole numbers.
    centre = np.array([camera.cx, camera.cy]) - 0.5
    shift = warps[:, :, :2] @ centre + warps[:, :, 2] - centre
    roll = np.arctan2(warps[:, 1, 0], warps[:, 0, 0])
    return np.concatenate([shift * depth / [camera.fx, camera.fy], roll[:, None]], 1).astype(np.float32)
