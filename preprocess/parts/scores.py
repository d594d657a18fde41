"""How well the part labels of a tracked studio clip agree with its truth."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from preprocess.capture import CaptureFolder
from preprocess.parts.labels import NUMBER, PARTS
from preprocess.studio.atlas import LABELS
from preprocess.studio.folder import StudioFolder
from preprocess.studio.truth import frames_used

_PART_OF_LABEL = {"face_skin": "skin", "brows": "skin", "ears": "skin", "tongue": "inner_mouth", "scalp": "hair"}
"""Where the names differ. The studio paints the scalp in the hair's colour."""
TRUE_PART = np.array([NUMBER[_PART_OF_LABEL.get(name, name)] for name in LABELS], np.uint8)
"""The part of each of the studio's labels."""


def part_overlaps(capture: CaptureFolder, studio: StudioFolder, frames: Iterable[int]) -> dict[str, float]:
    """Intersection over union of every part over some frames of a capture of the studio clip, pixels of all summed.

    Raises:
        BadInput: the capture is of other frames.
    """
    import cv2

    counts, used, size = np.zeros((len(PARTS), len(PARTS))), frames_used(capture, studio), capture.frame(0).shape[1::-1]
    for index in frames:
        true = TRUE_PART[studio.labels(int(used[index]))]
        true = cv2.resize(true, size, interpolation=cv2.INTER_NEAREST)
        pairs = true.astype(np.int64) * len(PARTS) + capture.parts(index)
        counts += np.bincount(pairs.ravel(), minlength=counts.size).reshape(counts.shape)
    both = counts.diagonal()
    union = counts.sum(0) + counts.sum(1) - both
    return {name: float(both[k] / union[k]) if union[k] else float("nan") for k, name in enumerate(PARTS)}
