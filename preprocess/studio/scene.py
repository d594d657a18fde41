"""The set: a posed head with hair, on shoulders, lit by a lamp, before a picture of a room. Renders any camera."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8

from avatar.head.linear import LinearHead
from avatar.head.model import REGIONS, LandmarkTable, landmarks_on
from avatar.rig import posed_vertices
from avatar.types import Camera, HeadParams
from preprocess.parts.raster import FAR_M, Buffers, rasterize_values
from preprocess.studio.atlas import HEIGHT, WIDTH, Atlas
from preprocess.studio.body import Shell, make_hair, make_torso
from preprocess.studio.mapping import corner_texels
from preprocess.studio.occlusion import openness
from preprocess.studio.paint import paint
from preprocess.studio.person import Person, make_person
from preprocess.studio.room import Light, make_light, make_room

FLIP = np.diag([1.0, -1.0, -1.0])
"""World (OpenCV camera) axes of a head that is upright and faces the camera."""
OFF_AXIS_BACKDROP = (128, 128, 128)
"""Further cameras see this colour: the room is a flat picture that only the first camera may look at."""
_SHADE_RANGE = 2.0
"""The rasteriser interpolates values in [0, 1]: shades are halved on the way."""
_DEPTH_OF_FOLDS = 1.5
"""Power of the share of light that reaches a vertex: lamps get into folds and hollows even less than light from all
around."""
_COLLAR, _DARKEST = 0.5, 0.2
"""Least light on the throat, and anywhere."""
_INSIDE = ("inner_mouth", "teeth", "tongue", "eyes")
"""Lit by how they lie now, not at rest."""
_NOSTRILS = ((79, 166, 239, 238, 20, 60), (309, 392, 459, 458, 250, 290))
_NOSTRIL_M = 0.0035
"""Landmarks around each nostril, which the mesh has as a dent only, and its size."""


@dataclass(frozen=True)
class Pose:
    """Everything that moves, at one moment."""

    vertices: Float[np.ndarray, "v 3"]
    """The head's, world, metres."""
    T_world_head: Float[np.ndarray, "4 4"]
    T_world_torso: Float[np.ndarray, "4 4"]

    @staticmethod
    def of(vertices: Float[np.ndarray, "v 3"], params: HeadParams, T_world_torso: Float[np.ndarray, "4 4"]) -> Pose:
        """What these head parameters gave."""
        T_world_head = np.eye(4)
        T_world_head[:3, :3], T_world_head[:3, 3] = params.rotation.numpy(), params.translation.numpy()
        return Pose(vertices, T_world_head, T_world_torso)


@dataclass(frozen=True)
class Picture:
    """A render with its truth."""

    rgb: UInt8[np.ndarray, "h w 3"]
    labels: UInt8[np.ndarray, "h w"]
    """Index into `preprocess.studio.atlas.LABELS` of the surface at each pixel's centre."""
    depth: Float[np.ndarray, "h w"]
    """Camera-space z at each pixel's centre, metres; 0 where nothing is."""


