"""The background plate behind an avatar, as numpy pictures."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from avatar.tracks import Camera

PLATE_DEPTH = 1.5
"""Distance of the background plate in head distances: farther, and a stereo pair can't be fused."""


def plate_behind(
    plate: UInt8[np.ndarray, "h w 3"], own: Camera, head_distance: float, camera: Camera
) -> UInt8[np.ndarray, "height width 3"]:
    """The clean plate as a camera sees it: scaled to cover the picture.

    It stands behind the head and follows a camera that moves sideways (the eyes of a stereo pair), but it does not turn
    with one: no view of the room from aside exists.

    Args:
        own: the capturing camera, which saw the plate.
        head_distance: of the head from it, metres.
    """
    return shifted(cover(plate, camera.width, camera.height), _shift(own, head_distance, camera))


def _shift(own: Camera, head_distance: float, camera: Camera) -> tuple[float, float]:
    T = camera.T_camera_world
    if not np.allclose(T[:3, :3], np.eye(3), atol=1e-4):
        return 0.0, 0.0
    own = own.scaled(camera.width, camera.height)
    depth = PLATE_DEPTH * head_distance
    return (
        camera.fx * float(T[0, 3]) / depth + camera.cx - own.cx,
        camera.fy * float(T[1, 3]) / depth + camera.cy - own.cy,
    )


def cover(image: UInt8[np.ndarray, "h w 3"], width: int, height: int) -> UInt8[np.ndarray, "height width 3"]:
    """Scale a picture so that it covers width x height, and cut the middle."""
    import cv2

    h, w = image.shape[:2]
    if (w, h) == (width, height):
        return image
    s = max(width / w, height / h)
    size = (max(width, round(w * s)), max(height, round(h * s)))
    big = cv2.resize(image, size, interpolation=cv2.INTER_AREA if s < 1 else cv2.INTER_LINEAR)
    y, x = (big.shape[0] - height) // 2, (big.shape[1] - width) // 2
    return np.ascontiguousarray(big[y : y + height, x : x + width])


def shifted(image: UInt8[np.ndarray, "h w 3"], by_px: tuple[float, float]) -> UInt8[np.ndarray, "h w 3"]:
    """Move a picture right and down; its edge is repeated where nothing is known."""
    import cv2

    if max(map(abs, by_px)) < 0.01:
        return image
    move = np.array([[1, 0, by_px[0]], [0, 1, by_px[1]]], np.float32)
    return cv2.warpAffine(image, move, image.shape[1::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
