"""Rasterising Gaussians."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from cuda_ext.backends import native
from cuda_ext.ops.checks import checked, checked_cameras, checked_colors, checked_features, checked_labels
from cuda_ext.types import CAMERA_MODELS, Cameras, Raster

BYTES_PER_SPLAT = 64 + 16
"""A projected Gaussian and its entry in one tile."""


class _Wanted(NamedTuple):
    median_depth: bool
    normals: bool


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, means, quats, scales, opacities, colors, features, T_camera_world, intrinsics, labels, cameras, wanted
    ):
        size = (len(cameras), cameras.height, cameras.width)
        rows = torch.cat([intrinsics, T_camera_world[:, :3].reshape(-1, 12)], 1)
        channels = 0 if features is None else features.shape[1]
        images = (
            None if colors is None else torch.empty(*size, 3),
            torch.empty(size),
            torch.empty(size),
            None if features is None else torch.empty(*size, channels),
            torch.empty(*size, 3) if wanted.normals else None,
            torch.empty(size) if wanted.median_depth else None,
            None if labels is None else torch.empty(size, dtype=torch.int32),
        )
        inputs = (means, quats, scales, opacities, colors, features, labels)
        frame = native().Frame()
        frame.forward(
            means.shape[0], channels, colors.shape[1] if colors is not None and colors.ndim == 3 else 0,
            [_address(t) for t in inputs], len(cameras), rows.data_ptr(), CAMERA_MODELS.index(cameras.model),
            cameras.width, cameras.height, [_address(t) for t in images],
        )  # fmt: skip
        ctx.frame, ctx.pose = frame, T_camera_world.shape
        ctx.save_for_backward(*inputs, *images)
        ctx.mark_non_differentiable(*(t for t in images[5:] if t is not None))
        ctx.set_materialize_grads(False)
        return images

    @staticmethod
    @once_differentiable
    def backward(ctx, *grad_images):
        inputs, images = ctx.saved_tensors[:7], ctx.saved_tensors[7:]
        slopes = [None if g is None else g.contiguous() for g in grad_images[:5]]
        gradients = [None if t is None else torch.empty_like(t) for t in inputs[:6]]
        views = torch.empty(ctx.pose[0], 3, 4) if ctx.needs_input_grad[6] else None
        ctx.frame.backward(
            [_address(t) for t in inputs], [_address(t) for t in images], [_address(t) for t in slopes],
            [_address(t) for t in (*gradients, views)],
        )  # fmt: skip
        pose = None if views is None else torch.cat([views, views.new_zeros(len(views), 1, 4)], 1)
        return *gradients, pose, None, None, None, None


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
    """Splat Gaussians into one or more cameras: premultiplied colour, alpha, expected depth, and more if asked for.

    EWA projection (Zwicker et al. 2001) with 0.3 px^2 of blur; per pixel, front to back by camera z: alpha below 1/255
    is skipped, alpha is capped at 0.999, and the splat that brings the transmittance below 1e-4 is the last. Equal
    depths go by index. Gaussians nearer than z = 0.01 m are dropped. Gradients flow from rgb, alpha, depth, features
    and normals to every float tensor here and to `cameras.T_camera_world`. (Which axis is a normal, and its side, count
    as constant.) Several cameras share what does not depend on them, and all their tiles are drawn in one go.

    Args:
        means: centres in the world, metres.
        quats_wxyz: rotations, of any length.
        scales: standard deviations, metres.
        opacities: 0..1.
        colors: any values; or spherical harmonics of degree 0..3 (k = 1, 4, 9, 16; layout and signs of 3D Gaussian
            splatting), seen as max(0, 0.5 + sum_k c_k b_k) from the camera's centre; or None for no rgb.
        features: up to 32 further channels, blended like colours.
        labels: int32, at least 0 and below 2^24.
        median_depth, normals: also give these images.

    Raises:
        ValueError: wrong shapes, an empty or too large image, a NaN or infinity in the input, an unknown camera model.
        TypeError: wrong dtype or device.
        MemoryError: more working memory is needed than `set_memory_limit` allows.
    """
    n = means.shape[0] if isinstance(means, Tensor) and means.ndim == 2 else None
    pose, intrinsics = checked_cameras(cameras)
    _check_size(n or 0, len(cameras))
    tensors = (
        checked(means, "means", (n, 3)),
        checked(quats_wxyz, "quats_wxyz", (n, 4)),
        checked(scales, "scales", (n, 3)),
        checked(opacities, "opacities", (n,)),
        checked_colors(colors, n),
        checked_features(features, n),
        pose,
        intrinsics,
        checked_labels(labels, n),
    )
    images = _Rasterize.apply(*tensors, cameras, _Wanted(median_depth, normals))
    rgb, alpha, depth, feature_image, normal_image, median, label_image = images  # pyright: ignore[reportGeneralTypeIssues]
    return Raster(rgb, alpha, depth, feature_image, median, normal_image, label_image)


def _check_size(n: int, cameras: int) -> None:
    """Refuse what can't fit before anything is allocated; the native code looks again when it knows the tiles."""
    needed, limit = n * cameras * BYTES_PER_SPLAT, native().get_memory_limit()
    if needed > limit:
        raise MemoryError(
            f"{n:,} Gaussians in {cameras} camera(s) need at least {needed >> 20} MB of working memory, more than the "
            f"limit of {limit >> 20} MB; next: fewer Gaussians, or cuda_ext.ops.set_memory_limit(megabytes)"
        )


def set_memory_limit(megabytes: int) -> None:
    """How much working memory one call of `rasterize` may take, inputs and images not counted; 512 MB at first."""
    if megabytes < 1:
        raise ValueError(f"megabytes: expected at least 1, got {megabytes}")
    native().set_memory_limit(megabytes << 20)


def get_memory_limit() -> int:
    """Working memory that one call of `rasterize` may take, MB."""
    return native().get_memory_limit() >> 20
