"""Where it is filmed: a generated picture of a room, out of focus, and its lamps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from avatar.types import Camera
from preprocess.studio.noise import value_noise

_SIZE = 1024
_DISTANCE_M = 2.6
"""Of the wall from the first camera; the picture is a plane there."""
_WIDTH_M = 3.6
_WALLS = ((196, 188, 176), (150, 164, 170), (118, 132, 120), (176, 158, 150), (96, 104, 122), (206, 204, 200))
_THINGS = ((92, 62, 44), (56, 76, 98), (180, 168, 150), (44, 56, 50), (150, 82, 60), (224, 216, 200), (70, 66, 74))


@dataclass(frozen=True)
class Light:
    """A key lamp, a weaker one from the other side, and light from all around."""

    key: Float[np.ndarray, "3"]
    """Towards the lamp, world axes, unit length."""
    fill: Float[np.ndarray, "3"]
    ambient: float
    key_strength: float
    fill_strength: float
    gloss: float

    def shade(
        self, normals: Float[np.ndarray, "v 3"], points: Float[np.ndarray, "v 3"], eye: Float[np.ndarray, "3"]
    ) -> Float[np.ndarray, " v"]:
        """Brightness of surfaces, about 0 to 1.4 (Lambert, with Blinn's highlight for the key lamp)."""
        towards = eye - points
        towards = towards / np.linalg.norm(towards, axis=1, keepdims=True)
        half = towards + self.key
        half /= np.linalg.norm(half, axis=1, keepdims=True)
        key = np.clip(normals @ self.key, 0, 1)
        sky = 0.75 - 0.25 * normals[:, 1]  # +Y is down
        shine = self.gloss * np.clip((normals * half).sum(1), 0, 1) ** 18
        return (
            self.ambient * sky
            + self.key_strength * key
            + self.fill_strength * np.clip(normals @ self.fill, 0, 1)
            + (shine * (key > 0))
        )


@dataclass(frozen=True)
class Room:
    """A picture on a wall behind the subject."""

    picture: UInt8[np.ndarray, "1024 1024 3"]

    def seen_by(self, camera: Camera) -> UInt8[np.ndarray, "h w 3"]:
        """The wall in a pinhole camera near the first one."""
        import cv2

        to_metres = np.array([[_WIDTH_M / _SIZE, 0, -_WIDTH_M / 2], [0, _WIDTH_M / _SIZE, -_WIDTH_M / 2], [0, 0, 1]])
        T = camera.T_camera_world.astype(np.float64)
        plane = np.column_stack([T[:3, 0], T[:3, 1], _DISTANCE_M * T[:3, 2] + T[:3, 3]])
        intrinsics = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
        size = (camera.width, camera.height)
        return cv2.warpPerspective(
            self.picture, intrinsics @ plane @ to_metres, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
        )


def make_light(seed: int) -> Light:
    """The lamps of a seed."""
    rng = np.random.default_rng([seed, 15])
    side = rng.choice([-1.0, 1.0])
    key = _unit([side * rng.uniform(0.2, 0.9), rng.uniform(-0.9, -0.45), -1.0])
    fill = _unit([-side * rng.uniform(0.5, 1.2), rng.uniform(-0.3, 0.1), -0.8])
    return Light(
        key, fill, rng.uniform(0.34, 0.48), rng.uniform(0.52, 0.68), rng.uniform(0.10, 0.22), rng.uniform(0.04, 0.12)
    )


def make_room(seed: int) -> Room:
    """The room of a seed: a wall with light falling off, frames, a shelf or a window, and a blur of distance."""
    import cv2

    rng = np.random.default_rng([seed, 16])
    wall = np.array(_WALLS[rng.integers(len(_WALLS))], np.float32)
    y, x = np.mgrid[:_SIZE, :_SIZE].astype(np.float32) / _SIZE
    lit = 1.05 - 0.5 * np.hypot(x - rng.uniform(0.1, 0.9), y - rng.uniform(0, 0.4))
    picture = wall * lit[..., None]
    for _ in range(int(rng.integers(5, 10))):
        left, top = rng.integers(0, _SIZE, 2)
        width, height = rng.integers(60, 300, 2)
        color = [float(c) for c in _THINGS[rng.integers(len(_THINGS))]]
        corner = (int(left + width), int(top + height))
        cv2.rectangle(picture, (int(left), int(top)), corner, color, -1)
        inner = [min(255.0, 1.35 * c) for c in color]
        cv2.rectangle(picture, (int(left) + 10, int(top) + 10), (corner[0] - 10, corner[1] - 10), inner, -1)
    floor = int(rng.uniform(0.72, 0.85) * _SIZE)
    picture[floor:] = 0.55 * picture[floor:] + 0.45 * np.array([88, 66, 50], np.float32)
    picture *= 1 + 0.02 * value_noise(rng, _SIZE, _SIZE, 200)[..., None]
    picture = cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(3, 9)))
    return Room(np.clip(picture, 0, 255).astype(np.uint8))


def _unit(vector: list[float]) -> Float[np.ndarray, "3"]:
    return np.array(vector) / np.linalg.norm(vector)
