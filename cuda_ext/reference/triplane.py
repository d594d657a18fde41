"""Hash tri-plane encoder in plain torch."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cuda_ext.ops.checks import require_finite
from cuda_ext.triplane_layout import TriplaneLayout

PLANES = ((0, 1), (1, 2), (2, 0))
HASH_PRIME = 2654435761


def corner_rows(column: Int[Tensor, " n"], line: Int[Tensor, " n"], layout: TriplaneLayout, level: int):
    """Rows, counted from the level's first, of grid corners."""
    if layout.hashed[level]:
        return (column ^ (line * HASH_PRIME)) & (layout.level_rows[level] - 1)
    return column + line * (layout.resolutions[level] + 1)


def _look_up(
    uv: Float[Tensor, "n 2"], table: Float[Tensor, "rows features"], layout: TriplaneLayout, level: int
) -> Float[Tensor, "n features"]:
    resolution = layout.resolutions[level]
    place = uv * resolution
    cell = place.detach().clamp(max=resolution - 1).long()
    u, v = (place - cell).unbind(1)
    column, line = cell.unbind(1)
    corners = ((0, 0, (1 - u) * (1 - v)), (1, 0, u * (1 - v)), (0, 1, (1 - u) * v), (1, 1, u * v))
    values = [w[:, None] * table[corner_rows(column + i, line + j, layout, level)] for i, j, w in corners]
    return values[0] + values[1] + values[2] + values[3]


def hash_triplane(
    points: Float[Tensor, "n 3"], table: Float[Tensor, "3 rows features"], layout: TriplaneLayout
) -> Float[Tensor, "n encoded"]:
    """See `cuda_ext.ops.hash_triplane`."""
    require_finite(points=points, table=table)
    inside = points.clamp(0, 1)
    encoded = []
    for plane, axes in enumerate(PLANES):
        levels = table[plane].split(list(layout.level_rows))
        uv = torch.stack([inside[:, axis] for axis in axes], 1)
        encoded += [_look_up(uv, levels[level], layout, level) for level in range(layout.levels)]
    return torch.cat(encoded, 1)
