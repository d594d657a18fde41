"""KAN layer: a learned function on every edge."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from cuda_ext.backends import native
from cuda_ext.ops.checks import CPU, checked

ORDER = 3
"""Cubic splines."""


class _Kan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, spline_weight, base_weight, grid_range):
        outputs, inputs, bases = spline_weight.shape
        low, high = grid_range
        ctx.shape, ctx.grid = (inputs, outputs, bases), (low, (bases - ORDER) / (high - low))
        y = torch.empty(x.shape[0], outputs)
        weights = (x, spline_weight, base_weight)
        native().kan(x.shape[0], ctx.shape, ctx.grid, [t.data_ptr() for t in weights], y.data_ptr())
        ctx.save_for_backward(*weights)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_y):
        x, spline_weight, base_weight = ctx.saved_tensors
        grad_y = grad_y.contiguous()
        grad_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        gradients = (torch.empty_like(spline_weight), torch.empty_like(base_weight))
        native().kan_backward(
            x.shape[0], ctx.shape, ctx.grid, [t.data_ptr() for t in (x, spline_weight, base_weight, grad_y)],
            [0 if grad_x is None else grad_x.data_ptr(), *(g.data_ptr() for g in gradients)],
        )  # fmt: skip
        return grad_x, *gradients, None


def checked_layer(
    x: Tensor, spline_weight: Tensor, base_weight: Tensor, grid_range: tuple[float, float], device: torch.device = CPU
) -> tuple[tuple[Tensor, Tensor, Tensor], tuple[float, float]]:
    """Input, weights and grid of a layer, fit for a kernel. Raises as `kan_layer` does."""
    x = checked(x, "x", (None, None), device=device)
    spline_weight = checked(spline_weight, "spline_weight", (None, x.shape[1], None), device=device)
    base_weight = checked(base_weight, "base_weight", (spline_weight.shape[0], x.shape[1]), device=device)
    if min(spline_weight.shape[:2]) < 1 or spline_weight.shape[2] <= ORDER:
        raise ValueError(
            f"spline_weight: expected at least 1 output, 1 input and {ORDER + 1} basis functions, "
            f"got shape {tuple(spline_weight.shape)}"
        )
    low, high = float(grid_range[0]), float(grid_range[1])
    if not 0 < high - low < float("inf"):
        raise ValueError(f"grid_range: expected finite low < high, got {grid_range}")
    return (x, spline_weight, base_weight), (low, high)


def kan_layer(
    x: Float[Tensor, "n inputs"],
    spline_weight: Float[Tensor, "outputs inputs bases"],
    base_weight: Float[Tensor, "outputs inputs"],
    grid_range: tuple[float, float] = (-1.0, 1.0),
) -> Float[Tensor, "n outputs"]:
    """One layer of a Kolmogorov-Arnold network (Liu et al. 2024, eq. 2.10), y_o = sum_i w_oi silu(x_i) + s_oi(x_i).

    The s_oi are cubic B-splines on a uniform grid of bases - 3 cells over `grid_range`, prolonged by three cells at
    both ends as in efficient-KAN; farther out they are 0. Gradients reach all three tensors.

    Raises:
        ValueError: wrong shapes, fewer than 4 basis functions, an empty range, a NaN or infinity.
        TypeError: wrong dtype or device.
    """
    tensors, span = checked_layer(x, spline_weight, base_weight, grid_range)
    return _Kan.apply(*tensors, span)  # pyright: ignore[reportReturnType]
