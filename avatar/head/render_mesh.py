"""A small z-buffer renderer for meshes of some ten thousand triangles, in numpy: for calibration and overlays."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, UInt8

_LIGHT = np.array([0.0, -0.5, -0.87], dtype=np.float32)
"""Towards the lamp, camera axes: from the upper front; symmetric, so that renders of both sides of a face agree."""
_AMBIENT = 0.4


def shade_mesh(
    vertices_camera: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    fx: float,
    fy: float,
    cx: float,
    cy: float,
    width: int,
    height: int,
    colors: Float[np.ndarray, "v 3"] | Float[np.ndarray, "3"],
) -> tuple[UInt8[np.ndarray, "h w 3"], Int[np.ndarray, "h w"]]:
    """Render a mesh with smooth Lambert shading in front of black; faces turned away are not drawn.

    Args:
        vertices_camera: OpenCV camera axes (+X right, +Y down, +Z forward), metres, in front of the camera.
        faces: counter-clockwise seen from outside, in a right-handed frame.
        fx, fy, cx, cy: intrinsics in pixels, pixel centres at +0.5.
        colors: sRGB in [0, 1], one per vertex or one for all.

    Returns:
        RGB picture and, per pixel, the index of the triangle seen there, -1 for none.
    """
    vertices = np.asarray(vertices_camera, dtype=np.float32)
    pixels = vertices[:, :2] / vertices[:, 2:] * (fx, fy) + (cx, cy)
    ids, barycentrics = rasterize(np.c_[pixels, vertices[:, 2]].astype(np.float32), faces, width, height)
    shade = np.clip(_vertex_normals(vertices, faces) @ (_LIGHT / np.linalg.norm(_LIGHT)), 0, 1)
    shaded = np.broadcast_to(colors, vertices.shape) * (_AMBIENT + (1 - _AMBIENT) * shade)[:, None]
    rgb = np.zeros((height, width, 3), dtype=np.uint8)
    seen = ids >= 0
    picture = (shaded[faces[ids[seen]]] * barycentrics[seen][:, :, None]).sum(axis=1)
    rgb[seen] = np.clip(picture * 255 + 0.5, 0, 255)
    return rgb, ids


def rasterize(
    points: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], width: int, height: int
) -> tuple[Int[np.ndarray, "h w"], Float[np.ndarray, "h w 3"]]:
    """Nearest front-facing triangle per pixel and the barycentrics of the pixel's centre in it.

    Args:
        points: pixel x, pixel y and depth > 0 per vertex.
        faces: wound as for `shade_mesh`.

    Returns:
        Triangle index (-1 for none) and its screen-space barycentrics (0 where there is none).
    """
    ids = np.full((height, width), -1, dtype=np.int64)
    weights = np.zeros((height, width, 3), dtype=np.float32)
    tri, pix = _candidates(points, faces, width, height)
    corner = points[faces[tri]]
    centre = np.stack([pix % width + 0.5, pix // width + 0.5], axis=1).astype(np.float32)
    a, b, c = (corner[:, i, :2] - centre for i in range(3))
    edge = np.stack([_cross(b, c), _cross(c, a), _cross(a, b)], axis=1)
    area = edge.sum(axis=1)
    # With y down, a triangle that is counter-clockwise to the viewer has a negative area.
    inside = (edge <= 0).all(axis=1) & (area < -1e-9)
    tri, pix, bary = tri[inside], pix[inside], edge[inside] / area[inside, None]
    inverse_depth = (bary / corner[inside][:, :, 2]).sum(axis=1)
    order = np.argsort(inverse_depth, kind="stable")
    ids.reshape(-1)[pix[order]] = tri[order]
    weights.reshape(-1, 3)[pix[order]] = bary[order]
    return ids, weights


def _candidates(points: np.ndarray, faces: np.ndarray, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """All (triangle, pixel) pairs of the triangles' bounding boxes inside the picture."""
    xy = points[faces][:, :, :2]
    size = np.array([width, height])
    low = np.clip(np.floor(xy.min(axis=1)).astype(np.int64), 0, size)
    high = np.clip(np.ceil(xy.max(axis=1)).astype(np.int64), 0, size)
    wide, tall = (high - low).T
    facing = _cross(xy[:, 1] - xy[:, 0], xy[:, 2] - xy[:, 0]) < 0
    count = np.where(facing & (points[faces][:, :, 2] > 0).all(axis=1), wide * tall, 0)
    tri = np.repeat(np.arange(len(faces)), count)
    within = np.arange(len(tri)) - np.repeat(np.cumsum(count) - count, count)
    x, y = low[tri, 0] + within % wide[tri], low[tri, 1] + within // wide[tri]
    return tri, y * width + x


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def _vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    face = np.cross(b - a, c - a)
    out = np.zeros_like(vertices)
    for i in range(3):
        np.add.at(out, faces[:, i], face)
    return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)
