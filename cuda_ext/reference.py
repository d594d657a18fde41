"""The kernels again in plain torch: any float dtype, differentiable to any order, slow. The tests compare both.

`rasterize` keeps a (pixels, Gaussians) table: meant for small images and at most some thousands of Gaussians.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

BLUR_PX2 = 0.3
MIN_ALPHA = 1.0 / 255.0
MAX_ALPHA = 0.999
MIN_TRANSMITTANCE = 1e-4
NEAR_METRES = 0.01
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


def project(
    means: Float[Tensor, "n 3"],
    quats_wxyz: Float[Tensor, "n 4"],
    scales: Float[Tensor, "n 3"],
    intrinsics: tuple[float, float, float, float],
    T_camera_world: Float[Tensor, "4 4"],
) -> tuple[Float[Tensor, "n 2"], Float[Tensor, "n"], Float[Tensor, "n 2 2"]]:
    """Image-plane centres (px), camera z (m) and covariances (px^2): Zwicker et al. 2001, eq. 24-31, plus the blur."""
    fx, fy, cx, cy = intrinsics
    W = T_camera_world[:3, :3]
    x, y, z = (means @ W.T + T_camera_world[:3, 3]).unbind(-1)
    inv_z = 1.0 / z.clamp(min=NEAR_METRES)
    zero = torch.zeros_like(z)
    J = torch.stack([fx * inv_z, zero, -fx * x * inv_z**2, zero, fy * inv_z, -fy * y * inv_z**2], -1).view(-1, 2, 3)
    N = J @ W @ rotation_matrices(quats_wxyz) * scales[:, None, :]
    covariance = N @ N.transpose(1, 2) + BLUR_PX2 * torch.eye(2, dtype=means.dtype)
    return torch.stack([fx * x * inv_z + cx, fy * y * inv_z + cy], -1), z, covariance


def _alphas(
    pixels: Float[Tensor, "p 2"],
    centres: Float[Tensor, "n 2"],
    covariance: Float[Tensor, "n 2 2"],
    opacities: Float[Tensor, " n"],
) -> Float[Tensor, "p n"]:
    conic = torch.linalg.inv(covariance)
    d = centres[None] - pixels[:, None]
    power = 0.5 * torch.einsum("pni,nij,pnj->pn", d, conic, d)
    alpha = opacities * torch.exp(-power)
    return torch.where(alpha >= MIN_ALPHA, alpha.clamp(max=MAX_ALPHA), torch.zeros_like(alpha))


def rasterize(
    means: Float[Tensor, "n 3"],
    quats_wxyz: Float[Tensor, "n 4"],
    scales: Float[Tensor, "n 3"],
    opacities: Float[Tensor, " n"],
    colors: Float[Tensor, "n 3"],
    *,
    width: int,
    height: int,
    fx: float,
    fy: float,
    cx: float,
    cy: float,
    T_camera_world: Float[np.ndarray, "4 4"] | Float[Tensor, "4 4"],
) -> tuple[Float[Tensor, "h w 3"], Float[Tensor, "h w"], Float[Tensor, "h w"]]:
    """See `cuda_ext.ops.rasterize`."""
    if width < 1 or height < 1:
        raise ValueError(f"image size: expected at least 1 pixel a side, got {width} x {height}")
    if not all(bool(torch.isfinite(t).all()) for t in (means, quats_wxyz, scales, opacities, colors)):
        raise ValueError("the Gaussians hold a NaN or infinity")
    view = torch.as_tensor(T_camera_world).to(means)
    centres, z, covariance = project(means, quats_wxyz, scales, (fx, fy, cx, cy), view)
    order = torch.argsort(z, stable=True)
    order = order[z[order] > NEAR_METRES]
    ys, xs = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([xs, ys], -1).reshape(-1, 2).to(means) + 0.5
    alpha = _alphas(pixels, centres[order], covariance[order], opacities[order])
    before = torch.cumprod(torch.cat([torch.ones_like(alpha[:, :1]), 1 - alpha], 1), 1)[:, :-1]
    alive: Bool[Tensor, "p n"] = before >= MIN_TRANSMITTANCE
    weights = torch.where(alive, alpha * before, torch.zeros_like(alpha))
    total = weights.sum(1)
    depth = (weights @ z[order]) / total.clamp(min=TINY)
    return (weights @ colors[order]).view(height, width, 3), total.view(height, width), depth.view(height, width)


def _ssim_map(image: Float[Tensor, "h w c"], target: Float[Tensor, "h w c"]) -> Float[Tensor, "c 1 h w"]:
    offsets = torch.arange(-5, 6, dtype=image.dtype)
    window = torch.exp(-(offsets**2) / (2 * 1.5**2))
    window = window / window.sum()

    def blur(planes: Float[Tensor, "c 1 h w"]) -> Float[Tensor, "c 1 h w"]:
        return F.conv2d(
            F.conv2d(planes, window.view(1, 1, 1, 11), padding=(0, 5)), window.view(1, 1, 11, 1), padding=(5, 0)
        )

    x, y = image.permute(2, 0, 1)[:, None], target.permute(2, 0, 1)[:, None]
    mx, my = blur(x), blur(y)
    vx, vy, vxy = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    return (2 * mx * my + c1) * (2 * vxy + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))


def ssim(image: Float[Tensor, "h w c"], target: Float[Tensor, "h w c"]) -> float:
    """See `cuda_ext.ops.ssim`."""
    return float(_ssim_map(image.detach(), target.detach()).mean())


def photometric_loss(
    image: Float[Tensor, "h w c"], target: Float[Tensor, "h w c"], ssim_weight: float = 0.2
) -> Float[Tensor, ""]:
    """See `cuda_ext.ops.photometric_loss`."""
    l1 = (image - target).abs().mean()
    return (1 - ssim_weight) * l1 + ssim_weight * (1 - _ssim_map(image, target).mean())


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
