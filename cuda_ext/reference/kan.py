"""KAN layer in plain torch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from cuda_ext.ops.checks import require_finite

ORDER = 3


def b_splines(
    x: Float[Tensor, "n inputs"], bases: int, grid_range: tuple[float, float]
) -> Float[Tensor, "n inputs bases"]:
    """Cubic B-spline basis functions by the recursion of Cox and de Boor on uniform knots."""
    low, high = grid_range
    cells = bases - ORDER
    place = (x - low) * (cells / (high - low))
    knots = torch.arange(-ORDER, cells + ORDER + 1, dtype=x.dtype)
    t = place[..., None]
    basis = ((t >= knots[:-1]) & (t < knots[1:])).to(x.dtype)
    for order in range(1, ORDER + 1):
        rising = (t - knots[: -(order + 1)]) / order * basis[..., :-1]
        falling = (knots[order + 1 :] - t) / order * basis[..., 1:]
        basis = rising + falling
    return basis


def kan_layer(
    x: Float[Tensor, "n inputs"],
    spline_weight: Float[Tensor, "outputs inputs bases"],
    base_weight: Float[Tensor, "outputs inputs"],
    grid_range: tuple[float, float] = (-1.0, 1.0),
) -> Float[Tensor, "n outputs"]:
    """See `cuda_ext.ops.kan_layer`."""
    require_finite(x=x, spline_weight=spline_weight, base_weight=base_weight)
    basis = b_splines(x, spline_weight.shape[2], grid_range)
    return F.silu(x) @ base_weight.T + basis.flatten(1) @ spline_weight.flatten(1).T
