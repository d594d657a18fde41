"""Gaussians that ride on a mesh, in plain torch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

TINY = 1e-12


def rotation_matrices(quats_wxyz: Float[Tensor, "n 4"]) -> Float[Tensor, "n 3 3"]:
    """Rotation matrices of quaternions of any length."""
    w, x, y, z = F.normalize(quats_wxyz, dim=-1, eps=TINY).unbind(-1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(r, -1) for r in rows], -2)


def triangle_frames(vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"]) -> Float[Tensor, "f 3 3"]:
    """Rotations world <- triangle: x along the first edge, z along the normal."""
    a, b, c = vertices[faces.long()].unbind(1)
    x = F.normalize(b - a, dim=-1, eps=TINY)
    z = F.normalize(torch.linalg.cross(b - a, c - a), dim=-1, eps=TINY)
    return torch.stack([x, torch.linalg.cross(z, x), z], -1)


def matrix_to_quats(R: Float[Tensor, "n 3 3"]) -> Float[Tensor, "n 4"]:
    """Quaternions wxyz by the best conditioned of the four formulas (Shepperd 1978)."""
    m = R.flatten(1).unbind(1)
    t = (m[0] + m[4] + m[8], m[0] - m[4] - m[8], m[4] - m[0] - m[8], m[8] - m[0] - m[4])
    s = [2 * torch.sqrt((1 + v).clamp(min=TINY)) for v in t]
    a, b = (m[7] - m[5], m[2] - m[6], m[3] - m[1]), (m[1] + m[3], m[2] + m[6], m[5] + m[7])
    candidates = torch.stack(
        [
            torch.stack([s[0] / 4, a[0] / s[0], a[1] / s[0], a[2] / s[0]], -1),
            torch.stack([a[0] / s[1], s[1] / 4, b[0] / s[1], b[1] / s[1]], -1),
            torch.stack([a[1] / s[2], b[0] / s[2], s[2] / 4, b[2] / s[2]], -1),
            torch.stack([a[2] / s[3], b[1] / s[3], b[2] / s[3], s[3] / 4], -1),
        ]
    )
    x_largest, y_larger = (m[0] > m[4]) & (m[0] > m[8]), m[4] > m[8]
    pick = torch.where(t[0] > 0, 0, torch.where(x_largest, 1, torch.where(y_larger, 2, 3)))
    return candidates[pick, torch.arange(len(R))]


def multiply_quats(p: Float[Tensor, "n 4"], q: Float[Tensor, "n 4"]) -> Float[Tensor, "n 4"]:
    """Hamilton products p q of quaternions wxyz."""
    pw, pv, qw, qv = p[:, :1], p[:, 1:], q[:, :1], q[:, 1:]
    return torch.cat([pw * qw - (pv * qv).sum(-1, keepdim=True), pw * qv + qw * pv + torch.linalg.cross(pv, qv)], -1)


def bind(
    vertices: Float[Tensor, "v 3"],
    faces: Int[Tensor, "f 3"],
    triangles: Int[Tensor, " n"],
    barycentrics: Float[Tensor, "n 3"],
    local_means: Float[Tensor, "n 3"],
    local_quats: Float[Tensor, "n 4"],
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 4"]]:
    """See `cuda_ext.ops.bind`; here too the frames count as constant."""
    frames = triangle_frames(vertices.detach(), faces)
    R, q = frames[triangles.long()], matrix_to_quats(frames)[triangles.long()]
    corners = vertices[faces[triangles.long()].long()]
    means = (barycentrics.detach()[..., None] * corners).sum(1) + (R @ local_means[..., None])[..., 0]
    return means, multiply_quats(q, local_quats)
