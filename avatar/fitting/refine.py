"""Refinement of the tracked parameters of training frames, at tiny rates, through the rasteriser's gradients."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from avatar.fitting.config import RateConfig


class MotionRefiner:
    """One row of (rotation vector, translation, 52 expressions) per frame, with its own sparse Adam state."""

    BETAS = (0.8, 0.9)

    def __init__(self, n_frames: int, rates: RateConfig) -> None:
        self.delta = torch.zeros(n_frames, 58)
        self.first, self.second = torch.zeros(n_frames, 58), torch.zeros(n_frames, 58)
        self.count = torch.zeros(n_frames)
        per_group = ((rates.motion_rotation, 3), (rates.motion_translation, 3), (rates.motion_expression, 52))
        self.rates = torch.cat([torch.full((n,), rate) for rate, n in per_group])

    @torch.no_grad()
    def update(self, index: int, gradient: Float[Tensor, "58"], decay: float) -> None:
        """One Adam step on one row."""
        b1, b2 = self.BETAS
        self.count[index] += 1
        n = self.count[index]
        self.first[index].mul_(b1).add_(gradient, alpha=1 - b1)
        self.second[index].mul_(b2).addcmul_(gradient, gradient, value=1 - b2)
        scale = (self.second[index] / (1 - b2**n)).sqrt() + 1e-12
        self.delta[index] -= decay * self.rates * self.first[index] / (1 - b1**n) / scale

    def tensors(self) -> dict[str, Tensor]:
        """State for a checkpoint."""
        return {name: getattr(self, name) for name in ("delta", "first", "second", "count")}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Inverse of `tensors`."""
        for name, value in tensors.items():
            setattr(self, name, value)
