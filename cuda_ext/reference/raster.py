"""Rasterising Gaussians, in plain torch.

`rasterize` keeps a (pixels, Gaussians) table: meant for small images and at most some thousands of Gaussians.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cuda_ext.ops.checks import require_finite_gaussians
from cuda_ext.reference.projection import NEAR_METRES, facing_normals, project, shade
from cuda_ext.reference.rig import TINY
from cuda_ext.types import Cameras, Raster

MIN_ALPHA = 1.0 / 255.0
MAX_ALPHA = 0.999
MIN_TRANSMITTANCE = 1e-4


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
    colors: Float[Tensor, "n 3"] | Float[Tensor, "n k 3"] | None,
    cameras: Cameras,
    *,
    features: Float[Tensor, "n f"] | None = None,
    labels: Int[Tensor, " n"] | None = None,
    median_depth: bool = False,
    normals: bool = False,
) -> Raster:
    """See `cuda_ext.ops.rasterize`."""
    if cameras.width < 1 or cameras.height < 1:
        raise ValueError(f"image size: expected at least 1 pixel a side, got {cameras.width} x {cameras.height}")
    require_finite_gaussians(means, quats_wxyz, scales, opacities, colors, features)
    size = (cameras.height, cameras.width)
    images: list[list[Tensor | None]] = []
    for K, T in zip(cameras.intrinsics.to(means), cameras.T_camera_world.to(means), strict=True):
        centres, points, covariance = project(means, quats_wxyz, scales, K, T, cameras.model)
        z = points[:, 2]
        order = torch.argsort(z, stable=True)
        order = order[z[order] > NEAR_METRES]
        weights, after = _weights(size, centres[order], covariance[order], opacities[order])
        total = weights.sum(1)
        rgb = shade(means, colors, T, cameras.model) if colors is not None and colors.ndim == 3 else colors
        facing = facing_normals(quats_wxyz, scales, points, T, cameras.model) if normals else None
        images.append(
            [
                *(None if v is None else weights @ v[order] for v in (rgb, features, facing)),
                total,
                (weights @ z[order]) / total.clamp(min=TINY),
                _median(after, z[order]) if median_depth else None,
                None if labels is None else _labels(weights, labels[order]),
            ]
        )
    stacks = [
        None if column[0] is None else torch.stack([c.view(*size, *c.shape[1:]) for c in column if c is not None])
        for column in zip(*images, strict=True)
    ]
    rgb, feature_image, normal_image, alpha, depth, median, label_image = stacks
    assert alpha is not None and depth is not None
    return Raster(rgb, alpha, depth, feature_image, median, normal_image, label_image)


def _weights(
    size: tuple[int, int],
    centres: Float[Tensor, "n 2"],
    covariance: Float[Tensor, "n 2 2"],
    opacities: Float[Tensor, " n"],
) -> tuple[Float[Tensor, "p n"], Float[Tensor, "p n"]]:
    """Blend weights of Gaussians in depth order, and the transmittance after each."""
    ys, xs = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    pixels = torch.stack([xs, ys], -1).reshape(-1, 2).to(centres) + 0.5
    alpha = _alphas(pixels, centres, covariance, opacities)
    through = torch.cumprod(torch.cat([torch.ones_like(alpha[:, :1]), 1 - alpha], 1), 1)
    alive: Bool[Tensor, "p n"] = through[:, :-1] >= MIN_TRANSMITTANCE
    return torch.where(alive, alpha * through[:, :-1], torch.zeros_like(alpha)), through[:, 1:]


def _median(after: Float[Tensor, "p n"], z: Float[Tensor, " n"]) -> Float[Tensor, " p"]:
    crossed = after <= 0.5
    first = crossed.to(torch.uint8).argmax(1) if len(z) else torch.zeros(len(after), dtype=torch.long)
    depth = z.detach()[first] if len(z) else torch.zeros(len(after)).to(after)
    return torch.where(crossed.any(1), depth, torch.zeros_like(depth))


def _labels(weights: Float[Tensor, "p n"], labels: Int[Tensor, " n"]) -> Int[Tensor, " p"]:
    if not len(labels):
        return torch.full((len(weights),), -1, dtype=torch.int32)
    best, which = weights.detach().max(1)
    return torch.where(best > 0, labels[which], -1).int()
