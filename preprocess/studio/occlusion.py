"""How much of the surroundings every point of the set sees: dark nostrils, lid folds, ears, and a shaded throat."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from avatar.types import Camera
from preprocess.parts.raster import rasterize_values

_DIRECTIONS = 96
_PIXELS = 320
_FAR_AWAY_M = 6.0
"""Distance of the cameras: their rays are nearly parallel."""
_REACH_M = 0.25
"""Surfaces further away from a vertex than this do not darken it."""
_LIFT_M = 0.002
"""Points are held so far above their surface, which would hide itself otherwise."""


def openness(
    points: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], normals: Float[np.ndarray, "v 3"]
) -> Float[np.ndarray, " v"]:
    """Share of the light from all around that reaches each vertex, 0 to 1, by its cosine law (ambient occlusion).

    Depth pictures from directions all over the sphere say from where a vertex is seen.

    Args:
        normals: unit length, outwards.
    """
    centre, radius = points.mean(0), np.linalg.norm(points - points.mean(0), axis=1).max()
    lifted, corners = points + _LIFT_M * normals, points[faces].reshape(-1, 3)
    single = np.arange(len(corners), dtype=np.int32).reshape(-1, 3)
    nothing = np.zeros((len(corners), 3), np.float32)
    focal = 0.5 * _PIXELS * _FAR_AWAY_M / (1.05 * radius)
    seen, total = np.zeros(len(points)), np.full(len(points), 1e-9)
    for towards in _directions():
        camera = Camera(_PIXELS, _PIXELS, focal, focal, _PIXELS / 2, _PIXELS / 2, _looking_back(towards, centre))
        depth = rasterize_values(corners, single, nothing, camera).depth
        place = np.clip(camera.project(lifted), 0, _PIXELS - 1).astype(int)
        T = camera.T_camera_world
        behind = lifted @ T[2, :3] + T[2, 3] - depth[place[:, 1], place[:, 0]]
        cosine = np.clip(normals @ towards, 0, None)
        seen += cosine * ((behind <= 0) | (behind > _REACH_M))
        total += cosine
    return seen / total


def _directions() -> Float[np.ndarray, "n 3"]:
    """Evenly over the sphere, along a Fibonacci spiral."""
    rank = np.arange(_DIRECTIONS) + 0.5
    height, turn = 1 - 2 * rank / _DIRECTIONS, np.pi * (1 + 5**0.5) * rank
    ring = np.sqrt(1 - height**2)
    return np.stack([ring * np.cos(turn), height, ring * np.sin(turn)], axis=1)


def _looking_back(towards: Float[np.ndarray, "3"], centre: Float[np.ndarray, "3"]) -> Float[np.ndarray, "4 4"]:
    """T_camera_world of a camera in that direction from the centre, which it looks at."""
    right = np.cross(towards, np.roll(towards, 1) * (1, -1, 1) + (0.3, 0.1, 0.2))
    right /= np.linalg.norm(right)
    T = np.eye(4)
    T[:3, :3] = np.stack([right, np.cross(-towards, right), -towards])
    T[:3, 3] = -T[:3, :3] @ centre + (0, 0, _FAR_AWAY_M)
    return T