class Scene:
    """One person in one room; immutable once made, so that several threads may render."""

    def __init__(self, head: LinearHead, table: LandmarkTable, seed: int) -> None:
        self.head, self.table, self.seed = head, table, seed
        self.person: Person = make_person(head, seed)
        self.atlas: Atlas = paint(head, table, self.person, seed)
        self.light: Light = make_light(seed)
        self.room = make_room(seed)
        self.hair: Shell = make_hair(head, self.person, seed)
        self.shirt, self.throat = make_torso(head, self.person, seed)
        self.neutral = torch.from_numpy(self.person.neutral)
        shells = (self.hair, self.shirt, self.throat)
        texels = np.concatenate([corner_texels(head), *(s.texels for s in shells)]).reshape(-1, 2)
        self._texels = (texels / (WIDTH, HEIGHT)).astype(np.float32)
        offsets = np.cumsum([0, len(self.person.neutral), *(len(s.vertices) for s in shells[:-1])])
        faces = [head.faces.numpy(), *(s.faces for s in shells)]
        self._corners = np.concatenate([f + o for f, o in zip(faces, offsets, strict=True)]).ravel()
        self._faces = np.arange(len(self._corners), dtype=np.int32).reshape(-1, 3)
        self._incidence = _incidence(self._corners.reshape(-1, 3), int(offsets[-1] + len(shells[-1].vertices)))
        self._dimming = self._dimmed(np.concatenate([self.person.neutral, *(s.vertices for s in shells)]))

    def pose(self, params: HeadParams, torso: Float[np.ndarray, "3"], rest: Float[np.ndarray, "4 4"]) -> Pose:
        """Vertices in the world.

        Args:
            torso: movement of the shoulders as in `Motion.torso`: x, y in metres, roll about the principal axis.
            rest: T_world_torso where that movement is zero.
        """
        moved = np.eye(4)
        cosine, sine = np.cos(torso[2]), np.sin(torso[2])
        moved[:2, :2], moved[:2, 3] = [[cosine, -sine], [sine, cosine]], torso[:2]
        return Pose.of(posed_vertices(self.head, self.neutral, params).numpy(), params, moved @ rest)

    def render(self, pose: Pose, camera: Camera, supersample: int = 2, room: bool = True) -> Picture:
        """Picture, labels and depth from any pinhole camera; without the room, before a plain backdrop."""
        import cv2

        points = np.concatenate([
            pose.vertices, _moved(self.hair.vertices, pose.T_world_head),
            _moved(self.shirt.vertices, pose.T_world_torso), _moved(self.throat.vertices, pose.T_world_torso),
        ]).astype(np.float32)  # fmt: skip
        shade = self._shade(points, camera) / _SHADE_RANGE
        values = np.column_stack([self._texels, shade[self._corners]]).astype(np.float32)
        height, width = camera.height, camera.width
        rgb = self.room.seen_by(camera) if room else np.full((height, width, 3), OFF_AXIS_BACKDROP, np.uint8)
        labels, depth = np.zeros((height, width), np.uint8), np.zeros((height, width), np.float32)
        window, near = _window(camera, points)
        if near.width and near.height:
            corners = points[self._corners]
            truth = rasterize_values(corners, self._faces, values, near)
            labels[window] = cv2.remap(self.atlas.labels, *_texel_maps(truth.values), cv2.INTER_NEAREST)
            depth[window] = np.where(truth.depth < FAR_M, truth.depth, 0)
            if supersample > 1:
                fine_camera = near.scaled(supersample * near.width, supersample * near.height)
                truth = rasterize_values(corners, self._faces, values, fine_camera)
            rgb[window] = _developed(truth, self.atlas.color, rgb[window])
        return Picture(rgb, labels * (depth > 0), depth)

    def _shade(self, points: np.ndarray, camera: Camera) -> Float[np.ndarray, " v"]:
        """Brightness per vertex: ambient from above, a key and a fill lamp, a little gloss."""
        eye = -camera.T_camera_world[:3, :3].T @ camera.T_camera_world[:3, 3]
        return self.light.shade(self._normals_at(points), points, eye) * self._dimming

    def _normals_at(self, points: np.ndarray) -> Float[np.ndarray, "v 3"]:
        triangles = points[self._corners].reshape(-1, 3, 3)
        normals = self._incidence @ np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
        return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)

    def _dimmed(self, rest: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, " v"]:
        """What of the light their surroundings leave to the vertices, head and shells at rest."""
        regions, faces = self.head.regions.numpy(), self._corners.reshape(-1, 3)
        throat = len(rest) - len(self.throat.vertices)
        shirt = throat - len(self.shirt.vertices)
        # The throat lies within the neck, which it would hide; hair is a sheet with two sides, so without a normal.
        left = openness(rest, faces[faces.max(1) < throat], self._normals_at(rest)) ** _DEPTH_OF_FOLDS
        out = np.ones(len(rest))
        out[: len(regions)] = _dimming(self.head, self.table)
        inside = np.isin(regions, [REGIONS.index(name) for name in _INSIDE])
        outside = np.concatenate([np.flatnonzero(~inside), np.arange(shirt, throat)])
        out[outside] *= np.maximum(left, _DARKEST)[outside]
        neck = np.append(np.flatnonzero(regions == REGIONS.index("neck")), np.arange(throat, len(rest)))
        out[neck] = np.maximum(left[neck], _COLLAR)
        return out


