"""From head parameters to mesh vertices in the world, and to the pixels that the mesh covers."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from avatar.head.model import HeadModel
from avatar.types import Camera, HeadParams


def posed_vertices(head: HeadModel, neutral: Float[Tensor, "v 3"], params: HeadParams) -> Float[Tensor, "v 3"]:
    """World vertices of one person's head in one pose; differentiable in the parameters."""
    joints = params.joints if params.joints.any() else None
    local = head.vertices(neutral, params.expression, joints)
    return local @ params.rotation.T + params.translation


def head_silhouette(
    vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"], camera: Camera
) -> Bool[np.ndarray, "h w"]:
    """Pixels that a posed mesh covers; `vertices` in the world."""
    import cv2

    uv = camera.project(vertices.numpy())
    canvas = np.zeros((camera.height, camera.width), np.uint8)
    for triangle in np.floor(uv).astype(np.int32)[faces.numpy()]:
        cv2.fillConvexPoly(canvas, triangle, 1)
    return canvas > 0


def facing(vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"]) -> Float[Tensor, " f"]:
    """Cosine between each triangle's normal and the direction to the camera, which stands at the origin."""
    corners = vertices[faces.long()]
    normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return -torch.nn.functional.cosine_similarity(normals, corners.mean(1))
