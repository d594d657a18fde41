"""Gaussians that ride on a mesh, in plain torch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from cuda_ext.ops.checks import require_finite_gaussians
from cuda_ext.rig_types import RigHead, RigMesh, RigPose, RigTorso

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


def _axis_angle_matrix(v: Float[Tensor, "3"]) -> Float[Tensor, "3 3"]:
    x, y, z = v.unbind()
    o = torch.zeros_like(x)
    return torch.linalg.matrix_exp(torch.stack([o, -z, y, z, o, -x, -y, x, o]).view(3, 3))


def posed_mesh(mesh: RigMesh, pose: RigPose) -> Float[Tensor, "v 3"]:
    """World vertices: blendshapes, linear blend skinning over head -> neck -> {jaw, eyes}, then the head's pose."""
    blended = mesh.neutral + torch.einsum("m,mvc->vc", pose.expression, mesh.expression_basis)
    rest = mesh.joint_regressor @ mesh.neutral
    neck, *children = (_axis_angle_matrix(v) for v in pose.joints)
    neck_at = rest[0] - neck @ rest[0]
    moved = [blended @ neck.T + neck_at]
    for R, p in zip(children, rest[1:], strict=True):
        turn = neck @ R
        moved.append((blended - p) @ turn.T + neck @ p + neck_at)
    offsets = torch.stack(moved, 1) - blended[:, None]
    local = blended + (mesh.skin_weights[..., None] * offsets).sum(1)
    return local @ pose.rotation.T + pose.translation


def rig(mesh: RigMesh, pose: RigPose, head: RigHead, torso: RigTorso) -> tuple[Tensor, ...]:
    """See `cuda_ext.ops.rig`."""
    vertices, triangles = posed_mesh(mesh, pose), head.triangles.long()
    frames = triangle_frames(vertices, mesh.faces)
    local = head.means + head.map_means @ pose.features
    points = (head.barycentrics[..., None] * vertices[mesh.faces.long()[triangles]]).sum(1)
    turning, hanging = local * (1 - head.hang[:, None]), local * head.hang[:, None]
    means = points + torch.einsum("nij,nj->ni", frames[triangles], turning)
    means = means + torch.einsum("nij,nj->ni", head.hang_axes, hanging)
    quats = multiply_quats(matrix_to_quats(frames)[triangles], head.quats)
    x, y, roll = pose.torso.unbind()
    o = torch.zeros_like(roll)
    R = torch.stack([roll.cos(), -roll.sin(), o, roll.sin(), roll.cos(), o, o, o, o + 1]).view(3, 3)
    torso_means = (torso.means + torso.map_means @ pose.torso_features) @ R.T + torch.stack([x, y, o])
    half = torch.stack([(roll / 2).cos(), o, o, (roll / 2).sin()]).expand_as(torso.quats)
    placed = torch.cat([means, torso_means]), torch.cat([quats, multiply_quats(half, torso.quats)])
    log_scales = torch.cat([head.log_scales, torso.log_scales])
    logits = torch.cat([head.opacity_logits + head.map_opacities @ pose.features, torso.opacity_logits])
    shown = head.colors if head.map_colors is None else head.colors + head.map_colors @ pose.features
    colors = torch.cat([shown, torso.colors])
    require_finite_gaussians(*placed, log_scales, logits, colors)  # an exponential hides minus infinity
    return *placed, log_scales.exp(), logits.sigmoid(), colors
