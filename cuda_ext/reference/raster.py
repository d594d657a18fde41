"""Rasterising Gaussians, in plain torch.

`rasterize` keeps a (pixels, Gaussians) table: meant for small images and at most some thousands of Gaussians.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cuda_ext.reference.rig import TINY, rotation_matrices

BLUR_PX2 = 0.3
MIN_ALPHA = 1.0 / 255.0
MAX_ALPHA = 0.999
MIN_TRANSMITTANCE = 1e-4
NEAR_METRES = 0.01


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
