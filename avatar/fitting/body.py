"""How far away each pixel of a body is, from its outline alone."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float

from avatar.types import TORSO_BEHIND_HEAD_M, Camera

HALF_DEPTH_M, OUTLINE_BEHIND_TORSO_M = 0.12, 0.08
"""How far a body comes forward from its outline, and how far behind its mean depth the outline lies."""
SMOOTHING = 0.25
"""Of the depth, as a share of the former: or pixels at the outline would lie far apart, with gaps from the side."""


def body_depth(person: Bool[np.ndarray, "h w"], camera: Camera, head_depth: float) -> Float[np.ndarray, "h w"]:
    """A body is round: behind its outline it comes forward as a circle does, up to its half depth.

    Where the picture ends the body goes on.

    Args:
        person: pixels of the head and the body.
        head_depth: of the head's middle, metres.
    """
    outline = head_depth + TORSO_BEHIND_HEAD_M + OUTLINE_BEHIND_TORSO_M
    radius = HALF_DEPTH_M * camera.fx / outline
    reach, sigma = 2 * int(np.ceil(radius)), SMOOTHING * radius
    body = np.pad(person.astype(np.float32), reach, mode="edge")
    across = 1 - (cv2.distanceTransform(body.astype(np.uint8), cv2.DIST_L2, 5) / radius).clip(0, 1)
    weight = cv2.GaussianBlur(body, (0, 0), sigma)
    forward = cv2.GaussianBlur(body * np.sqrt(1 - across**2), (0, 0), sigma) / np.maximum(weight, 1e-6)
    return outline - HALF_DEPTH_M * forward[reach:-reach, reach:-reach]
