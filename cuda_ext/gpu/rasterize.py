"""`cuda_ext.ops.rasterize` on a GPU: checks, autograd, and all kinds of images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cuda_ext.gpu import raster
from cuda_ext.gpu.launch import Launcher, blocks
from cuda_ext.ops.checks import checked, checked_cameras, checked_colors, checked_features, checked_labels
from cuda_ext.types import CAMERA_MODELS, Cameras, Raster

MAX_ENTRIES = 1 << 28
"""Tile list entries per call (1 GB): more is taken for a mistake."""
_THREADS = 128


@dataclass(frozen=True)
class Layout:
    """What a row of the drawn values holds: colour, features, normal."""

    harmonics: int
    """Coefficients per colour channel; 0: plain colours, -1: none."""
    features: int
    normals: bool

    @property
    def colors(self) -> int:
        """Channels of colour."""
        return 3 if self.harmonics >= 0 else 0

    @property
    def channels(self) -> int:
        """Channels in all."""
        return self.colors + self.features + 3 * self.normals

    @property
    def by_view(self) -> bool:
        """Whether cameras see different values."""
        return self.harmonics > 0 or self.normals

    def numbers(self) -> tuple[int, int, int]:
        """What the kernels take."""
        return self.harmonics, self.features, int(self.normals)


def _values(
    launcher: Launcher, scene: raster.Scene, colors: Tensor | None, features: Tensor | None, views: raster.Views,
    layout: Layout,
) -> Tensor:  # fmt: skip
    """(n, channels), or (v, n, channels) where it depends on the view."""
    n = scene.count
    if not layout.by_view:
        parts = [t for t in (colors, features) if t is not None]
        return torch.cat(parts, 1) if parts else torch.empty(n, 0, device=launcher.device)
    values = torch.empty(views.count, n, layout.channels, device=launcher.device)
    launcher.launch(
        "view_values", (blocks(n, _THREADS), views.count), (_THREADS,), *scene.tensors()[:3], colors, features,
        views.table, n, views.width, views.height, views.model, *layout.numbers(), values,
    )  # fmt: skip
    return values


def _project(
    launcher: Launcher, scene: raster.Scene, views: raster.Views, shown: tuple[Tensor | None, ...]
) -> raster.Projected:
    """Projects with lists that are long enough. Looks at the outcome, hence waits for the device."""
    capacity = raster.default_capacity(scene.count)
    spoilt = [(~torch.isfinite(t.flatten(1)).all(1)).sum() for t in shown if t is not None]
    for _ in range(2):
        projected = raster.project(launcher, scene, views, capacity)
        needed, *bad = torch.stack([projected.needed.amax(), projected.bad.amax(), *spoilt]).tolist()
        if any(bad):
            raise ValueError(f"{max(bad)} of {scene.count} Gaussians hold a NaN or infinity")
        if needed <= capacity:
            return projected
        if needed * views.count > MAX_ENTRIES:
            raise ValueError(
                f"the Gaussians cover too much: expected at most {MAX_ENTRIES} tile entries, got {needed * views.count}"
            )
        capacity = needed
    raise AssertionError("the number of tile entries changed between two equal passes")


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(ctx, means, quats, scales, opacities, colors, features, pose, launcher, views, labels, layout, median):
        scene = raster.Scene(means, quats, scales, opacities)
        projected = _project(launcher, scene, views, (colors, features))
        values = _values(launcher, scene, colors, features, views, layout)
        images = raster.draw(launcher, projected, values, views, labels=labels, median_depth=median)
        outputs = images.values, images.alpha, images.depth
        ctx.save_for_backward(means, quats, scales, opacities, colors, features, values, *outputs)
        ctx.launcher, ctx.views, ctx.projected, ctx.layout = launcher, views, projected, layout
        ctx.mark_non_differentiable(*(t for t in (images.median_depth, images.labels) if t is not None))
        ctx.set_materialize_grads(False)
        return *outputs, images.median_depth, images.labels

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_values, grad_alpha, grad_depth, *_):
        *inputs, colors, features, values, image, alpha, depth = ctx.saved_tensors
        launcher, views = ctx.launcher, ctx.views
        scene, images = raster.Scene(*inputs), raster.Images(image, alpha, depth)
        grad_values = torch.zeros_like(image) if grad_values is None else grad_values
        alpha_slope, depth_slope = (None if g is None else g.contiguous() for g in (grad_alpha, grad_depth))
        slopes = (grad_values.contiguous(), alpha_slope, depth_slope)
        sums = raster.draw_backward(launcher, ctx.projected, values, views, images, slopes)
        gradients, rows = raster.project_backward(
            launcher, scene, views, ctx.projected.rects, sums, with_views=ctx.needs_input_grad[6]
        )
        shown = _values_backward(launcher, scene, colors, features, views, ctx.layout, sums, gradients, rows)
        grad_pose = None if rows is None else torch.cat([rows, torch.zeros_like(rows[:, :4])], 1).view(-1, 4, 4)
        return *gradients, *shown, grad_pose, None, None, None, None, None


def _values_backward(
    launcher: Launcher, scene: raster.Scene, colors: Tensor | None, features: Tensor | None, views: raster.Views,
    layout: Layout, sums: Tensor, gradients: list[Tensor], rows: Tensor | None,
) -> tuple[Tensor | None, Tensor | None]:  # fmt: skip
    """Gradients of colours and features; adds to those of the means, the quaternions and the views."""
    if not layout.by_view:
        values = torch.empty(scene.count, layout.channels, device=launcher.device)
        parts = raster.values_backward(launcher, sums, values).split([layout.colors, layout.features], 1)
        of_colors, of_features = (p.contiguous() for p in parts)
        return None if colors is None else of_colors, None if features is None else of_features
    of_colors, of_features = (None if t is None else torch.empty_like(t) for t in (colors, features))
    launcher.launch(
        "view_values_backward", (blocks(scene.count, _THREADS),), (_THREADS,), *scene.tensors()[:3], colors,
        views.table, sums, scene.count, views.count, views.width, views.height, views.model, *layout.numbers(),
        of_colors, of_features, gradients[0], gradients[1], rows,
    )  # fmt: skip
    return of_colors, of_features


def rasterize(
    launcher: Launcher,
    gaussians: tuple[Any, ...],
    cameras: Cameras,
    *,
    features: Any,
    labels: Any,
    median_depth: bool,
    normals: bool,
) -> Raster:
    """See `cuda_ext.ops.rasterize`; `gaussians` are its first five arguments."""
    device, means = launcher.device, gaussians[0]
    n = means.shape[0] if means.ndim == 2 else None
    pose, intrinsics = checked_cameras(cameras, device)
    table = torch.cat([intrinsics, pose.detach()[:, :3].flatten(1)], 1)
    views = raster.Views(table, cameras.width, cameras.height, CAMERA_MODELS.index(cameras.model))
    names = (("means", (n, 3)), ("quats_wxyz", (n, 4)), ("scales", (n, 3)), ("opacities", (n,)))
    inputs = [checked(t, name, shape, device=device) for t, (name, shape) in zip(gaussians[:4], names, strict=True)]
    colors, features = checked_colors(gaussians[4], n, device), checked_features(features, n, device)
    harmonics = -1 if colors is None else colors.shape[1] if colors.ndim == 3 else 0
    layout = Layout(harmonics, 0 if features is None else features.shape[1], normals)
    image, alpha, depth, median, label_image = _Rasterize.apply(  # pyright: ignore[reportGeneralTypeIssues]
        *inputs, colors, features, pose, launcher, views, checked_labels(labels, n, device), layout, median_depth
    )
    rgb, feature_image, normal_image = image.split([layout.colors, layout.features, 3 * normals], -1)
    return Raster(
        None if colors is None else rgb,
        alpha,
        depth,
        None if features is None else feature_image,
        median,
        normal_image if normals else None,
        label_image,
    )
