"""Where the head's vertices lie in the atlas: a cylinder round the skull, a front view of each eye, mouth parts."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from avatar.head.linear import LinearHead
from avatar.head.model import REGIONS, region_of_faces
from preprocess.studio.atlas import TILES

AXIS_Z = -0.045
"""Depth of the cylinder's axis in the head frame, metres."""
TOP, BOTTOM = 0.15, -0.125
"""Heights at the upper and lower edge of the head's tile, metres."""


def cylinder(points: Float[np.ndarray, "*n 3"]) -> tuple[Float[np.ndarray, "*n"], Float[np.ndarray, "*n"]]:
    """Share of the way around (0.5 is the front, more is the subject's left) and downwards, of template points."""
    turn = np.arctan2(points[..., 0], points[..., 2] - AXIS_Z) / (2 * np.pi) + 0.5
    return turn, (TOP - points[..., 1]) / (TOP - BOTTOM)


def corner_texels(head: LinearHead) -> Float[np.ndarray, "f 3 2"]:
    """Atlas texels of every triangle's corners."""
    corners = head.template.numpy().astype(np.float64)[head.faces.numpy()]
    regions = region_of_faces(head)
    turn, down = cylinder(corners)
    # Triangles across the seam at the back stay on its right side.
    across = np.ptp(turn, axis=1) > 0.5
    turn[across] = np.where(turn[across] < 0.5, 1.0, turn[across])
    texels = TILES["head"].place(turn, down)
    eyes = regions == REGIONS.index("eyes")
    texels[eyes] = _eye_texels(head, corners[eyes])
    for name in ("inner_mouth", "teeth", "tongue"):
        here = regions == REGIONS.index(name)
        around = np.arctan2(corners[here][..., 0], corners[here][..., 2] + 0.02) / 2.4 + 0.5
        texels[here] = TILES[name].place(around, (0.045 - corners[here][..., 2]) / 0.09)
    return texels


def _eye_texels(head: LinearHead, corners: np.ndarray) -> np.ndarray:
    """Both eyes share one tile, seen from the front; the back half folds onto the front's rim."""
    centres = head.joint_positions(head.template).numpy()[2:].astype(np.float64)
    centre = np.where(corners.mean(axis=1, keepdims=True)[..., :1] > 0, centres[0], centres[1])
    arm = corners - centre
    sideways = arm[..., :2]
    radius = np.maximum(np.linalg.norm(sideways, axis=-1, keepdims=True), 1e-9)
    # Angle from the optical axis over a half turn, so that the iris gets most of the tile and nothing overlaps.
    angle = np.arctan2(radius, arm[..., 2:]) / np.pi
    flat = sideways / radius * np.sqrt(angle)
    return TILES["eyes"].place(0.5 + 0.5 * flat[..., 0], 0.5 - 0.5 * flat[..., 1])
