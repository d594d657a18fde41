"""The inside of the mouth learned apart from the face, from frames in which it shows.

TalkingGaussian (Li et al., ECCV 2024): face and mouth move differently and hide each other, so each learns
from its own pixels; the mouth begins with the widest open frames. Then they are fused: colours and opacities learn.
"""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Int

from avatar.fitting.frames import FrameStore
from avatar.head.landmarks import INNER_LIPS, eye_distance, lip_opening

Part = Literal["face", "mouth"]
MOUTH_EVERY = 3
"""Of so many steps one is the mouth's: it is small and soon learned."""
FIRST_SHARE = 0.1
"""Of the training frames, so many of the widest open ones are the mouth's first; later all are."""
LEAST_OPENING = 0.02
"""Of the lips over the distance of the eyes: below, nothing is seen of the mouth's inside."""


class Apart:
    """Whose turn it is, with which frame and which pixels."""

    def __init__(self, frames: FrameStore, train: Int[np.ndarray, " n"]) -> None:
        self._frames, self._landmarks = frames, frames.capture.landmarks_px
        points = self._landmarks[train].astype(np.float64)
        opening = np.nan_to_num(lip_opening(points) / np.maximum(eye_distance(points), 1e-6))
        widest_first = np.argsort(-opening)
        self._open = train[widest_first][np.sort(opening)[::-1] > LEAST_OPENING]

    def turn(self, step: int) -> Part:
        """Who learns in a step; a mouth that never opens has no turn."""
        return "mouth" if step % MOUTH_EVERY == 0 and len(self._open) else "face"

    def frame(self, share: float, generator: torch.Generator) -> int:
        """A frame for the mouth when `share` of the budget is spent: the window of open frames grows."""
        widest = max(1, round(len(self._open) * min(1.0, FIRST_SHARE + share)))
        return int(self._open[int(torch.randint(widest, (), generator=generator))])

    def others(self, part: Part, index: int) -> Bool[np.ndarray, "h w"]:
        """Pixels of a frame that are not this part's: those between the inner edges of the lips are the mouth's."""
        camera, source = self._frames.camera, self._frames.capture.camera
        inside = np.zeros((camera.height, camera.width), np.uint8)
        edge = self._landmarks[index, INNER_LIPS] * (camera.width / source.width)
        if np.isfinite(edge).all():
            cv2.fillPoly(inside, [np.floor(edge).astype(np.int32)], 1)
        return (inside == 0) if part == "mouth" else (inside > 0)
