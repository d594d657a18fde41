"""Rotations and rigid transforms in torch, over leading batch dimensions."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def skew(v: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """Cross-product matrix: `skew(v) @ u = v x u`."""
    x, y, z = v.unbind(-1)
    o = torch.zeros_like(x)
    return torch.stack([o, -z, y, z, o, -x, -y, x, o], -1).unflatten(-1, (3, 3))


def axis_angle_to_matrix(v: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """Rodrigues' formula, smooth (and differentiable) at zero through the Taylor series of its two coefficients."""
    square = (v * v).sum(-1)[..., None, None]
    small = square < 1e-6
    safe = torch.where(small, torch.ones_like(square), square)
    angle = safe.sqrt()
    a = torch.where(small, 1 - square / 6, torch.sin(angle) / angle)
    b = torch.where(small, 0.5 - square / 24, (1 - torch.cos(angle)) / safe)
    k = skew(v)
    return torch.eye(3, dtype=v.dtype, device=v.device) + a * k + b * (k @ k)


def matrix_to_axis_angle(R: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 3"]:
    """Logarithm of a rotation, |angle| <= pi."""
    q = matrix_to_quat(R)
    q = torch.where(q[..., :1] < 0, -q, q)
    sine = q[..., 1:].norm(dim=-1, keepdim=True)
    angle = 2 * torch.atan2(sine, q[..., :1])
    return q[..., 1:] * torch.where(sine < 1e-6, 2.0 / q[..., :1].clamp(min=0.5), angle / sine.clamp(min=1e-12))


def quat_to_matrix(q: Float[Tensor, "*b 4"]) -> Float[Tensor, "*b 3 3"]:
    """Rotation of a wxyz quaternion, which is normalised first."""
    w, x, y, z = torch.nn.functional.normalize(q, dim=-1).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def matrix_to_quat(R: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 4"]:
    """wxyz quaternion of a rotation: the best conditioned of Shepperd's four branches."""
    m00, m11, m22 = R[..., 0, 0], R[..., 1, 1], R[..., 2, 2]
    squares = torch.stack([1 + m00 + m11 + m22, 1 + m00 - m11 - m22, 1 - m00 + m11 - m22, 1 - m00 - m11 + m22], -1)
    yz, zx, xy = R[..., 2, 1], R[..., 0, 2], R[..., 1, 0]
    zy, xz, yx = R[..., 1, 2], R[..., 2, 0], R[..., 0, 1]
    branches = torch.stack(
        [
            torch.stack([squares[..., 0], yz - zy, zx - xz, xy - yx], -1),
            torch.stack([yz - zy, squares[..., 1], xy + yx, zx + xz], -1),
            torch.stack([zx - xz, xy + yx, squares[..., 2], yz + zy], -1),
            torch.stack([xy - yx, zx + xz, yz + zy, squares[..., 3]], -1),
        ],
        -2,
    )
    best = squares.argmax(-1)[..., None, None].expand(*squares.shape[:-1], 1, 4)
    return torch.nn.functional.normalize(branches.gather(-2, best).squeeze(-2), dim=-1)


def nearest_rotation(m: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 3 3"]:
    """The rotation nearest to each matrix in the Frobenius norm (orthogonal Procrustes)."""
    u, _, vt = torch.linalg.svd(m)
    sign = torch.ones_like(m[..., 0])
    sign[..., 2] = torch.sign(torch.linalg.det(u @ vt))
    return (u * sign[..., None, :]) @ vt


def mean_rotation(R: Float[Tensor, "t 3 3"]) -> Float[Tensor, "3 3"]:
    """The rotation nearest to the arithmetic mean (chordal L2 mean, Hartley et al. 2013)."""
    return nearest_rotation(R.double().mean(0)).to(R.dtype)
