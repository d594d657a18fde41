"""Hash tri-plane encoder."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from cuda_ext.backends import native
from cuda_ext.ops.checks import checked
from cuda_ext.triplane_layout import TriplaneLayout


def _levels(layout: TriplaneLayout) -> list[tuple[int, int, int]]:
    return list(zip(layout.resolutions, layout.level_rows, map(int, layout.hashed), strict=True))


class _HashTriplane(torch.autograd.Function):
    @staticmethod
    def forward(ctx, points, table, layout):
        out = torch.empty(points.shape[0], layout.out_features)
        native().triplane(
            points.shape[0], layout.features, _levels(layout), points.data_ptr(), table.data_ptr(), out.data_ptr()
        )
        ctx.save_for_backward(points, table)
        ctx.layout = layout
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_out):
        points, table = ctx.saved_tensors
        grad_out, grad_table = grad_out.contiguous(), torch.empty_like(table)
        grad_points = torch.empty_like(points) if ctx.needs_input_grad[0] else None
        native().triplane_backward(
            points.shape[0], ctx.layout.features, _levels(ctx.layout),
            [points.data_ptr(), table.data_ptr(), grad_out.data_ptr()],
            [grad_table.data_ptr(), 0 if grad_points is None else grad_points.data_ptr()],
        )  # fmt: skip
        return grad_points, grad_table, None


def hash_triplane(
    points: Float[Tensor, "n 3"], table: Float[Tensor, "3 rows features"], layout: TriplaneLayout
) -> Float[Tensor, "n encoded"]:
    """Features of points: bilinear look-ups in the planes xy, yz and zx at every level, side by side.

    Mueller et al. 2022 ("Instant Neural Graphics Primitives", eq. 1-4) on planes, as in ER-NeRF (Li et al. 2023).
    Gradients reach the table and the points, where these want one; the latter jump at cell borders.

    Args:
        points: in the unit cube; coordinates outside [0, 1] count as the border, with no gradient.
        table: features of every plane, level after level, shape `layout.table_shape`.
        layout: levels and sizes.

    Returns:
        `layout.out_features` numbers per point: plane, level, feature.

    Raises:
        ValueError: wrong shapes, a NaN or infinity.
        TypeError: wrong dtype or device.
    """
    points = checked(points, "points", (None, 3))
    table = checked(table, "table", layout.table_shape)
    return _HashTriplane.apply(points, table, layout)  # pyright: ignore[reportReturnType]
