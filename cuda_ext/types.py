"""What goes into the rasteriser beside Gaussians, and what comes out."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from cuda_ext.camera_models import CAMERA_MODELS, MAX_SIDE

__all__ = ["CAMERA_MODELS", "HARMONICS", "MAX_CAMERAS", "MAX_CHANNELS", "MAX_SIDE", "Cameras", "Raster"]
MAX_CAMERAS = 64
MAX_CHANNELS = 32
HARMONICS = (1, 4, 9, 16)
"""Coefficients per colour channel of spherical harmonics of degree 0, 1, 2, 3."""


@dataclass(frozen=True)
class Cameras:
    """One or more cameras of one model and image size. OpenCV axes; pixel centres lie at +0.5."""

    width: int
    height: int
    intrinsics: Float[Tensor, "c 4"]
    """fx, fy, cx, cy in pixels (fx, fy of an orthographic camera in pixels per metre). No gradient."""
    T_camera_world: Float[Tensor, "c 4 4"]
    """World to camera, metres. May require a gradient: that of the twelve numbers of [R | t], each taken as free (R is
    not kept a rotation: a caller who optimises a pose builds the matrix from fewer parameters); row 4 gets zero."""
    model: str = "pinhole"

    def __len__(self) -> int:
        return self.intrinsics.shape[0]


@dataclass(frozen=True)
class Raster:
    """Images of c cameras. None: not asked for."""

    rgb: Float[Tensor, "c h w 3"] | None
    """Premultiplied by alpha."""
    alpha: Float[Tensor, "c h w"]
    depth: Float[Tensor, "c h w"]
    """Expected camera z, sum(w z) / sum(w), metres; 0 where alpha is 0."""
    features: Float[Tensor, "c h w f"] | None = None
    """sum(w feature)."""
    median_depth: Float[Tensor, "c h w"] | None = None
    """Camera z of the Gaussian that takes the transmittance to 1/2 or below, metres; 0 where none does. No gradient, as
    elsewhere in the field: it jumps from one Gaussian to the next."""
    normals: Float[Tensor, "c h w 3"] | None = None
    """sum(w normal) in camera axes; a Gaussian's normal is its shortest axis, turned towards the camera."""
    labels: Int[Tensor, "c h w"] | None = None
    """Label (int32) of the Gaussian with the greatest weight, the nearest of equals; -1 where alpha is 0. No
    gradient."""
