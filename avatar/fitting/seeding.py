"""Where the Gaussians start: on the mesh, in the hair around it, on the torso below; coloured from the video."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial import cKDTree
from torch import Tensor

from avatar.driving import DrivingSpace, motion_params
from avatar.fitting.config import FitConfig
from avatar.fitting.frames import FrameStore
from avatar.head.model import REGIONS, HeadModel
from avatar.layers import HeadLayer, Layers, TorsoLayer
from avatar.rig import head_silhouette, posed_vertices
from avatar.types import TORSO_BEHIND_HEAD_M, Motion

REGION_DENSITY = {
    "skin": 0.5, "face": 3.0, "lips": 8.0, "inner_mouth": 3.0, "teeth": 4.0, "tongue": 2.0,
    "eyes": 6.0, "scalp": 1.0, "ears": 2.0, "neck": 0.7,
}  # fmt: skip
"""Gaussians per area, relative: detail goes where people look."""
SIGMA_PER_SPACING = 0.55
COLOR_FRAMES = 15
MIN_FACING = 0.2
"""Cosine to the viewing direction below which a surface shows too little of itself to take its colour."""
EYE_CORNERS = (33, 263)


class Seeder:
    """Builds the initial layers of one person from reference frames."""

    def __init__(
        self,
        head: HeadModel,
        neutral: Float[Tensor, "v 3"],
        motion: Motion,
        frames: FrameStore,
        train: Int[np.ndarray, " n"],
        driving: DrivingSpace,
        config: FitConfig,
    ) -> None:
        self.head, self.neutral, self.motion, self.frames = head, neutral, motion, frames
        self.driving, self.config, self.camera = driving, config, frames.camera
        self.rng = np.random.default_rng(config.seed)
        features = driving.raw_features(motion)[torch.from_numpy(train)]
        order = torch.argsort(features.square().mean(1))
        self.reference = int(train[int(order[0])])
        """The frame nearest to the mean expression and pose."""
        spread = train[np.linspace(0, len(train) - 1, COLOR_FRAMES).astype(int)]
        self.color_frames = [self.reference, *(int(train[int(i)]) for i in order[1:6]), *(int(i) for i in spread)]
        self.vertices = self._vertices(self.reference)
        self.silhouette = head_silhouette(self.vertices, head.faces, self.camera)
        rows = frames.capture.landmarks_px[self.reference, :, 1] * self.camera.height / frames.capture.camera.height
        self.rows = np.arange(self.camera.height)[:, None]
        self.chin_row, eye_row = float(np.nanmax(rows)), float(np.mean(rows[list(EYE_CORNERS)]))
        import os

        f = float(os.environ.get("HANG", "1"))
        self.hanging_row = (1 - f) * eye_row + f * self.chin_row
        corners = self.vertices[head.faces.long()].numpy()
        self.centers = corners.mean(1)
        cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        norm = np.linalg.norm(cross, axis=1)
        self.areas, self.normals = norm / 2, cross / np.maximum(norm, 1e-12)[:, None]

    def layers(self) -> Layers:
        """The initial state of a fit."""
        surface, hair = self._surface(), self._hair()
        head = HeadLayer(**{name: torch.cat([surface[name], hair[name]]) for name in surface})
        return Layers(head, self._torso())

    def _vertices(self, index: int) -> Float[Tensor, "v 3"]:
        return posed_vertices(self.head, self.neutral, motion_params(self.motion, index))

    def _surface(self) -> dict[str, Tensor]:
        """Gaussians on the triangles, denser where it matters, flat along the normal."""
        n = self.config.head_gaussians
        region = self.head.regions[self.head.faces.long()].mode(1).values.numpy()
        weight = self.areas * np.array([REGION_DENSITY[name] for name in REGIONS])[region]
        share = weight / weight.sum()
        triangles = self.rng.choice(len(share), n, p=share)
        spacing = np.sqrt(self.areas[triangles] / (n * share[triangles]))
        r = np.sqrt(self.rng.random((n, 1)))
        s = self.rng.random((n, 1))
        barycentrics = np.concatenate([1 - r, r * (1 - s), r * s], 1)
        log_scales = np.repeat(np.log(SIGMA_PER_SPACING * spacing)[:, None], 3, 1)
        log_scales[:, 2] -= np.log(2)
        return self._bound(triangles, barycentrics, np.zeros((n, 3)), log_scales, opacity=0.7)

    def _hair(self) -> dict[str, Tensor]:
        """Gaussians on person pixels beside and above the mesh, hung on the nearest triangle; a shell on the scalp."""
        n = self.config.hair_gaussians
        mask = self.frames.rgba(self.reference)[..., 3] > 127
        pixels = np.argwhere(mask & ~self.silhouette & (self.rows < self.hanging_row))
        outside = min(n // 2, 20 * len(pixels))
        depth = float(self.vertices[:, 2].median()) + self.rng.uniform(-0.02, 0.04, outside)
        points = self._unproject(pixels[self.rng.integers(0, max(len(pixels), 1), outside)], depth)
        shell = self._scalp_shell(n - outside)
        points = np.concatenate([points, shell])
        triangles = cKDTree(self.centers).query(points)[1]
        local = np.einsum("nij,nj->ni", self._frames(triangles), points - self.centers[triangles])
        sigma = np.concatenate([self._pixel_sigma(len(pixels), outside, depth), np.full(len(shell), 0.004)])
        log_scales = np.repeat(np.log(sigma)[:, None], 3, 1)
        return self._bound(triangles, np.full((n, 3), 1 / 3), local, log_scales, opacity=0.2)

    def _scalp_shell(self, n: int) -> Float[np.ndarray, "n 3"]:
        region = self.head.regions[self.head.faces.long()].mode(1).values.numpy()
        weight = self.areas * (region == REGIONS.index("scalp"))
        weight = weight if weight.sum() > 0 else self.areas
        triangles = self.rng.choice(len(weight), n, p=weight / weight.sum())
        return self.centers[triangles] + self.normals[triangles] * self.rng.uniform(0, 0.03, (n, 1))

    def _torso(self) -> TorsoLayer:
        """Gaussians on the person's pixels below the chin and in hair that hangs beside it."""
        n = self.config.torso_gaussians
        mask = self.frames.rgba(self.reference)[..., 3] > 127
        below = self.rows > self.chin_row - 0.05 * self.camera.height
        beside = (self.rows >= self.hanging_row) & ~self.silhouette
        pixels = np.argwhere(mask & (below | beside))
        if len(pixels) < 10:  # a face that fills the frame: a few Gaussians at the lower edge do no harm
            pixels = np.argwhere((self.rows >= self.camera.height - 2) & np.ones_like(mask))
        depth = float(self.vertices[:, 2].median()) + TORSO_BEHIND_HEAD_M + self.rng.uniform(-0.03, 0.03, n)
        points = self._unproject(pixels[self.rng.integers(0, len(pixels), n)], depth)
        torso = torch.as_tensor(self.motion.torso)
        means = TorsoLayer.at_rest(torch.from_numpy(points).float(), torso[self.reference])
        sigma = self._pixel_sigma(len(pixels), n, depth)
        layer = TorsoLayer(
            means=means,
            quats=torch.eye(4)[:1].repeat(n, 1),
            log_scales=torch.from_numpy(np.repeat(np.log(sigma)[:, None], 3, 1)).float(),
            opacity_logits=torch.full((n,), _logit(0.6)),
            colors=torch.zeros(n, 3),
            map_means=torch.zeros(n, 3, self.driving.n_torso_features),
        )
        no_features = torch.zeros(self.driving.n_torso_features)
        colors = self._colors(lambda index: (layer.gaussians(no_features, torso[index]).means, np.ones(n, bool)))
        return replace(layer, colors=colors)

    def _bound(self, triangles, barycentrics, local, log_scales, opacity: float) -> dict[str, Tensor]:
        n, k = len(triangles), self.driving.n_features
        tensors = {
            "triangles": torch.from_numpy(triangles).int(),
            "barycentrics": torch.from_numpy(barycentrics).float(),
            "means": torch.from_numpy(local).float(),
        }
        offset = torch.from_numpy(np.einsum("nji,nj->ni", self._frames(triangles), local)).float()
        faces = self.head.faces.long()[torch.from_numpy(triangles)]

        def surface(index: int) -> tuple[Tensor, np.ndarray]:
            corners = self._vertices(index)[faces]
            points = (corners * tensors["barycentrics"][..., None]).sum(1)
            normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
            cosine = -(
                torch.nn.functional.normalize(normals, dim=1) * torch.nn.functional.normalize(points, dim=1)
            ).sum(1)
            # The offset is kept in the reference frame's axes: exact enough to pick a colour.
            return points + offset, (cosine > MIN_FACING).numpy()

        return tensors | {
            "quats": torch.eye(4)[:1].repeat(n, 1),
            "log_scales": torch.from_numpy(log_scales).float(),
            "opacity_logits": torch.full((n,), _logit(opacity)),
            "colors": self._colors(surface),
            "map_means": torch.zeros(n, 3, k),
            "map_opacities": torch.zeros(n, k),
        }

    def _frames(self, triangles: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n 3 3"]:
        """World-to-local rotations: rows are the triangle's first edge, the third axis and the normal."""
        corners = self.vertices.numpy()[self.head.faces.numpy()[triangles]]
        x = corners[:, 1] - corners[:, 0]
        x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
        z = self.normals[triangles]
        return np.stack([x, np.cross(z, x), z], 1)

    def _colors(self, surface: Callable[[int], tuple[Tensor, np.ndarray]]) -> Float[Tensor, "n 3"]:
        """Median over frames of the pixel under each Gaussian, which forgets hands and hair that pass by.

        Only frames in which it faces the camera count; what never does takes the colour of its nearest neighbour that
        does, or turning the head would show the face's colours on its side.
        """
        samples, points = [], np.zeros(0)
        for index in self.color_frames:
            points, facing = surface(index)
            uv = self.camera.project(points.numpy())
            x = uv[:, 0].astype(int).clip(0, self.camera.width - 1)
            y = uv[:, 1].astype(int).clip(0, self.camera.height - 1)
            samples.append(np.where(facing[:, None], self.frames.rgba(index)[y, x, :3], np.nan))
        seen = np.isfinite(samples).any(0)[:, 0]
        colors = np.full((len(points), 3), 127.0)
        if seen.any():
            colors[seen] = np.nanmedian(np.array(samples)[:, seen], 0)
            colors[~seen] = colors[seen][cKDTree(points[seen]).query(points[~seen])[1]]
        return torch.from_numpy(colors).float() / 255

    def _unproject(self, pixels_yx: Int[np.ndarray, "n 2"], depth: np.ndarray) -> Float[np.ndarray, "n 3"]:
        c = self.camera
        uv = pixels_yx[:, ::-1] + self.rng.random((len(pixels_yx), 2)) - [c.cx, c.cy]
        return np.concatenate([uv / [c.fx, c.fy], np.ones((len(uv), 1))], 1) * depth[:, None]

    def _pixel_sigma(self, n_pixels: int, n: int, depth: np.ndarray) -> Float[np.ndarray, " n"]:
        """Deviation that lets n Gaussians just cover n_pixels."""
        return SIGMA_PER_SPACING * np.sqrt(n_pixels / max(n, 1)) * depth / self.camera.fx


def _logit(p: float) -> float:
    return float(np.log(p / (1 - p)))
