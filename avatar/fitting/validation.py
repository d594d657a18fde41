"""Which state of a fit is published: the one that does best on frames that are not trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from avatar.evaluation.metrics import psnr
from avatar.fitting.frames import FrameStore, Split
from avatar.layers import Layers

FIRST_VALIDATION, VALIDATION_GROWTH = 100, 1.15
MAX_VALIDATION_FRAMES = 12


@dataclass
class Best:
    """The averaged state that did best on the validation slice."""

    psnr: float
    step: int
    settled: bool
    """Found at low rates."""
    tensors: dict[str, Tensor]


@dataclass(frozen=True)
class CurvePoint:
    """How good a fit was after so much work."""

    step: int
    seconds: float
    """Of optimisation."""
    psnr: float
    """Of the averaged state, on the validation slice."""


class Validation:
    """Judges states of a fit on its validation slice, densely at first, since short clips overfit early."""

    def __init__(self, frames: FrameStore, split: Split, image: Callable[[Layers, int], Tensor]) -> None:
        """
        Args:
            image: renders layers in the tracked pose of a frame.
        """
        slice_ = split.validation if len(split.validation) else split.train[-1:]
        chosen = slice_[np.linspace(0, len(slice_) - 1, min(len(slice_), MAX_VALIDATION_FRAMES)).astype(int)]
        self._chosen, self._frames, self._image = chosen.tolist(), frames, image
        self.best: Best | None = None
        self.next_step = FIRST_VALIDATION
        self.curve: list[CurvePoint] = []

    def consider(self, layers: Layers, step: int, seconds: float, *, settled: bool) -> None:
        """Score a state; of the settled ones keep the best.

        Before, at high rates, a state that suits the slice is mostly luck, and later ones do better elsewhere.
        """
        self.next_step = int(step * VALIDATION_GROWTH) + 1
        score = self.score(layers)
        self.curve.append(CurvePoint(step, round(seconds, 2), round(score, 3)))
        if self.best is None or not self.best.settled or score >= self.best.psnr:
            self.best = Best(score, step, settled, layers.copy().tensors())

    @torch.no_grad()
    def score(self, layers: Layers) -> float:
        """Mean PSNR over the validation slice, tracker poses, full frame."""
        return float(np.mean([psnr(self._image(layers, i).clamp(0, 1), self._frames[i][0]) for i in self._chosen]))
