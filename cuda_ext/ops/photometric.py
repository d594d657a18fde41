"""Image losses."""

from __future__ import annotations

from math import isfinite

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from cuda_ext.backends import native
from cuda_ext.ops.checks import checked


def _image_pair(image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    image = checked(image, "image", (None, None, None))
    if image.numel() == 0:
        raise ValueError(f"image: expected at least one value, got shape {tuple(image.shape)}")
    return image, checked(target, "target", tuple(image.shape))


def _finite(value: float) -> float:
    """`value`, in which every pixel has a share: so no pass over the images is needed to find a NaN in them."""
    if not isfinite(value):
        raise ValueError("image, target: expected finite numbers up to about 1e9, got a NaN, infinity or larger one")
    return value


class _PhotometricLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, image, target, ssim_weight):
        gradient = torch.empty_like(image) if ctx.needs_input_grad[0] else None
        loss = native().photometric_loss(
            image.data_ptr(), target.data_ptr(), *image.shape, ssim_weight,
            0 if gradient is None else gradient.data_ptr(),
        )  # fmt: skip
        ctx.gradient = gradient
        return image.new_tensor(_finite(loss))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        # A loss is nearly always the end of the graph: then the slope is 1 and the product a wasted pass over memory.
        return (ctx.gradient if grad_output.item() == 1.0 else ctx.gradient * grad_output), None, None


def photometric_loss(
    image: Float[Tensor, "h w c"], target: Float[Tensor, "h w c"], ssim_weight: float = 0.2
) -> Float[Tensor, ""]:
    """(1 - ssim_weight) mean|image - target| + ssim_weight (1 - SSIM), as in 3D Gaussian splatting (eq. 7).

    SSIM has an 11x11 Gaussian window (sigma 1.5), zero padding, data range 1. The gradient, of `image` only, comes with
    the value. Raises ValueError or TypeError for tensors of wrong shape, dtype or device, and ValueError for a NaN or
    infinity in them.
    """
    image, target = _image_pair(image, target)
    if not 0.0 <= ssim_weight <= 1.0:
        raise ValueError(f"ssim_weight: expected 0..1, got {ssim_weight}")
    return _PhotometricLoss.apply(image, target.detach(), float(ssim_weight))  # pyright: ignore[reportReturnType]


def ssim(image: Float[Tensor, "h w c"], target: Float[Tensor, "h w c"]) -> float:
    """Mean SSIM (window and padding as in `photometric_loss`) over all pixels and channels."""
    image, target = _image_pair(image, target)
    return _finite(native().ssim(image.data_ptr(), target.data_ptr(), *image.shape))
