"""Gauss-Newton matrices of points on a head, and their colours beside pictures, in plain torch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from cuda_ext.ops.checks import require_finite
from cuda_ext.ops.tracking import Alignment, ColoredSurface, Views


def normal_matrix(
    basis: Float[Tensor, "n 3 k"], head: Float[Tensor, "t n 3"], rows: Float[Tensor, "t n 2 3"]
) -> Float[Tensor, "t 6+k 6+k"]:
    """See `cuda_ext.ops.normal_matrix`."""
    require_finite(basis=basis, head=head, rows=rows)
    turning = torch.linalg.cross(head[:, :, None].expand_as(rows), rows)  # q . (delta x x) = delta . (x x q)
    jacobian = torch.cat((turning, rows, torch.einsum("tnri,nik->tnrk", rows, basis)), -1).flatten(1, 2)
    return jacobian.mT @ jacobian


def align(
    views: Views, head: Float[Tensor, "t n 3"], weights: Float[Tensor, "t n"], surface: ColoredSurface
) -> Alignment:
    """See `cuda_ext.ops.align`."""
    camera, seen = _seen(views, head)
    colors, few = seen[..., :3], slice(None, None, surface.stride)
    lit = surface.colors * _light(views, colors[:, few], weights[:, few], surface)
    residual = colors - lit
    trust = weights * _robust(residual, surface.precision, surface.outlier)
    pixel = _pixel_derivative(views, camera)
    slopes = torch.stack((seen[..., 3:6], seen[..., 6:]), -2)
    force = (slopes @ residual[..., None]) * trust[..., None, None]
    stands_for = min(surface.stride, max(head.shape[1], 1))
    rows = (stands_for * trust[:, few]).sqrt()[..., None, None] * (_root(slopes[:, few]).mT @ pixel[:, few])
    return Alignment(lit, trust, (pixel.mT @ force)[..., 0], rows, _half_squares(residual, trust))


def alignment_cost(
    views: Views, head: Float[Tensor, "t n 3"], lit: Float[Tensor, "t n 3"], trust: Float[Tensor, "t n"]
) -> Float[Tensor, " t"]:
    """See `cuda_ext.ops.alignment_cost`."""
    return _half_squares(_seen(views, head)[1][..., :3] - lit, trust)


def _seen(views: Views, head: Float[Tensor, "t n 3"]) -> tuple[Float[Tensor, "t n 3"], Float[Tensor, "t n 9"]]:
    """The points in the camera's frame, and the pictures there."""
    camera = head @ views.rotation.mT + views.translation[:, None]
    focal, *centre = views.lens
    pixels = focal * camera[..., :2] / camera[..., 2:].clamp_min(1e-3) + camera.new_tensor(centre)
    height, width = views.pictures.shape[1:3]
    grid = 2 * pixels / pixels.new_tensor([width, height]) - 1
    values = F.grid_sample(
        views.pictures.permute(0, 3, 1, 2), grid[:, None], padding_mode="border", align_corners=False
    )
    return camera, values[:, :, 0].mT


def _light(
    views: Views, seen: Float[Tensor, "t m 3"], weights: Float[Tensor, "t m"], surface: ColoredSurface
) -> Float[Tensor, "t n 3"]:
    """Factor of every point's colour in each frame."""
    few = slice(None, None, surface.stride)
    colors = surface.colors[few]
    trust = weights * _robust(seen - colors, surface.precision[few], surface.outlier)
    lamps = F.pad(surface.normals @ views.rotation.mT, (1, 0), value=1.0)  # (t, n, 4)
    shaded = lamps[:, None, few] * colors.T[..., None]  # (t, 3, m, 4)
    weighted = shaded * trust[:, None, :, None]
    matrix = weighted.mT @ shaded
    ridge = matrix[..., 0, 0, None] * matrix.new_tensor(surface.light_ridge) + 1e-9
    right = weighted.mT @ (seen - colors).mT[..., None]
    return 1 + lamps @ torch.linalg.solve(matrix + torch.diag_embed(ridge), right)[..., 0].mT


def _pixel_derivative(views: Views, camera: Float[Tensor, "t n 3"]) -> Float[Tensor, "t n 2 3"]:
    """Of a point's pixel by the point in the head frame."""
    inverse = views.lens[0] / camera[..., 2:].clamp_min(1e-3)
    slope = -inverse * camera[..., :2] / camera[..., 2:].clamp_min(1e-3)
    return inverse[..., None] * views.rotation[:, None, :2] + slope[..., None] * views.rotation[:, None, 2:]


def _root(slopes: Float[Tensor, "t m 2 3"]) -> Float[Tensor, "t m 2 2"]:
    """L with L L^T = slopes slopes^T, semidefinite: the three channels weigh as two measurements."""
    structure = slopes @ slopes.mT
    first = structure[..., 0, 0].clamp_min(1e-20).sqrt()
    both = structure[..., 0, 1] / first
    second = (structure[..., 1, 1] - both.square()).clamp_min(0).sqrt()
    return torch.stack((first, torch.zeros_like(first), both, second), -1).unflatten(-1, (2, 2))


def _robust(residual: Float[Tensor, "t n 3"], precision: Float[Tensor, " n"], outlier: float) -> Float[Tensor, "t n"]:
    return (1 + residual.square().mean(-1) * precision / outlier**2) ** -2


def _half_squares(residual: Float[Tensor, "t n 3"], trust: Float[Tensor, "t n"]) -> Float[Tensor, " t"]:
    return (trust * residual.square().sum(-1)).sum(1) / 2
