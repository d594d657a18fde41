"""Rotations: round trips, known values, differentiability at zero."""

from __future__ import annotations

import math

import torch

from avatar.geometry import (
    axis_angle_to_matrix,
    matrix_to_axis_angle,
    matrix_to_quat,
    mean_rotation,
    quat_to_matrix,
    skew,
)


def random_axis_angles(n: int = 500) -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    v = torch.randn(n, 3, generator=g, dtype=torch.float64)
    return v / v.norm(dim=1, keepdim=True) * torch.rand(n, 1, generator=g, dtype=torch.float64) * 3.1


def test_round_trips():
    v = random_axis_angles()
    R = axis_angle_to_matrix(v)
    torch.testing.assert_close(R @ R.mT, torch.eye(3, dtype=torch.float64).expand_as(R))
    torch.testing.assert_close(matrix_to_axis_angle(R), v)
    torch.testing.assert_close(quat_to_matrix(matrix_to_quat(R)), R)


def test_small_angles_and_half_turns():
    tiny = torch.tensor([[0.0, 0, 0], [1e-9, 0, 0], [1e-4, -1e-4, 0]], dtype=torch.float64)
    torch.testing.assert_close(matrix_to_axis_angle(axis_angle_to_matrix(tiny)), tiny)
    for axis in torch.eye(3, dtype=torch.float64):
        R = axis_angle_to_matrix(math.pi * axis)
        torch.testing.assert_close(quat_to_matrix(matrix_to_quat(R)), R)


def test_rotation_is_differentiable_at_zero():
    v = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(axis_angle_to_matrix, v)
    J = torch.autograd.functional.jacobian(axis_angle_to_matrix, torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(J[..., 2], skew(torch.tensor([0.0, 0, 1], dtype=torch.float64)))


def test_mean_rotation_of_symmetric_swings_is_the_middle():
    middle = axis_angle_to_matrix(torch.tensor([0.3, -0.2, 0.1]))
    swings = axis_angle_to_matrix(torch.tensor([[0, a, 0] for a in (-0.4, -0.1, 0.1, 0.4)]))
    torch.testing.assert_close(mean_rotation(middle @ swings), middle, atol=1e-6, rtol=0)
