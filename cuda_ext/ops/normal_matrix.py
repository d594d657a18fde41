"""Gauss-Newton matrices of points that move with a head: what tracking spends its time on."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from cuda_ext.backends import native
from cuda_ext.ops.checks import checked


def normal_matrix(
    basis: Float[Tensor, "n 3 k"], head: Float[Tensor, "t n 3"], rows: Float[Tensor, "t n 2 3"]
) -> Float[Tensor, "t 6+k 6+k"]:
    """J^T J of every frame; J holds, for both measurements of each point, their slopes by the frame's unknowns.

    The unknowns are an increment of the rotation about the head's axes, one of the translation along them, and the k
    coefficients of the expression: a point at x moves with them by delta x x, by e, and by the columns of its basis.
    No gradients pass through.

    Args:
        basis: motion of each point by each expression, head frame.
        head: the points in the head frame.
        rows: derivatives of each point's two measurements by its place in the head frame, times the square roots of
            their weights.

    Raises:
        ValueError: wrong shapes, a NaN or infinity.
        TypeError: wrong dtype or device.
    """
    basis = checked(basis, "basis", (None, 3, None))
    points, _, actions = basis.shape
    head = checked(head, "head", (None, points, 3))
    frames = len(head)
    rows = checked(rows, "rows", (frames, points, 2, 3))
    out = torch.empty(frames, 6 + actions, 6 + actions)
    native().normal_matrix(frames, points, actions, [t.data_ptr() for t in (basis, head, rows)], out.data_ptr())
    return out