def _moved(points: np.ndarray, T: np.ndarray) -> np.ndarray:
    return points @ T[:3, :3].T + T[:3, 3]


def _incidence(faces: np.ndarray, vertices: int) -> Any:
    """Sparse sum of the triangles' values at their corners."""
    from scipy.sparse import csr_matrix

    rows, columns = faces.ravel(), np.repeat(np.arange(len(faces)), 3)
    return csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), (vertices, len(faces)))


def _dimming(head: LinearHead, table: LandmarkTable) -> Float[np.ndarray, " v"]:
    """Light that reaches what moves or is not modelled, per vertex: a dark mouth, lidded eyeballs, nostrils."""
    regions, at = head.regions.numpy(), head.template.numpy()
    out = np.ones(len(at))

    def region(*names: str) -> np.ndarray:
        return np.isin(regions, [REGIONS.index(name) for name in names])

    deep = np.clip((0.046 - at[:, 2]) / 0.035, 0, 1)
    out[region("inner_mouth")] = (0.75 - 0.65 * deep)[region("inner_mouth")]
    out[region("teeth", "tongue")] = (0.85 - 0.6 * deep)[region("teeth", "tongue")]
    eyes = region("eyes")
    above = at[eyes, 1] - head.joint_positions(head.template).numpy()[2, 1]
    out[eyes] = 0.92 - 0.45 * np.clip((above - 0.001) / 0.008, 0, 1)
    landmarks = landmarks_on(at, head, table)
    for nostril in _NOSTRILS:
        away = ((at - landmarks[list(nostril)].mean(0)) ** 2).sum(1)
        out *= 1 - 0.8 * np.exp(-away / _NOSTRIL_M**2)
    return out


def _window(camera: Camera, points: np.ndarray) -> tuple[tuple[slice, slice], Camera]:
    """Rows and columns that hold all points, and the camera that sees just these."""
    pixels = camera.project(points)
    low = np.clip(np.floor(pixels.min(0)) - 1, 0, (camera.width, camera.height)).astype(int)
    high = np.clip(np.ceil(pixels.max(0)) + 1, low, (camera.width, camera.height)).astype(int)
    (left, top), (width, height) = low.tolist(), (high - low).tolist()
    near = replace(camera, width=width, height=height, cx=camera.cx - left, cy=camera.cy - top)
    return (slice(top, top + height), slice(left, left + width)), near


def _texel_maps(values: Float[np.ndarray, "h w 3"]) -> tuple[np.ndarray, np.ndarray]:
    """Atlas columns and rows as `cv2.remap` counts them: texel centres at whole numbers."""
    half = np.float32(0.5)
    return values[..., 0] * np.float32(WIDTH) - half, values[..., 1] * np.float32(HEIGHT) - half


def _developed(
    seen: Buffers, texture: UInt8[np.ndarray, "1024 2048 3"], plate: UInt8[np.ndarray, "h w 3"]
) -> UInt8[np.ndarray, "h w 3"]:
    """Texture times shade, averaged over each pixel's samples, over the plate."""
    import cv2

    color = cv2.remap(texture, *_texel_maps(seen.values), cv2.INTER_LINEAR)
    shade = seen.values[..., 2] * np.float32(_SHADE_RANGE)  # 0, so black, where nothing is
    lit = cv2.multiply(color, cv2.merge([shade, shade, shade]), dtype=cv2.CV_8U)
    cover = np.where(seen.depth < FAR_M, np.uint8(255), np.uint8(0))
    size = plate.shape[1::-1]
    small, share = (cv2.resize(x, size, interpolation=cv2.INTER_AREA) for x in (lit, cover))
    behind = cv2.merge([255 - share] * 3)
    return cv2.add(small, cv2.multiply(plate, behind, scale=1 / 255))
