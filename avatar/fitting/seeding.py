"""Where the Gaussians start: on the mesh, in the hair around it, on the torso below; coloured from the video."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.spatial import KDTree
from torch import Tensor

from avatar.driving import DrivingSpace, motion_params
from avatar.fitting.body import body_depth
from avatar.fitting.colors import clearest_first, color_unseen, median_colors
from avatar.fitting.config import FitConfig
from avatar.fitting.frames import FrameStore
from avatar.head.landmarks import OUTER_EYE_CORNERS
from avatar.head.model import REGIONS, HeadModel, region_of_faces
from avatar.layers import HeadLayer, Layers, TorsoLayer
from avatar.rig import facing, head_silhouette, posed_vertices
from avatar.types import Motion

REGION_DENSITY = {
    "skin": 0.5, "face": 3.0, "lips": 8.0, "inner_mouth": 3.0, "teeth": 4.0, "tongue": 2.0,
    "eyes": 6.0, "scalp": 1.0, "ears": 2.0, "neck": 0.7,
}  # fmt: skip
"""Gaussians per area, relative: detail goes where people look."""
SIGMA_PER_SPACING = 0.55
CORE_REGIONS = ("skin", "face", "neck")
"""Without the ears, which are too thin, and the scalp, on which hair would have to be opaque."""
CORE_DEPTH_M, CORE_CLEARANCE_M = 0.006, 0.003
"""How deep the core lies under the skin, and how far it stays away from eyes and mouth."""
CORE_SIGMA_PER_SPACING, CORE_FLATNESS, CORE_OPACITY = 0.9, 4.0, 0.97
CORE_COLORS = 5
"""A core Gaussian takes the median colour of so many on the surface over it."""
CENTRAL_FRAMES, CLEAR_FRAMES, COLOR_FRAMES = 24, 8, 15
"""Colours come from the clearest of the frames nearest to the mean expression and pose, and others over the clip."""
MIN_FACING = 0.2
"""Cosine to the viewing direction below which a surface shows too little of itself to take its colour."""
THICK_HAIR_M = 0.02
LONG_HAIR_MARGIN = 0.03
"""Share of the picture's width by which long hair stands off the mesh beside the cheeks."""
LONG_HAIR_ROWS = 0.3
"""... and share of the rows between cheek and chin in which it does."""


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
        order = train[torch.argsort(features.square().mean(1)).numpy()].tolist()
        spread = train[np.linspace(0, len(train) - 1, COLOR_FRAMES).astype(int)].tolist()
        self.regions = region_of_faces(head)
        clear = clearest_first(frames, order[:CENTRAL_FRAMES], spread, self._skin)
        self.reference = clear[0]
        """Of the frames nearest to the mean expression and pose, the one in which least covers the face."""
        self.color_frames = [*clear[:CLEAR_FRAMES], *spread]
        self.vertices = self._vertices(self.reference)
        self.silhouette = head_silhouette(self.vertices, head.faces, self.camera)
        rows = frames.capture.landmarks_px[self.reference, :, 1] * self.camera.height / frames.capture.camera.height
        self.rows = np.arange(self.camera.height)[:, None]
        self.chin_row, self.eye_row = float(np.nanmax(rows)), float(np.mean(rows[list(OUTER_EYE_CORNERS)]))
        self.cheek_row = (self.eye_row + self.chin_row) / 2
        mask = self.person = frames.rgba(self.reference)[..., 3] > 127
        self.hair = self._hair_pixels(mask)
        below = (self.rows > self.chin_row - 0.05 * self.camera.height) | (
            ~self.silhouette & (self.rows > self.cheek_row)
        )
        self.torso = mask & ~self.hair & below
        corners = self.vertices[head.faces.long()].numpy()
        self.centers = corners.mean(1)
        cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        norm = np.linalg.norm(cross, axis=1)
        self.areas, self.normals = norm / 2, cross / np.maximum(norm, 1e-12)[:, None]

    def layers(self) -> Layers:
        """The initial state of a fit."""
        surface, hair = self._surface(), self._hair()
        faced = torch.stack([self._filmed(self._vertices(index)) for index in self.color_frames]).any(0)
        skin, scalp = (torch.from_numpy(self._within(names)) for names in ((*CORE_REGIONS, "ears"), ("scalp",)))
        places = self._on_mesh(surface["triangles"], surface["barycentrics"])
        color_unseen(surface, hair, self.n_beside, faced, skin, scalp, places)
        core = self._core(surface)
        head = HeadLayer(**{name: torch.cat([surface[name], core[name], hair[name]]) for name in surface})
        return Layers(head, self._torso())

    def _vertices(self, index: int) -> Float[Tensor, "v 3"]:
        return posed_vertices(self.head, self.neutral, motion_params(self.motion, index))

    def _filmed(self, vertices: Float[Tensor, "v 3"]) -> Bool[Tensor, " f"]:
        """Triangles that face the camera in the picture: the top of a head often lies above it."""
        inside = self.camera.pixels_of(vertices[self.head.faces.long()].mean(1).numpy())[2]
        return (facing(vertices, self.head.faces) > MIN_FACING) & torch.from_numpy(inside)

    def _skin(self, index: int) -> tuple[Tensor, np.ndarray]:
        """The triangles of skin in a frame, and which face the camera."""
        vertices = self._vertices(index)
        facing_us = (facing(vertices, self.head.faces) > MIN_FACING).numpy()
        return vertices[self.head.faces.long()].mean(1), facing_us & self._within(CORE_REGIONS)

    def _surface(self) -> dict[str, Tensor]:
        """Gaussians on the triangles, denser where it matters, flat along the normal."""
        n = self.config.head_gaussians
        density = np.array([REGION_DENSITY[name] for name in REGIONS])
        triangles, barycentrics, spacing = self._spread(self.areas * density[self.regions], n)
        log_scales = np.repeat(np.log(SIGMA_PER_SPACING * spacing)[:, None], 3, 1)
        log_scales[:, 2] -= np.log(2)
        return self._bound(triangles, barycentrics, np.zeros((n, 3)), log_scales, opacity=0.7, hang=np.zeros(n))

    def _core(self, surface: dict[str, Tensor]) -> dict[str, Tensor]:
        """An opaque layer under the skin in the skin's colour: what shows where the surface has gaps in a pose or from
        a side that was not filmed, instead of hair and mouth behind it."""
        n = self.config.core_gaussians
        free, inner = self._within(CORE_REGIONS), self._within(("eyes", "lips", "inner_mouth", "teeth"))
        if inner.any():
            free &= KDTree(self.centers[inner]).query(self.centers)[0] > CORE_CLEARANCE_M
        triangles, barycentrics, spacing = self._spread(self.areas * free, n)
        # No wider than deep: a few of them must not come through the skin where it is curved.
        sigma = np.minimum(CORE_SIGMA_PER_SPACING * spacing, CORE_DEPTH_M)
        log_scales = np.repeat(np.log(sigma)[:, None], 3, 1)
        log_scales[:, 2] -= np.log(CORE_FLATNESS)
        below = np.tile([0, 0, -CORE_DEPTH_M], (n, 1))
        above = KDTree(self._on_mesh(surface["triangles"], surface["barycentrics"]))
        nearest = above.query(
            self._on_mesh(torch.from_numpy(triangles), torch.from_numpy(barycentrics)), k=CORE_COLORS
        )[1]
        colors = surface["colors"][torch.from_numpy(np.asarray(nearest))].median(1).values
        return self._bound(
            triangles, barycentrics, below, log_scales, opacity=CORE_OPACITY, hang=np.zeros(n), colors=colors
        )

    def _on_mesh(self, triangles: Int[Tensor, " n"], barycentrics: Float[Tensor, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Points of the reference frame's mesh."""
        return (self.vertices[self.head.faces.long()[triangles.long()]] * barycentrics[..., None]).sum(1).numpy()

    def _within(self, names: tuple[str, ...]) -> Bool[np.ndarray, " f"]:
        """Which triangles belong to one of these regions."""
        return np.isin(self.regions, [REGIONS.index(name) for name in names])

    def _spread(
        self, weight: Float[np.ndarray, " f"], n: int
    ) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n 3"], Float[np.ndarray, " n"]]:
        """n random points on triangles by their weight, or by area if none has any: triangles, barycentrics, distance
        to the next point."""
        weight = weight if weight.any() else self.areas
        share = weight / weight.sum()
        triangles = self.rng.choice(len(share), n, p=share)
        r = np.sqrt(self.rng.random((n, 1)))
        s = self.rng.random((n, 1))
        barycentrics = np.concatenate([1 - r, r * (1 - s), r * s], 1)
        return triangles, barycentrics, np.sqrt(self.areas[triangles] / (n * share[triangles]))

    def _hair_pixels(self, mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
        """Person pixels beside and above the mesh; below the cheeks only in columns where hair goes down to the chin.

        A neck or a collar beside the mesh is narrow there; long hair stands off by more than a margin.
        """
        beside = mask & ~self.silhouette
        margin = 2 * round(LONG_HAIR_MARGIN * mask.shape[1]) + 1
        far = mask & (cv2.dilate(self.silhouette.astype(np.uint8), np.ones((margin, margin), np.uint8)) == 0)
        cheek_rows = (self.rows >= self.cheek_row) & (self.rows < self.chin_row)
        # Shoulders that rise above the chin do not hang together with anything at the height of the cheeks.
        parts = cv2.connectedComponents((far & (self.rows < self.chin_row)).astype(np.uint8))[1]
        far &= np.isin(parts, np.unique(parts[int(self.cheek_row)][far[int(self.cheek_row)]]))
        long_columns = (far & cheek_rows).sum(0) >= LONG_HAIR_ROWS * cheek_rows.sum()
        reach = np.ones(margin, np.uint8)[None]
        long_columns = cv2.dilate(long_columns.astype(np.uint8)[None], reach)[0] > 0
        return beside & ((self.rows < self.cheek_row) | long_columns)

    def _hair(self) -> dict[str, Tensor]:
        """Gaussians on hair pixels, and a shell on the scalp, hung on the nearest triangle.

        Below the eyes hair hangs: it goes where its root goes, but gravity keeps its direction.
        """
        n = self.config.hair_gaussians
        pixels = np.argwhere(self.hair)
        outside = self.n_beside = min(3 * n // 4, 20 * len(pixels))
        pixels = pixels[self.rng.integers(0, max(len(pixels), 1), outside)]
        hang = np.zeros(n)
        hang[:outside] = ((pixels[:, 0] - self.eye_row) / (self.chin_row - self.eye_row)).clip(0, 1)
        depth = self._hair_depth(pixels, hang[:outside])
        points = np.concatenate([self._unproject(pixels, depth), self._scalp_shell(n - outside)])
        eye_height = float((self.eye_row - self.camera.cy) / self.camera.fy * depth.mean()) if outside else 0.0
        roots = np.stack([points[:, 0], np.minimum(points[:, 1], eye_height), points[:, 2]], 1)
        roots[outside:] = points[outside:]
        triangles = np.asarray(KDTree(self.centers).query(roots)[1])
        local = np.einsum("nij,nj->ni", self._frames(triangles), points - self.centers[triangles])
        sigma = np.full(n, 0.004)
        sigma[:outside] = self._pixel_sigma(int(self.hair.sum()), outside, depth)
        log_scales = np.repeat(np.log(sigma)[:, None], 3, 1)
        beside = np.arange(n) < outside
        return self._bound(triangles, np.full((n, 3), 1 / 3), local, log_scales, 0.3, hang, shown=beside)

    def _hair_depth(self, pixels: Int[np.ndarray, "n 2"], hang: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Close to the mesh's outline hair is as deep as that, or it would part from the head in a turn; hanging hair,
        and hair of twice the usual thickness, falls before it."""
        depths = self.vertices[:, 2].numpy()
        middle = float(np.median(depths))
        distance, nearest = KDTree(self.camera.project(self.vertices.numpy())).query(pixels[:, ::-1], k=8)
        thickness = np.asarray(distance).mean(1) * middle / self.camera.fx / THICK_HAIR_M
        before = np.maximum(hang, (thickness - 1).clip(0, 1))
        return (
            (1 - before) * depths[np.asarray(nearest)].mean(1)
            + before * middle
            + self.rng.uniform(-0.005, 0.005, len(pixels))
        )

    def _scalp_shell(self, n: int) -> Float[np.ndarray, "n 3"]:
        triangles = self._spread(self.areas * self._within(("scalp",)), n)[0]
        return self.centers[triangles] + self.normals[triangles] * self.rng.uniform(0, 0.03, (n, 1))

    def _torso(self) -> TorsoLayer:
        """Gaussians on the person's pixels below the chin and in hair that hangs beside it."""
        n = self.config.torso_gaussians
        pixels = np.argwhere(self.torso)
        if len(pixels) < 10:  # a face that fills the frame: a few Gaussians at the lower edge do no harm
            pixels = np.argwhere((self.rows >= self.camera.height - 2) & np.ones_like(self.torso))
        chosen = pixels[self.rng.integers(0, len(pixels), n)]
        middle = float(self.vertices[:, 2].median())
        depth = body_depth(self.person, self.camera, middle)[tuple(chosen.T)] + self.rng.uniform(-0.005, 0.005, n)
        points = self._unproject(chosen, depth)
        torso = torch.as_tensor(self.motion.torso)
        means = TorsoLayer.at_rest(torch.from_numpy(points).float(), torso[self.reference])
        sigma = self._pixel_sigma(len(pixels), n, depth)
        return TorsoLayer(
            means=means,
            quats=torch.eye(4)[:1].repeat(n, 1),
            log_scales=torch.from_numpy(np.repeat(np.log(sigma)[:, None], 3, 1)).float(),
            opacity_logits=torch.full((n,), _logit(0.6)),
            colors=median_colors(
                self.frames, self.color_frames, lambda i: (TorsoLayer.moved(means, torso[i]), np.ones(n, bool))
            ),
            map_means=torch.zeros(n, 3, self.driving.n_torso_features),
        )

    def _bound(
        self, triangles, barycentrics, local, log_scales, opacity: float, hang, colors=None, shown=None
    ) -> dict[str, Tensor]:
        n, k = len(triangles), self.driving.n_features
        tensors = {
            "triangles": torch.from_numpy(triangles).int(),
            "barycentrics": torch.from_numpy(barycentrics).float(),
            "means": torch.from_numpy(local).float(),
        }
        axes = self._frames(triangles).transpose(0, 2, 1)
        offset = torch.from_numpy(np.einsum("nij,nj->ni", axes, local)).float()
        faces = self.head.faces.long()[torch.from_numpy(triangles)]

        def surface(index: int) -> tuple[Tensor, np.ndarray]:
            vertices = self._vertices(index)
            points = (vertices[faces] * tensors["barycentrics"][..., None]).sum(1)
            cosine = facing(vertices, self.head.faces)[torch.from_numpy(triangles)]
            # The offset is kept in the reference frame's axes: exact enough to pick a colour.
            return points + offset, (cosine > MIN_FACING).numpy() | (False if shown is None else shown)

        return tensors | {
            "quats": torch.eye(4)[:1].repeat(n, 1),
            "log_scales": torch.from_numpy(log_scales).float(),
            "opacity_logits": torch.full((n,), _logit(opacity)),
            "colors": median_colors(self.frames, self.color_frames, surface) if colors is None else colors,
            "map_means": torch.zeros(n, 3, k),
            "map_opacities": torch.zeros(n, k),
            "hang": torch.from_numpy(hang).float(),
            "hang_axes": torch.from_numpy(axes).float(),
        }

    def _frames(self, triangles: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n 3 3"]:
        """World-to-local rotations: rows are the triangle's first edge, the third axis and the normal."""
        corners = self.vertices.numpy()[self.head.faces.numpy()[triangles]]
        x = corners[:, 1] - corners[:, 0]
        x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
        z = self.normals[triangles]
        return np.stack([x, np.cross(z, x), z], 1)

    def _unproject(self, pixels_yx: Int[np.ndarray, "n 2"], depth: np.ndarray) -> Float[np.ndarray, "n 3"]:
        c = self.camera
        uv = pixels_yx[:, ::-1] + self.rng.random((len(pixels_yx), 2)) - [c.cx, c.cy]
        return np.concatenate([uv / [c.fx, c.fy], np.ones((len(uv), 1))], 1) * depth[:, None]

    def _pixel_sigma(self, n_pixels: int, n: int, depth: np.ndarray) -> Float[np.ndarray, " n"]:
        """Deviation that lets n Gaussians just cover n_pixels."""
        return SIGMA_PER_SPACING * np.sqrt(n_pixels / max(n, 1)) * depth / self.camera.fx


def _logit(p: float) -> float:
    return float(np.log(p / (1 - p)))
