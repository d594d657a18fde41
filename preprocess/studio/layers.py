"""How well part labels, masks and clean plate of a tracked studio clip agree with its truth."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, UInt8

from avatar.evaluation.metrics import psnr_of
from avatar.split import training_span
from preprocess.capture import CaptureFolder
from preprocess.parts.labels import NUMBER, PARTS
from preprocess.studio.atlas import LABELS
from preprocess.studio.folder import StudioFolder
from preprocess.studio.truth import frames_used

EDGE_PX = 4
"""The edge of the person is what lies so near to it."""
_STEP = 5
"""Every so many frames are compared."""
_PART_OF_LABEL = {"face_skin": "skin", "brows": "skin", "ears": "skin", "tongue": "inner_mouth", "scalp": "hair"}
"""Where the names differ. The studio paints the scalp in the hair's colour."""
TRUE_PART = np.array([NUMBER[_PART_OF_LABEL.get(name, name)] for name in LABELS], np.uint8)
"""The part of each of the studio's labels."""


def layer_scores(capture: CaptureFolder, studio: StudioFolder) -> dict[str, float]:
    """Overlap of every part (`iou_skin`, ...), scores of masks and plate; `parts_ms` of processor time.

    Raises:
        BadInput: the capture is of other frames.
    """
    frames = range(0, len(capture), _STEP)
    row = {f"iou_{name}": value for name, value in part_overlaps(capture, studio, frames).items()}
    row |= mask_scores(capture, studio, frames) | plate_scores(capture, studio)
    began = time.process_time()  # not for the first call, which learns the colours
    for index in frames:
        capture.parts(index)
    return row | {"parts_ms": 1e3 * (time.process_time() - began) / len(frames)}


def part_overlaps(capture: CaptureFolder, studio: StudioFolder, frames: Sequence[int]) -> dict[str, float]:
    """Intersection over union of every part, pixels of all frames summed; NaN for what is nowhere."""
    counts, truth = np.zeros((len(PARTS), len(PARTS))), _Truth(capture, studio)
    for index in frames:
        pairs = truth.parts(index).astype(np.int64) * len(PARTS) + capture.parts(index)
        counts += np.bincount(pairs.ravel(), minlength=counts.size).reshape(counts.shape)
    both = counts.diagonal()
    union = counts.sum(0) + counts.sum(1) - both
    return {name: float(both[k] / union[k]) if union[k] else float("nan") for k, name in enumerate(PARTS)}


def mask_scores(capture: CaptureFolder, studio: StudioFolder, frames: Sequence[int]) -> dict[str, float]:
    """`mask_iou`; `mask_edge_error`, the mean error of confidence near the true edge, 0 to 1; and `mask_flicker`, its
    second difference in time there, where truth stays the same for three frames.
    """
    import cv2

    truth, kernel = _Truth(capture, studio), np.ones((2 * EDGE_PX + 1,) * 2, np.uint8)
    both = union = 0
    errors, flicker = [], []
    for index in (i for i in frames if 0 < i < len(capture) - 1):
        before, person, after = (truth.person(i) for i in (index - 1, index, index + 1))
        alphas = [capture.mask(i).astype(np.float32) / 255 for i in (index - 1, index, index + 1)]
        flat = person.astype(np.uint8)
        edge = cv2.dilate(flat, kernel) > cv2.erode(flat, kernel)
        both += int((person & (alphas[1] > 0.5)).sum())
        union += int((person | (alphas[1] > 0.5)).sum())
        errors.append(np.abs(alphas[1] - person)[edge].mean())
        still = edge & (before == person) & (after == person)
        flicker.append(np.abs(alphas[0] - 2 * alphas[1] + alphas[2])[still].mean())
    return {
        "mask_iou": both / max(union, 1),
        "mask_edge_error": float(np.mean(errors)),
        "mask_flicker": float(np.mean(flicker)),
    }


def plate_scores(capture: CaptureFolder, studio: StudioFolder) -> dict[str, float]:
    """`plate_psnr`, dB, where the plate says it saw the room; `plate_precision`, how much of this was ever free in the
    frames that it may use; `plate_recall`, how much of what was ever free it saw.
    """
    truth, free = _Truth(capture, studio), np.zeros(capture.background_seen.shape, bool)
    for index in np.flatnonzero(training_span(capture.motion.timestamps_seconds)).tolist():
        free |= ~truth.person(index)
    seen, room = capture.background_seen, truth.resized(studio.background())
    wrong = (capture.background.astype(np.float32) - room) / 255
    hits = float((seen & free).sum())
    return {
        "plate_psnr": psnr_of(float((wrong[seen] ** 2).mean())) if seen.any() else float("nan"),
        "plate_precision": hits / max(int(seen.sum()), 1),
        "plate_recall": hits / max(int(free.sum()), 1),
    }


class _Truth:
    """The studio's label pictures at a capture's frames and size."""

    def __init__(self, capture: CaptureFolder, studio: StudioFolder) -> None:
        self._studio, self._frames = studio, frames_used(capture, studio)
        self._size = (capture.camera.width, capture.camera.height)

    def resized(self, picture: np.ndarray) -> np.ndarray:
        import cv2

        return np.asarray(cv2.resize(picture, self._size, interpolation=cv2.INTER_NEAREST))

    def parts(self, index: int) -> UInt8[np.ndarray, "h w"]:
        return self.resized(TRUE_PART[self._studio.labels(int(self._frames[index]))])

    def person(self, index: int) -> Bool[np.ndarray, "h w"]:
        return self.parts(index) > 0
