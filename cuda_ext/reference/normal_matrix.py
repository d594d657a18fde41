"""Gauss-Newton matrices of points that move with a head, in plain torch."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from cuda_ext.ops.checks import require_finite


def normal_matrix(
    basis: Float[Tensor, "n 3 k"], head: Float[Tensor, "t n 3"], rows: Float[Tensor, "t n 2 3"]
) -> Float[Tensor, "t 6+k 6+k"]:
    """See `cuda_ext.ops.normal_matrix`."""
    require_finite(basis=basis, head=head, rows=rows)
    turning = torch.linalg.cross(head[:, :, None].expand_as(rows), rows)  # q . (delta x x) = delta . (x x q)
    jacobian = torch.cat((turning, rows, torch.einsum("tnri,nik->tnrk", rows, basis)), -1).flatten(1, 2)
    return jacobian.mT @ jacobian
