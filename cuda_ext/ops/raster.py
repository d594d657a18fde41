"""Rasterising Gaussians."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from cuda_ext.backends import native
from cuda_ext.ops.checks import checked

MAX_SIDE = 16384


def _view_rows(T_camera_world: Any) -> list[float]:
    matrix = np.asarray(T_camera_world, np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise ValueError(f"T_camera_world: expected a finite (4, 4) matrix, got shape {matrix.shape}")
    return matrix[:3].ravel().tolist()


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(ctx, means, quats, scales, opacities, colors, camera):
        width, height, intrinsics, view_rows = camera
        images = (torch.empty(height, width, 3), torch.empty(height, width), torch.empty(height, width))
        inputs = (means, quats, scales, opacities, colors)
        frame = native().Frame()
        frame.forward(
            means.shape[0], [t.data_ptr() for t in inputs], [t.data_ptr() for t in images], width, height, intrinsics,
            view_rows,
        )  # fmt: skip
        ctx.frame = frame
        ctx.save_for_backward(*inputs, *images)
        ctx.set_materialize_grads(False)
        return images

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_rgb, grad_alpha, grad_depth):
        saved = ctx.saved_tensors
        inputs, images = saved[:5], saved[5:]
        grad_rgb = torch.zeros_like(images[0]) if grad_rgb is None else grad_rgb.contiguous()
        optional = [None if g is None else g.contiguous() for g in (grad_alpha, grad_depth)]
        gradients = [torch.empty_like(t) for t in inputs]
        ctx.frame.backward(
            [t.data_ptr() for t in inputs], [t.data_ptr() for t in images],
            [grad_rgb.data_ptr(), *(0 if g is None else g.data_ptr() for g in optional)],
            [g.data_ptr() for g in gradients],
        )  # fmt: skip
        return *gradients, None


def rasterize(
    means: Float[Tensor, "n 3"],
    quats_wxyz: Float[Tensor, "n 4"],
    scales: Float[Tensor, "n 3"],
    opacities: Float[Tensor, " n"],
    colors: Float[Tensor, "n 3"],
    *,
    width: int,
    height: int,
    fx: float,
    fy: float,
    cx: float,
    cy: float,
    T_camera_world: Float[np.ndarray, "4 4"] | Float[Tensor, "4 4"],
) -> tuple[Float[Tensor, "h w 3"], Float[Tensor, "h w"], Float[Tensor, "h w"]]:
    """Splat Gaussians into a pinhole camera: premultiplied colour, alpha, expected depth sum(w z) / sum(w).

    EWA projection (Zwicker et al. 2001) with 0.3 px^2 of blur; per pixel, front to back: alpha below 1/255 is skipped,
    alpha is capped at 0.999, and the splat that brings the transmittance below 1e-4 is the last. Equal depths go by
    index. Gaussians nearer than 0.01 m are dropped. Depth is 0 where alpha is 0. All three images pass gradients to the
    five tensors; the camera gets none.

    Args:
        means: centres in the world, metres.
        quats_wxyz: rotations, of any length.
        scales: standard deviations, metres.
        opacities: 0..1.
        colors: any values.
        width, height, fx, fy, cx, cy: pixels; pixel centres lie at +0.5.
        T_camera_world: OpenCV camera axes.

    Raises:
        ValueError: wrong shapes, an empty or too large image, a NaN or infinity in the input.
        TypeError: wrong dtype or device.
    """
    n = means.shape[0] if isinstance(means, Tensor) and means.ndim == 2 else None
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise ValueError(f"image size: expected 1..{MAX_SIDE} pixels a side, got {width} x {height}")
    intrinsics = [float(fx), float(fy), float(cx), float(cy)]
    if not np.isfinite(intrinsics).all():
        raise ValueError(f"fx, fy, cx, cy: expected finite numbers, got {intrinsics}")
    inputs = (
        checked(means, "means", (n, 3)),
        checked(quats_wxyz, "quats_wxyz", (n, 4)),
        checked(scales, "scales", (n, 3)),
        checked(opacities, "opacities", (n,)),
        checked(colors, "colors", (n, 3)),
    )
    camera = (int(width), int(height), intrinsics, _view_rows(T_camera_world))
    return _Rasterize.apply(*inputs, camera)  # pyright: ignore[reportReturnType]
