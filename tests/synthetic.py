"""A person made in code: the head model rendered by the mesh renderer, with shoulders and a wall, as a `Capture`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from avatar.driving import motion_params
from avatar.geometry import axis_angle_to_matrix, matrix_to_quat
from avatar.head import load_head
from avatar.head.arkit import ARKIT_NAMES
from avatar.head.model import REGIONS
from avatar.head.render_mesh import shade_mesh
from avatar.rig import head_silhouette, posed_vertices
from avatar.types import Camera, Motion

REGION_COLORS = {
    "skin": (0.80, 0.62, 0.52), "face": (0.84, 0.65, 0.55), "lips": (0.72, 0.32, 0.32), "teeth": (0.92, 0.90, 0.85),
    "inner_mouth": (0.35, 0.12, 0.12), "tongue": (0.70, 0.35, 0.35), "eyes": (0.90, 0.90, 0.92),
    "scalp": (0.25, 0.17, 0.12), "ears": (0.80, 0.58, 0.50), "neck": (0.78, 0.60, 0.50),
}  # fmt: skip


def talking_motion(frames: int, fps: float = 25.0, seed: int = 0) -> Motion:
    """Smooth speech-like mouth movement, blinks and a swaying head in front of an OpenCV camera."""
    rng = np.random.default_rng(seed)
    t = np.arange(frames) / fps
    expression = np.zeros((frames, 52), np.float32)

    def set_action(name: str, values: np.ndarray) -> None:
        expression[:, ARKIT_NAMES.index(name)] = values

    set_action("jawOpen", 0.25 + 0.25 * np.sin(2 * np.pi * 2.3 * t + rng.uniform(0, 6)))
    set_action("mouthFunnel", 0.2 + 0.2 * np.sin(2 * np.pi * 1.1 * t))
    blink = np.clip(np.sin(2 * np.pi * 0.7 * t + 1) * 6 - 5, 0, 1)
    set_action("eyeBlinkLeft", blink)
    set_action("eyeBlinkRight", blink)
    yaw, pitch = 0.2 * np.sin(2 * np.pi * 0.31 * t), 0.08 * np.sin(2 * np.pi * 0.23 * t)
    turn = axis_angle_to_matrix(torch.tensor(np.stack([pitch, yaw, 0 * t], 1), dtype=torch.float32))
    quats = matrix_to_quat(torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ turn).numpy()
    translation = np.stack([0.01 * np.sin(t), 0.005 * np.cos(t), 0.6 + 0 * t], 1).astype(np.float32)
    return Motion(t, expression, np.zeros((frames, 4, 3), np.float32), quats, translation)


class SyntheticCapture:
    """Implements `avatar.types.Capture` in memory; frames are rendered when asked for."""

    head_name = "anny"
    audio_path: Path | None = None

    def __init__(self, frames: int = 90, size: tuple[int, int] = (128, 128), fps: float = 25.0) -> None:
        self.head = load_head("anny")
        self.head_hash = self.head.content_hash
        width, height = size
        self.path = Path("synthetic")
        self.camera = Camera(width, height, 2.2 * width, 2.2 * width, width / 2, height / 2)
        self.neutral = self.head.template.numpy()
        self.motion = talking_motion(frames, fps)
        self.tracked = np.ones(frames, bool)
        y, x = np.mgrid[:height, :width]
        wall = np.stack([60 + 0.4 * x, 90 + 0.3 * y, 120 + 0 * x], -1)
        self.background = wall.astype(np.uint8)
        self.background_seen = np.ones((height, width), bool)
        self.landmarks_px = np.stack([self._landmarks(i) for i in range(frames)])
        self.content_hash = f"synthetic-{frames}-{size}"
        self._colors = np.array([REGION_COLORS[name] for name in REGIONS])[self.head.regions.numpy()]

    def _vertices(self, index: int) -> torch.Tensor:
        return posed_vertices(self.head, torch.from_numpy(self.neutral), motion_params(self.motion, index))

    def _landmarks(self, index: int) -> np.ndarray:
        return self.camera.project(self._vertices(index).numpy()[:: len(self.neutral) // 478][:478])

    def _shoulders(self) -> np.ndarray:
        h, w = self.camera.height, self.camera.width
        y, x = np.mgrid[:h, :w]
        return (y > 0.8 * h) & (np.abs(x - w / 2) < 0.4 * w)

    def frame(self, index: int) -> np.ndarray:
        c, vertices = self.camera, self._vertices(index).numpy()
        faces = self.head.faces.numpy()
        rgb, ids = shade_mesh(vertices, faces, c.fx, c.fy, c.cx, c.cy, c.width, c.height, self._colors)
        image = self.background.copy()
        image[self._shoulders()] = (40, 60, 110)
        image[ids >= 0] = rgb[ids >= 0]
        return image

    def mask(self, index: int) -> np.ndarray:
        head = head_silhouette(self._vertices(index), self.head.faces, self.camera)
        return ((head | self._shoulders()) * 255).astype(np.uint8)
