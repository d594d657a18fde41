"""Triangles to pixels by OpenCV's z-buffer on the CPU: no code in common with the Gaussian rasteriser."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from avatar.types import Camera

NEAR_M, FAR_M = 0.1, 8.0


@dataclass(frozen=True)
class Buffers:
    """What is seen at every pixel's centre."""

    values: Float[np.ndarray, "h w 3"]
    """The corners' three values, interpolated with perspective; 0 where nothing is."""
    depth: Float[np.ndarray, "h w"]
    """Camera-space z, metres; FAR_M where nothing is."""


def rasterize_values(
    vertices: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    values: Float[np.ndarray, "v 3"],
    camera: Camera,
) -> Buffers:
    """Nearest surface per pixel of a pinhole camera; triangles that show their back are not drawn.

    Args:
        vertices: world, metres.
        faces: int32, counter-clockwise seen from outside.
        values: anything in [0, 1] to interpolate.
    """
    import cv2

    values_out = np.zeros((camera.height, camera.width, 3), np.float32)
    depth = np.full((camera.height, camera.width), FAR_M, np.float32)
    # OpenCV's camera has square pixels, its centre in the middle, +Y up and looks along -Z: the rest is a shear.
    focal, (width, height) = camera.fy, (camera.width, camera.height)
    to_gl = np.array([
        [camera.fx / focal, 0, (camera.cx - width / 2) / focal, 0],
        [0, -1, -(camera.cy - height / 2) / focal, 0],
        [0, 0, -1, 0],
        [0, 0, 0, 1],
    ]) @ camera.T_camera_world.astype(np.float64)  # fmt: skip
    cv2.triangleRasterize(
        vertices.astype(np.float32, copy=False), faces, values, values_out, depth, to_gl,
        2 * np.arctan(height / 2 / focal), NEAR_M, FAR_M,
    )  # fmt: skip
    return Buffers(values_out, depth)
