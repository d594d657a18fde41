"""The backend "gsplat": renders with the package gsplat on CUDA tensors, by our conventions; the rest is plain torch.

Two things differ by gsplat's own rules: the splat that brings the transmittance below 1e-4 is left out (at most 1e-4
per pixel), and the Jacobian of Gaussians far outside the image is taken at a clamped place.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from cuda_ext.backends import BackendMissing
from cuda_ext.ops.checks import checked, checked_cameras, require_finite_gaussians
from cuda_ext.reference import photometric_loss, rig, ssim
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
    colors: Float[Tensor, "n 3"],
    cameras: Cameras,
) -> Raster:
    """See `cuda_ext.ops.rasterize`.

    Raises:
        BackendMissing: gsplat or CUDA is not there.
        ValueError, TypeError: as `cuda_ext.ops.rasterize`.
    """
    check_available()
    device, n = means.device, means.shape[0]
    rasterization: Any = importlib.import_module("gsplat").rasterization
    inputs = (
        checked(means, "means", (n, 3), device=device),
        checked(quats_wxyz, "quats_wxyz", (n, 4), device=device),
        checked(scales, "scales", (n, 3), device=device),
        checked(opacities, "opacities", (n,), device=device),
        checked(colors, "colors", (n, 3), device=device),
    )
    require_finite_gaussians(*inputs)
    pose, numbers = checked_cameras(cameras, device)
    intrinsics = torch.zeros(len(cameras), 3, 3, device=device)
    intrinsics[:, 0, 0], intrinsics[:, 1, 1], intrinsics[:, 2, 2] = numbers[:, 0], numbers[:, 1], 1
    intrinsics[:, :2, 2] = numbers[:, 2:]
    image, alpha, _ = rasterization(
        *inputs,
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
    return Raster(image[..., :3], alpha[..., 0], image[..., 3])
