"""The backend "gsplat": renders with the package gsplat on CUDA tensors, by our conventions; the rest is plain torch.

Two things differ by gsplat's own rules: the splat that brings the transmittance below 1e-4 is left out (at most 1e-4
per pixel), and the Jacobian of Gaussians far outside the image is taken at a clamped place.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cuda_ext.backends import BackendMissing
from cuda_ext.ops.checks import (
    checked,
    checked_cameras,
    checked_colors,
    checked_features,
    require_finite_gaussians,
)
from cuda_ext.reference import photometric_loss, rig, ssim
from cuda_ext.reference.projection import facing_normals, shade
from cuda_ext.types import Cameras, Raster

__all__ = ["check_available", "photometric_loss", "rasterize", "rig", "ssim"]

_MODELS = {"pinhole": "pinhole", "fisheye": "fisheye", "orthographic": "ortho"}


def check_available() -> None:
    """Raise BackendMissing with the reason if gsplat can't run here."""
    if importlib.util.find_spec("gsplat") is None:
        raise BackendMissing("the package gsplat is not installed\n  next: pip install gsplat")
    if not torch.cuda.is_available():
        raise BackendMissing(
            "gsplat needs a CUDA device, and torch sees none\n  next: check `nvidia-smi`, or use the backend 'cpu'"
        )


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
    """See `cuda_ext.ops.rasterize`. There are neither labels nor a median depth.

    Raises:
        BackendMissing: gsplat or CUDA is not there, or labels or a median depth are wanted.
        ValueError, TypeError: as `cuda_ext.ops.rasterize`.
    """
    if labels is not None or median_depth:
        raise BackendMissing("gsplat draws neither labels nor a median depth\n  next: use the backend 'cuda' or 'cpu'")
    check_available()
    scene = Scene.checked(means, quats_wxyz, scales, opacities, colors, features)
    return draw(importlib.import_module("gsplat").rasterization, scene, cameras, normals=normals)


@dataclass(frozen=True)
class Scene:
    """Gaussians, checked."""

    means: Float[Tensor, "n 3"]
    quats_wxyz: Float[Tensor, "n 4"]
    scales: Float[Tensor, "n 3"]
    opacities: Float[Tensor, " n"]
    colors: Float[Tensor, "n 3"] | Float[Tensor, "n k 3"] | None
    features: Float[Tensor, "n f"] | None

    @staticmethod
    def checked(
        means: Tensor, quats_wxyz: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor | None,
        features: Tensor | None,
    ) -> Scene:  # fmt: skip
        """Raises ValueError and TypeError as `cuda_ext.ops.rasterize`."""
        device, n = means.device, means.shape[0]
        scene = Scene(
            checked(means, "means", (n, 3), device=device),
            checked(quats_wxyz, "quats_wxyz", (n, 4), device=device),
            checked(scales, "scales", (n, 3), device=device),
            checked(opacities, "opacities", (n,), device=device),
            checked_colors(colors, n, device),
            checked_features(features, n, device),
        )
        require_finite_gaussians(
            scene.means, scene.quats_wxyz, scene.scales, scene.opacities, scene.colors, scene.features
        )
        return scene

    def values(self, T_camera_world: Float[Tensor, "4 4"], model: str, normals: bool) -> list[Tensor | None]:
        """Colours, features and normals as one camera sees them, each (n, channels); None: not asked for."""
        colors, facing = self.colors, None
        if colors is not None and colors.ndim == 3:
            colors = shade(self.means, colors, T_camera_world, model)
        if normals:
            points = self.means @ T_camera_world[:3, :3].T + T_camera_world[:3, 3]
            facing = facing_normals(self.quats_wxyz, self.scales, points, T_camera_world, model)
        return [colors, self.features, facing]


def draw(rasterization: Callable[..., Any], scene: Scene, cameras: Cameras, *, normals: bool) -> Raster:
    """`rasterize` by a function like `gsplat.rasterization`, which blends all channels in one pass."""
    pose, numbers = checked_cameras(cameras, scene.means.device)
    intrinsics = torch.zeros(len(cameras), 3, 3, device=pose.device)
    intrinsics[:, 0, 0], intrinsics[:, 1, 1], intrinsics[:, 2, 2] = numbers[:, 0], numbers[:, 1], 1
    intrinsics[:, :2, 2] = numbers[:, 2:]
    seen = [scene.values(T, cameras.model, normals) for T in pose]
    widths = [0 if v is None else v.shape[1] for v in seen[0]]
    blank = [scene.means.new_zeros(len(scene.means), 1)] * (not any(widths))  # gsplat wants a channel
    channels = torch.stack([torch.cat([*(v for v in of_camera if v is not None), *blank], 1) for of_camera in seen])
    image, alpha, _ = rasterization(
        scene.means,
        scene.quats_wxyz,
        scene.scales,
        scene.opacities,
        channels,
        pose,
        intrinsics,
        cameras.width,
        cameras.height,
        near_plane=0.01,
        eps2d=0.3,
        render_mode="RGB+ED",
        packed=False,
        camera_model=_MODELS[cameras.model],
    )
    parts = image[..., : sum(widths)].split(widths, -1)
    rgb, feature_image, normal_image = (p if width else None for p, width in zip(parts, widths, strict=True))
    return Raster(rgb, alpha[..., 0], image[..., -1], features=feature_image, normals=normal_image)
