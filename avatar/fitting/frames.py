"""Training images on demand: decoded from the capture, scaled once, kept in a bounded cache."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from avatar.errors import BadInput
from avatar.fitting.config import SplitConfig
from avatar.split import training_span
from avatar.types import Camera, Capture, Motion


@dataclass(frozen=True)
class Split:
    """Frame numbers of a capture by use; only tracked frames."""

    train: Int[np.ndarray, " a"]
    validation: Int[np.ndarray, " b"]
    test: Int[np.ndarray, " c"]


def split_frames(motion: Motion, tracked: np.ndarray, config: SplitConfig) -> Split:
    """Split a clip by time: training, validation, a gap, test.

    Raises:
        BadInput: too few tracked frames to train on.
    """
    t = motion.timestamps_seconds - motion.timestamps_seconds[0]
    test_start = t[-1] * (1 - config.test_share)
    learn = tracked & training_span(t, config.test_share, config.gap_seconds)
    validation_start = (test_start - config.gap_seconds) * (1 - config.validation_share)
    train = np.flatnonzero(learn & (t < validation_start))
    if len(train) < 20:
        raise BadInput(
            "too few frames to fit an avatar",
            expected="at least 20 frames with a face before the held-out end of the clip",
            got=f"{len(train)}",
            fix="record a longer clip (a few minutes is best) and preprocess it",
        )
    validation = np.flatnonzero(learn & (t >= validation_start))
    return Split(train, validation, np.flatnonzero(tracked & (t >= test_start)))


class FrameStore:
    """Frames and person masks of a capture at the fitting resolution."""

    def __init__(self, capture: Capture, long_side: int, cache_mb: int) -> None:
        self.capture = capture
        source = capture.camera
        self.camera: Camera = source.with_long_side(min(long_side, max(source.width, source.height)))
        self._cache: OrderedDict[int, np.ndarray] = OrderedDict()
        self._capacity = max(1, cache_mb * 2**20 // (self.camera.width * self.camera.height * 4))

    def scaled(self, image: np.ndarray) -> np.ndarray:
        """An image of the capture at the fitting resolution."""
        size = (self.camera.width, self.camera.height)
        return image if image.shape[1::-1] == size else cv2.resize(image, size, interpolation=cv2.INTER_AREA)

    def _load(self, index: int) -> np.ndarray:
        rgb, mask = self.scaled(self.capture.frame(index)), self.scaled(self.capture.mask(index))
        return np.concatenate([rgb, mask[..., None]], -1)

    def rgba(self, index: int) -> np.ndarray:
        """(h, w, 4) uint8: the frame and its person mask."""
        if index in self._cache:
            self._cache.move_to_end(index)
            return self._cache[index]
        image = self._cache[index] = self._load(index)
        if len(self._cache) > self._capacity:
            self._cache.popitem(last=False)
        return image

    def __getitem__(self, index: int) -> tuple[Float[Tensor, "h w 3"], Float[Tensor, "h w"]]:
        image = torch.from_numpy(self.rgba(index)).float().mul_(1 / 255)
        return image[..., :3].contiguous(), image[..., 3].contiguous()
