"""The photometric pass: every frame's pose and expression once more, from the pixels.

The detector's landmarks shiver by half a pixel and know little of cheeks and brows. So the person's looks are learned
along the landmark track, from frames of the training part only, and each frame is then moved until its pixels agree
with them, landmarks and scores still having their say: direct image alignment (Lucas and Kanade 1981) of an appearance
that lives on the head's surface, by the same damped Gauss-Newton.
"""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from avatar.head.model import HeadModel
from avatar.progress import progress
from avatar.types import Camera
from cuda_ext import ops
from preprocess.tracking.appearance import (
    Appearance,
    Pictures,
    Read,
    SurfacePoints,
    learn_appearance,
    place,
    sampled,
    visibility,
)
from preprocess.tracking.frames import Frames, Linearised, Remembered, solve_frames
from preprocess.tracking.landmark_evidence import LandmarkEvidence
from preprocess.tracking.points import point_gradient
from preprocess.tracking.types import PhotometricConfig


@dataclass(frozen=True)
class PhotometricEvidence:
    """The pixels of t frames beside an appearance."""

    appearance: Appearance
    lens: tuple[float, float, float]
    pictures: Float[Tensor, "t h w 9"]
    """Colours, and their slopes by x and y."""
    weights: Float[Tensor, "t n"]
    """Of each point in each frame."""

    @staticmethod
    def at(
        frames: Frames, numbers: Int[np.ndarray, " t"], appearance: Appearance, pictures: Pictures, share: float
    ) -> PhotometricEvidence:
        """Reads the pictures; which points are visible is decided at `frames`. `share`: of what the pixels say."""
        points, camera = appearance.points, pictures.camera
        placed = place(points, frames, camera)
        person = sampled((pictures.person(int(i)) for i in numbers), placed)
        weights = share * appearance.surface.precision * visibility(points, frames, placed) * person
        images = torch.stack([_with_slopes(pictures.picture(int(i))) for i in numbers])
        return PhotometricEvidence(appearance, (camera.fx, camera.cx, camera.cy), images, weights)

    def linearise(self, frames: Frames) -> Linearised:
        points, surface = self.appearance.points, self.appearance.surface
        head = points.displaced(frames.expression)
        found = ops.align(self._views(frames), head, self.weights, surface)
        basis, few = points.expression, slice(None, None, surface.stride)
        a = ops.normal_matrix(basis[:, few].permute(1, 2, 0), head[:, few], found.rows)

        def cost(other: Frames) -> Tensor:
            elsewhere = points.displaced(other.expression)
            return ops.alignment_cost(self._views(other), elsewhere, found.lit, found.trust)

        return Linearised(a, point_gradient(basis, head, found.gradient), found.value, cost)

    def _views(self, frames: Frames) -> ops.Views:
        return ops.Views(self.pictures, self.lens, frames.rotation, frames.translation)


@dataclass(frozen=True)
class _Both:
    landmarks: LandmarkEvidence
    pixels: PhotometricEvidence

    def linearise(self, frames: Frames) -> Linearised:
        return self.landmarks.linearise(frames) + self.pixels.linearise(frames)


def refine_frames(
    head: HeadModel, neutral: Float[Tensor, "v 3"], evidence: LandmarkEvidence, frames: Frames,
    numbers: Int[np.ndarray, " t"], learn: Bool[np.ndarray, " t"], camera: Camera, frame: Read, mask: Read,
    config: PhotometricConfig, pool: Executor,
) -> Remembered:  # fmt: skip
    """Frames that agree with the pixels, each on its own, and how sure landmarks and pixels are of them.

    Args:
        neutral: the person's vertices.
        numbers: of the frames' pictures.
        learn: frames that the appearance may be learned from.
        camera: the capture's.
        frame, mask: the capture's pictures (RGB) and person masks, by number.
    """
    camera = camera.with_long_side(min(config.long_side, max(camera.width, camera.height)))
    pictures = Pictures(camera, frame, mask, config.blur_px)
    points = SurfacePoints.spread(head, neutral, config.points)
    chosen = np.flatnonzero(learn)
    chosen = chosen[np.linspace(0, len(chosen) - 1, min(len(chosen), config.learn_frames)).astype(int)]
    with progress("refining the track", config.rounds * len(numbers)) as bar:
        for done in range(config.rounds):
            appearance = learn_appearance(points, frames[chosen], numbers[chosen], pictures)
            refine = partial(_refine_chunk, appearance, evidence, frames, numbers, pictures, config)
            parts = []
            for part in pool.map(refine, torch.arange(len(numbers)).split(config.chunk_frames)):
                parts.append(part)
                bar.update(done * len(numbers) + min(len(parts) * config.chunk_frames, len(numbers)))
            found = Remembered.cat(parts)
            frames = found.at
    return found


def _refine_chunk(
    appearance: Appearance, evidence: LandmarkEvidence, frames: Frames, numbers: Int[np.ndarray, " t"],
    pictures: Pictures, config: PhotometricConfig, chunk: Int[Tensor, " c"],
) -> Remembered:  # fmt: skip
    frames, share = frames[chunk], config.independent_points / config.points
    pixels = PhotometricEvidence.at(frames, numbers[chunk], appearance, pictures, share)
    both = _Both(evidence[chunk], pixels)
    frames = solve_frames(both, frames, config.steps, evidence.config.expression_bounds)
    here = both.linearise(frames)
    return Remembered(frames, here.matrix, here.gradient)


def _with_slopes(image: Float[np.ndarray, "h w 3"]) -> Float[Tensor, "h w 9"]:
    slopes = [cv2.Sobel(image, cv2.CV_32F, *axis, ksize=3, scale=1 / 8) for axis in ((1, 0), (0, 1))]
    return torch.from_numpy(np.concatenate([image, *slopes], 2))
