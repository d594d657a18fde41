"""The normal equations of points that move with a head's pose and expression.

Every unknown moves points in the head frame, so what is measured enters as its derivative by the point there. Here is
the gradient; the matrix is `cuda_ext.ops.normal_matrix`.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from avatar.geometry import skew

N_POSE = 6
"""Unknowns of the pose: rotation about the head's axes, then translation along them."""


def displaced(
    neutral: Float[Tensor, "n 3"], basis: Float[Tensor, "52 n 3"], expression: Float[Tensor, "t 52"]
) -> Float[Tensor, "t n 3"]:
    """Points under expressions, head frame."""
    return neutral + (expression @ basis.flatten(1)).unflatten(1, neutral.shape)


def point_gradient(
    basis: Float[Tensor, "52 n 3"], head: Float[Tensor, "t n 3"], gradient: Float[Tensor, "t n 3"]
) -> Float[Tensor, "t 58"]:
    """First derivative, from that by each point in the head frame."""
    by_pose = torch.cat((torch.linalg.cross(head, gradient).sum(1), gradient.sum(1)), 1)
    return torch.cat((by_pose, gradient.flatten(1) @ basis.flatten(1).T), 1)


def back_projected(pixel: Float[Tensor, "t n 2 3"], force: Float[Tensor, "t n 2"]) -> Float[Tensor, "t n 3"]:
    """Derivative by the points in the head frame, from that by their pixels."""
    return (pixel * force[..., None]).sum(-2)


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
