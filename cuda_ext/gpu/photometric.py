"""L1 + SSIM on a GPU, for a batch of image pairs. Nothing here waits for the device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cuda_ext.gpu.launch import Launcher

_SIDE = 16


@dataclass(frozen=True)
class Similarity:
    """Per image pair, and what the gradient needs."""

    l1: Float[Tensor, " b"]
    """Mean absolute difference."""
    ssim: Float[Tensor, " b"]
    """Mean SSIM."""
    maps: Float[Tensor, "3 b h w c"] | None


def _grid(image: Float[Tensor, "b h w c"]) -> tuple[int, int, int]:
    b, h, w, c = image.shape
    return -(-w // _SIDE), -(-h // _SIDE), b * c


def compare(
    launcher: Launcher, image: Float[Tensor, "b h w c"], target: Float[Tensor, "b h w c"], *, with_maps: bool
) -> Similarity:
    """Mean absolute difference and mean SSIM of each pair."""
    (b, h, w, c), grid = image.shape, _grid(image)
    partials = torch.empty(b, grid[0] * grid[1] * c, 2, device=launcher.device)
    maps = torch.empty(3, *image.shape, device=launcher.device) if with_maps else None
    launcher.launch("photometric_forward", grid, (_SIDE**2,), image, target, h, w, c, partials, maps)
    l1, ssim = (partials.sum(1) / (h * w * c)).unbind(1)
    return Similarity(l1, ssim, maps)


def compare_backward(
    launcher: Launcher,
    image: Float[Tensor, "b h w c"],
    target: Float[Tensor, "b h w c"],
    maps: Float[Tensor, "3 b h w c"],
    slopes: Float[Tensor, " b"],
    ssim_weight: float,
) -> Float[Tensor, "b h w c"]:
    """Gradient by the image of sum(slopes * ((1 - ssim_weight) l1 + ssim_weight (1 - ssim)))."""
    _, h, w, c = image.shape
    gradient, count = torch.empty_like(image), h * w * c
    launcher.launch(
        "photometric_backward", _grid(image), (_SIDE**2,), image, target, maps, slopes, h, w, c,
        (1.0 - ssim_weight) / count, ssim_weight / count, gradient,
    )  # fmt: skip
    return gradient
