"""How well the training frames saw each part of a head."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from avatar.driving import motion_params
from avatar.driving_maths import rotations
from avatar.head.arkit import ARKIT_INDEX
from avatar.head.model import REGIONS, HeadModel, region_of_faces
from avatar.head.render_mesh import rasterize
from avatar.limits import view_degrees
from avatar.rig import facing, posed_vertices
from avatar.types import Camera, Motion

FACING_RANGE = (0.1, 0.4)
"""Cosine to the camera below which skin is not seen at all, and above which it is seen well."""
SPREAD_FRAMES = 8
HIDDEN_BEHIND_M = 0.006
"""A part that lies deeper than this behind what the mesh shows at its pixel is hidden."""
DEPTH_LONG_SIDE = 256


@torch.no_grad()
def confidence(head: HeadModel, neutral: Float[Tensor, "v 3"], motion: Motion, camera: Camera) -> Float[Tensor, " f"]:
    """Of each triangle, 0..1: how much it faces the camera, unless the mesh hides it, in the frame that shows it best.

    Hair and hands, which the mesh does not have, hide nothing.
    """
    camera = camera.with_long_side(DEPTH_LONG_SIDE)
    shown = [_shown(head, posed_vertices(head, neutral, motion_params(motion, i)), camera) for i in _telling(motion)]
    low, high = FACING_RANGE
    return ((torch.stack(shown).amax(0) - low) / (high - low)).clamp(0, 1)


def _telling(motion: Motion) -> list[int]:
    """Some frames over the motion, and those in which the head is turned and the mouth open the most."""
    extremes = [*view_degrees(rotations(motion).as_matrix(), motion.translation, np.zeros(3)).T,
                motion.expression[:, ARKIT_INDEX["jawOpen"]]]  # fmt: skip
    last = len(motion) - 1
    chosen = [int(order[round(share * last)]) for order in map(np.argsort, extremes) for share in (0.01, 0.99)]
    return sorted({*chosen, *np.linspace(0, last, SPREAD_FRAMES).astype(int).tolist()})


def _shown(head: HeadModel, vertices: Float[Tensor, "v 3"], camera: Camera) -> Float[Tensor, " f"]:
    """Cosine to the camera, 0 for triangles that are hidden or outside of the picture."""
    points, faces = vertices.numpy(), head.faces.numpy()
    seen, weights = rasterize(
        np.c_[camera.project(points), points[:, 2]].astype(np.float32), faces, camera.width, camera.height
    )
    depth = np.where(seen >= 0, (points[faces[seen], 2] * weights).sum(-1), np.inf)
    middles = points[faces].mean(1)
    y, x, inside = camera.pixels_of(middles)
    visible = inside & (middles[:, 2] < depth[y, x] + HIDDEN_BEHIND_M)
    return facing(vertices, head.faces).clamp(min=0) * torch.from_numpy(visible)


def seen_shares(head: HeadModel, neutral: Float[Tensor, "v 3"], known: Float[Tensor, " f"]) -> dict[str, float]:
    """Share of the surface that was seen, by region of the head."""
    corners = neutral[head.faces.long()]
    areas = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=1)
    regions = torch.from_numpy(region_of_faces(head))
    shares = {}
    for index, name in enumerate(REGIONS):
        if (of := regions == index).any():
            shares[name] = round(float((areas * known)[of].sum() / areas[of].sum()), 3)
    return shares
