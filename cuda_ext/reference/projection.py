"""Cameras, EWA projection, view-dependent colour and normals, in plain torch; C++ twin: include/maths/."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from cuda_ext.reference.rig import TINY, rotation_matrices

BLUR_PX2 = 0.3
NEAR_METRES = 0.01


def _image_points(
    points: Float[Tensor, "n 3"], model: str, fx: Tensor, fy: Tensor, cx: Tensor, cy: Tensor
) -> tuple[Float[Tensor, "n 2"], Float[Tensor, "n 2 3"]]:
    """Pixels of points in camera axes, and the Jacobian."""
    x, y, z = points.unbind(-1)
    zero = torch.zeros_like(x)
    focal = torch.stack([fx, fy])
    if model == "orthographic":
        J = torch.diag_embed(focal).expand(len(x), 2, 2)
        return points[:, :2] * focal + torch.stack([cx, cy]), torch.cat([J, torch.stack([zero, zero], 1)[..., None]], 2)
    z = z.clamp(min=NEAR_METRES)
    if model == "pinhole":
        k, rows = 1 / z, ((1 / z, zero, -x / z**2), (zero, 1 / z, -y / z**2))
    else:  # r k = theta; on the axis k = 1 / z and its slope along r vanishes
        square = x * x + y * y
        away = square > TINY**2
        s = torch.where(away, square, torch.ones_like(square))
        r = s.sqrt()
        i = 1 / (square + z * z)
        k = torch.where(away, torch.atan2(r, z) / r, 1 / z)
        h = torch.where(away, (z * i - k) / s, -2 / (3 * z**3))
        rows = ((k + x * x * h, x * y * h, -x * i), (x * y * h, k + y * y * h, -y * i))
    J = torch.stack([torch.stack(row, -1) for row in rows], 1) * focal[:, None]
    return torch.stack([k * x, k * y], -1) * focal + torch.stack([cx, cy]), J


def project(
    means: Float[Tensor, "n 3"],
    quats_wxyz: Float[Tensor, "n 4"],
    scales: Float[Tensor, "n 3"],
    intrinsics: Float[Tensor, "4"],
    T_camera_world: Float[Tensor, "4 4"],
    model: str = "pinhole",
) -> tuple[Float[Tensor, "n 2"], Float[Tensor, "n 3"], Float[Tensor, "n 2 2"]]:
    """Image-plane centres (px), points in camera axes (m) and covariances (px^2): Zwicker et al. 2001, eq. 24-31."""
    W = T_camera_world[:3, :3]
    points = means @ W.T + T_camera_world[:3, 3]
    centres, J = _image_points(points, model, *intrinsics.unbind())
    N = J @ W @ rotation_matrices(quats_wxyz) * scales[:, None, :]
    covariance = N @ N.transpose(1, 2) + BLUR_PX2 * torch.eye(2, dtype=means.dtype)
    return centres, points, covariance


def shade(
    means: Float[Tensor, "n 3"], harmonics: Float[Tensor, "n k 3"], T_camera_world: Float[Tensor, "4 4"], model: str
) -> Float[Tensor, "n 3"]:
    """Spherical harmonics as colours: max(0, 0.5 + sum_k c_k b_k(direction from the camera's centre))."""
    R, t = T_camera_world[:3, :3], T_camera_world[:3, 3]
    towards = R[2].expand_as(means) if model == "orthographic" else means + t @ R
    d = towards / towards.norm(dim=-1, keepdim=True).clamp(min=TINY)
    basis = torch.stack(_basis(*d.unbind(-1)), -1)[:, : harmonics.shape[1]]
    return (0.5 + (basis[..., None] * harmonics).sum(1)).clamp(min=0)


def _basis(x: Tensor, y: Tensor, z: Tensor) -> list[Tensor]:
    """The sixteen functions up to degree 3, in the order and with the signs of Kerbl et al. 2023."""
    xx, yy, zz = x * x, y * y, z * z
    return [
        torch.full_like(x, 0.28209479177387814),
        -0.4886025119029199 * y,
        0.4886025119029199 * z,
        -0.4886025119029199 * x,
        1.0925484305920792 * x * y,
        -1.0925484305920792 * y * z,
        0.31539156525252005 * (2 * zz - xx - yy),
        -1.0925484305920792 * x * z,
        0.5462742152960396 * (xx - yy),
        -0.5900435899266435 * y * (3 * xx - yy),
        2.890611442640554 * x * y * z,
        -0.4570457994644658 * y * (4 * zz - xx - yy),
        0.3731763325901154 * z * (2 * zz - 3 * xx - 3 * yy),
        -0.4570457994644658 * x * (4 * zz - xx - yy),
        1.445305721320277 * z * (xx - yy),
        -0.5900435899266435 * x * (xx - 3 * yy),
    ]


def facing_normals(
    quats_wxyz: Float[Tensor, "n 4"],
    scales: Float[Tensor, "n 3"],
    points: Float[Tensor, "n 3"],
    T_camera_world: Float[Tensor, "4 4"],
    model: str,
) -> Float[Tensor, "n 3"]:
    """The shortest axis of each Gaussian (the first of equals) turned towards the camera, in camera axes."""
    axes = T_camera_world[:3, :3] @ rotation_matrices(quats_wxyz)
    shortest = scales.argmin(1)
    normals = axes[torch.arange(len(axes)), :, shortest]
    rays = torch.tensor([0.0, 0.0, 1.0]).to(points).expand_as(points) if model == "orthographic" else points
    return torch.where(((normals * rays).sum(1) <= 0)[:, None], normals, -normals)
