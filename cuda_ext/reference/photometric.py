"""Image losses, in plain torch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def _ssim_map(image: Float[Tensor, "h w c"], target: Float[Tensor, "h w c"]) -> Float[Tensor, "c 1 h w"]:
    offsets = torch.arange(-5, 6, dtype=image.dtype)
    window = torch.exp(-(offsets**2) / (2 * 1.5**2))
    window = window / window.sum()

    def blur(planes: Float[Tensor, "c 1 h w"]) -> Float[Tensor, "c 1 h w"]:
        return F.conv2d(
            F.conv2d(planes, window.view(1, 1, 1, 11), padding=(0, 5)), window.view(1, 1, 11, 1), padding=(5, 0)
        )

    x, y = image.permute(2, 0, 1)[:, None], target.permute(2, 0, 1)[:, None]
    mx, my = blur(x), blur(y)
    vx, vy, vxy = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    return (2 * mx * my + c1) * (2 * vxy + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))


def ssim(image: Float[Tensor, "h w c"], target: Float[Tensor, "h w c"]) -> float:
    """See `cuda_ext.ops.ssim`."""
    return float(_ssim_map(image.detach(), target.detach()).mean())


def photometric_loss(
    image: Float[Tensor, "h w c"], target: Float[Tensor, "h w c"], ssim_weight: float = 0.2
) -> Float[Tensor, ""]:
    """See `cuda_ext.ops.photometric_loss`."""
    l1 = (image - target).abs().mean()
    return (1 - ssim_weight) * l1 + ssim_weight * (1 - _ssim_map(image, target).mean())
