"""A quick model of one person's looks: points on the face's surface, and the colour of each, learned from the clip."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from avatar.head.model import REGIONS, HeadModel
from avatar.types import Camera
from cuda_ext import ops
from preprocess.tracking.frames import Frames
from preprocess.tracking.points import displaced

Read = Callable[[int], UInt8[np.ndarray, "h w *c"]]

TRACKED_REGIONS = ("skin", "face", "lips", "eyes", "ears")
LIP_DENSITY = 5.0
"""Lips are a fiftieth of the surface, and most of what speech moves."""
FACING = (0.25, 0.5)
"""Cosine between a point's normal and the direction to the camera: below the first it is not used, above the second it
counts fully."""
COLOR_NOISE = 0.02
"""Least standard deviation of a colour, in [0, 1] units: sensor, compression, interpolation."""
OUTLIER = 3.0
"""Colours off by more than this many standard deviations count less and less (Geman and McClure)."""
MIN_SEEN = 0.1
"""Points visible in less than this share of the frames that were learned from are not used."""
LIGHT_RIDGE = (0.0, 0.02, 0.02, 0.02)
"""Pull of a frame's light back to the clip's, of all the evidence: brightness is free, its direction nearly so."""
STRIDE = 3
"""Light and curvature need no precision: one of so many points speaks for all."""
LEARN_ROUNDS = 6
KEPT_BYTES = 200e6
"""Every picture is looked at four times; of clips longer than a minute, not all fit."""


@dataclass(frozen=True)
class SurfacePoints:
    """n points on one person's neutral mesh."""

    neutral: Float[Tensor, "n 3"]
    normals: Float[Tensor, "n 3"]
    expression: Float[Tensor, "52 n 3"]

    def displaced(self, expression: Float[Tensor, "t 52"]) -> Float[Tensor, "t n 3"]:
        """The points under expressions, head frame."""
        return displaced(self.neutral, self.expression, expression)

    @staticmethod
    def spread(head: HeadModel, neutral: Float[Tensor, "v 3"], count: int, seed: int = 0) -> SurfacePoints:
        """Random points by area, denser on the lips, on the regions that follow the tracked expressions."""
        generator = torch.Generator().manual_seed(seed)
        faces = head.faces.long()
        tracked = torch.isin(head.regions, torch.tensor([REGIONS.index(name) for name in TRACKED_REGIONS]))
        triangles = faces[tracked[faces].all(1)]
        corners = neutral[triangles]
        normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        area = normals.norm(dim=1) * (normals[:, 2] > 0)  # the back of an eyeball is never seen
        lips = (head.regions[triangles] == REGIONS.index("lips")).all(1)
        area = torch.where(lips, area * LIP_DENSITY, area)
        chosen = torch.multinomial(area, count, replacement=True, generator=generator)
        weights = torch.rand(count, 2, generator=generator)
        weights = torch.where(weights.sum(1, keepdim=True) > 1, 1 - weights, weights)
        weights = torch.cat((1 - weights.sum(1, keepdim=True), weights), 1)

        def at_points(field: Tensor) -> Tensor:
            return (field[..., triangles[chosen], :] * weights[..., None]).sum(-2)

        unit = torch.nn.functional.normalize(normals[chosen], dim=1)
        return SurfacePoints(at_points(neutral), unit, at_points(head.expression_basis))


@dataclass(frozen=True)
class Placed:
    """The points in t frames."""

    camera: Float[Tensor, "t n 3"]
    pixels: Float[Tensor, "t n 2"]


def place(points: SurfacePoints, frames: Frames, camera: Camera) -> Placed:
    """Pose and project the points; `camera` is that of the pictures."""
    local = points.displaced(frames.expression) @ frames.rotation.mT + frames.translation[:, None]
    centre = torch.tensor([camera.cx, camera.cy])
    return Placed(local, camera.fx * local[..., :2] / local[..., 2:].clamp_min(1e-3) + centre)


def visibility(points: SurfacePoints, frames: Frames, placed: Placed) -> Float[Tensor, "t n"]:
    """0 for points that turn away from the camera, 1 for those that face it."""
    cosine = -torch.cosine_similarity(points.normals @ frames.rotation.mT, placed.camera, dim=-1)
    return ((cosine - FACING[0]) / (FACING[1] - FACING[0])).clamp(0, 1)


@dataclass(frozen=True)
class Pictures:
    """Frames of a capture at the size at which they are compared. The first ones stay in memory, as many as fit."""

    camera: Camera
    frame: Read
    mask: Read
    blur_px: float
    _kept: dict[int, tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]] = field(default_factory=dict)

    def picture(self, index: int) -> Float[np.ndarray, "h w 3"]:
        """Colours in [0, 1], slightly blurred."""
        return cv2.GaussianBlur(self._small(index)[0].astype(np.float32) / 255, (0, 0), self.blur_px)

    def person(self, index: int) -> Float[np.ndarray, "h w"]:
        """Confidence that a pixel belongs to the person."""
        return self._small(index)[1].astype(np.float32) / 255

    def _small(self, index: int) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
        if (kept := self._kept.get(index)) is not None:
            return kept
        size = (self.camera.width, self.camera.height)
        picture, mask = (
            cv2.resize(read(index), size, interpolation=cv2.INTER_AREA) for read in (self.frame, self.mask)
        )
        if len(self._kept) * (picture.nbytes + mask.nbytes) < KEPT_BYTES:
            self._kept[index] = picture, mask
        return picture, mask


def sampled(images: Iterable[Float[np.ndarray, "h w *c"]], placed: Placed) -> Float[Tensor, "t n *c"]:
    """Bilinear values of each frame's picture at its points (pixel centres at +0.5); the border is repeated outside."""
    values = []
    for image, at in zip(images, placed.pixels.numpy() - 0.5, strict=True):
        x, y = np.ascontiguousarray(at.T)[..., None]
        got = cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        values.append(torch.from_numpy(got[:, 0]))
    return torch.stack(values)


@dataclass(frozen=True)
class Appearance:
    """What each of n points looks like."""

    points: SurfacePoints
    surface: ops.ColoredSurface
    """Its precision is 0 for points that were hardly ever seen."""


def learn_appearance(
    points: SurfacePoints, frames: Frames, numbers: Int[np.ndarray, " t"], pictures: Pictures
) -> Appearance:
    """Robust mean of each point's colour over t frames; `numbers` are those of their pictures."""
    placed = place(points, frames, pictures.camera)
    colors = sampled((pictures.picture(int(i)) for i in numbers), placed)
    person = sampled((pictures.person(int(i)) for i in numbers), placed)
    weights = person * visibility(points, frames, placed)
    trusted, mean = weights, _mean(colors, weights)
    for _ in range(LEARN_ROUNDS):
        off2 = (colors - mean).square().mean(-1)
        trusted = weights * (1 + off2 / (OUTLIER * 1.5 * COLOR_NOISE) ** 2) ** -2
        mean = _mean(colors, trusted)
    variance = _mean((colors - mean).square().mean(-1, keepdim=True), trusted)[:, 0] + COLOR_NOISE**2
    precision = (weights.mean(0) > MIN_SEEN) / variance
    return Appearance(points, ops.ColoredSurface(points.normals, mean, precision, OUTLIER, LIGHT_RIDGE, STRIDE))


def _mean(values: Float[Tensor, "t n c"], weights: Float[Tensor, "t n"]) -> Float[Tensor, "n c"]:
    return torch.einsum("tnc,tn->nc", values, weights) / weights.sum(0).clamp(min=1e-3)[:, None]
