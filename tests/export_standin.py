"""A stand-in avatar of five coloured dots, for tests of what surrounds the avatar: it renders in microseconds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from avatar.types import Camera, Gaussians

CENTER = np.array([0.0, 0.0, 0.5])
CAMERA = Camera(96, 64, 120.0, 120.0, 48.0, 32.0)


@dataclass(frozen=True)
class DotMotion:
    timestamps_seconds: np.ndarray

    def __len__(self) -> int:
        return len(self.timestamps_seconds)

    @property
    def fps(self) -> float:
        t = self.timestamps_seconds
        return float((len(t) - 1) / (t[-1] - t[0]))


class DotAvatar:
    """Five Gaussians around CENTER; the first is the red nose at the centre itself, frames brighten with time."""

    head_center = CENTER

    def gaussians(self, prepared, index: int) -> Gaussians:
        offsets = torch.tensor([[0, 0, 0], [0.05, 0, 0.02], [-0.05, 0, 0.02], [0, 0.06, 0.05], [0, -0.06, 0.05]])
        colors = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1]], dtype=torch.float32)
        means = torch.from_numpy(CENTER).float() + offsets
        quats = torch.tensor([[1.0, 0, 0, 0]]).expand(5, 4)
        return Gaussians(means, quats, torch.full((5, 3), 0.004), torch.full((5,), 0.9), colors)

    def frames(self, prepared, index: int, cameras, background="plate") -> list[np.ndarray]:
        return [self._frame(prepared, index, camera) for camera in cameras]

    def _frame(self, prepared, index: int, camera: Camera) -> np.ndarray:
        image = np.full((camera.height, camera.width, 3), 40 + index % 100, np.uint8)
        g = self.gaussians(prepared, index)
        points = g.means.numpy() @ camera.T_camera_world[:3, :3].T + camera.T_camera_world[:3, 3]
        v, u = np.mgrid[: camera.height, : camera.width] + 0.5
        for p, color in zip(points, g.colors.numpy(), strict=True):
            x, y = camera.fx * p[0] / p[2] + camera.cx, camera.fy * p[1] / p[2] + camera.cy
            radius = 0.012 * camera.fx / p[2]
            image[(u - x) ** 2 + (v - y) ** 2 < radius**2] = (color * 255).astype(np.uint8)
        return image


def spot(image: np.ndarray, channel: int) -> np.ndarray:
    """Centroid (x, y) in pixels of what is bright in one colour channel only."""
    rest = np.delete(image.astype(int), channel, axis=2).max(2)
    ys, xs = np.nonzero(image[..., channel].astype(int) - rest > 100)
    assert len(xs), "the dot is not in the picture"
    return np.array([xs.mean() + 0.5, ys.mean() + 0.5])
