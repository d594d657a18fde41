"""The normal equations of points that move with a head's pose and expression.

Every unknown moves points in the head frame, so the equations are built from one 3x3 information matrix
Q = R^T Jp^T W Jp R per point (Jp: derivative of what is measured by the camera-space point): the block of unknowns a
and b with head-frame derivatives Da and Db is sum Da^T Q Db. The Jacobian itself is never stored, and the large
expression block is one matrix product of the Qs with precomputed products of the basis.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from avatar.geometry import skew

N_POSE = 6
"""Unknowns of the pose: rotation about the head's axes, then translation along them."""
_AXES = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))


@dataclass(frozen=True)
class PointBasis:
    """How n points move with the 52 expressions, with the products that only depend on it."""

    expression: Float[Tensor, "52 n 3"]
    products: Float[Tensor, "n*6 1378"]
    """Products of displacements, upper triangle, matching the packed Q."""
    unpack: Int[Tensor, "52 52"]
    """Where an entry of the expression block lies among the 1378."""

    @staticmethod
    def of(expression: Float[Tensor, "52 n 3"]) -> PointBasis:
        """Precompute the products."""
        first, second = torch.triu_indices(len(expression), len(expression))
        packed = [
            expression[first, :, i] * expression[second, :, j]
            + (i != j) * expression[first, :, j] * expression[second, :, i]
            for i, j in _AXES
        ]
        unpack = torch.zeros(len(expression), len(expression), dtype=torch.long)
        unpack[first, second] = unpack[second, first] = torch.arange(len(first))
        return PointBasis(expression, torch.stack(packed, -1).flatten(1).T.contiguous(), unpack)


def displaced(
    neutral: Float[Tensor, "n 3"], basis: Float[Tensor, "52 n 3"], expression: Float[Tensor, "t 52"]
) -> Float[Tensor, "t n 3"]:
    """Points under expressions, head frame."""
    return neutral + (expression @ basis.flatten(1)).unflatten(1, neutral.shape)


def point_matrix(
    basis: PointBasis, head: Float[Tensor, "t n 3"], information: Float[Tensor, "t n 3 3"]
) -> Float[Tensor, "t 58 58"]:
    """Second derivative of the cost by each frame's 6 + 52 unknowns.

    Args:
        head: the points in the head frame.
        information: Q of each point.
    """
    t, n = head.shape[:2]
    flat = basis.expression.flatten(1)
    packed = torch.stack([information[..., i, j] for i, j in _AXES], -1).reshape(t, n * 6)
    derivative = pose_derivative(head)
    moved = information @ derivative
    a = torch.empty(t, N_POSE + len(flat), N_POSE + len(flat))
    a[:, N_POSE:, N_POSE:] = (packed @ basis.products)[:, basis.unpack]
    a[:, :N_POSE, :N_POSE] = torch.einsum("tnia,tnib->tab", derivative, moved)
    cross = moved.permute(0, 3, 1, 2).reshape(t, N_POSE, n * 3) @ flat.T
    a[:, :N_POSE, N_POSE:], a[:, N_POSE:, :N_POSE] = cross, cross.transpose(1, 2)
    return a


def point_gradient(
    basis: Float[Tensor, "52 n 3"], head: Float[Tensor, "t n 3"], gradient: Float[Tensor, "t n 3"]
) -> Float[Tensor, "t 58"]:
    """First derivative, from that by each point in the head frame."""
    by_pose = torch.cat((torch.linalg.cross(head, gradient).sum(1), gradient.sum(1)), 1)
    return torch.cat((by_pose, gradient.flatten(1) @ basis.flatten(1).T), 1)


def pose_derivative(head: Float[Tensor, "t n 3"]) -> Float[Tensor, "t n 3 6"]:
    """Head-frame motion of points by rotation and translation increments."""
    eye = torch.eye(3, dtype=head.dtype).expand(*head.shape[:-1], 3, 3)
    return torch.cat((-skew(head), eye), -1)


def pixel_derivative(
    rotation: Float[Tensor, "t 3 3"], camera: Float[Tensor, "t n 3"], focal_px: float
) -> Float[Tensor, "t n 2 3"]:
    """Derivative of a point's pixel by the point in the head frame; `camera` is where it is in the camera's."""
    inverse = focal_px / camera[..., 2].clamp_min(1e-3)
    slope = -inverse[..., None] * camera[..., :2] / camera[..., 2:].clamp_min(1e-3)
    return inverse[..., None, None] * rotation[:, None, :2] + slope[..., None] * rotation[:, None, 2:]
