"""The photometric pass: every frame's pose and expression once more, from the pixels.

The detector's landmarks shiver by half a pixel and know little of cheeks and brows. So the person's looks are learned
along the landmark track, from frames of the training part only, and each frame is then moved until its pixels agree
with them, landmarks and scores still having their say: direct image alignment (Lucas and Kanade 1981) of an appearance
that lives on the head's surface, by the same damped Gauss-Newton.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
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
    FEW,
    OUTLIER,
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
from preprocess.tracking.points import back_projected, pixel_derivative, point_gradient
from preprocess.tracking.types import PhotometricConfig

LIGHT_RIDGE = (0.0, 0.02, 0.02, 0.02)
"""Pull of a frame's light back to the clip's, of all the evidence: brightness is free, its direction nearly so."""


@dataclass(frozen=True)
class PhotometricEvidence:
    """The pixels of t frames beside an appearance."""

    appearance: Appearance
    camera: Camera
    pictures: list[Float[np.ndarray, "h w 3"]]
    slopes: list[tuple[Float[np.ndarray, "h w 3"], Float[np.ndarray, "h w 3"]]]
    """Derivatives of the pictures by x and by y."""
    weights: Float[Tensor, "t n"]
    """Of each point in each frame."""

    @staticmethod
    def at(
        frames: Frames, numbers: Int[np.ndarray, " t"], appearance: Appearance, pictures: Pictures, share: float
    ) -> PhotometricEvidence:
        """Reads the pictures; which points are visible is decided at `frames`. `share`: of what the pixels say."""
        placed = place(appearance.points, frames, pictures.camera)
        person = sampled((pictures.person(int(i)) for i in numbers), placed)
        weights = share * appearance.precision * visibility(appearance.points, frames, placed) * person
        images = [pictures.picture(int(i)) for i in numbers]
        return PhotometricEvidence(appearance, pictures.camera, images, [_slopes(i) for i in images], weights)

    def linearise(self, frames: Frames) -> Linearised:
        placed = place(self.appearance.points, frames, self.camera)
        seen = sampled(self.pictures, placed)
        lit = self._lit(seen, frames)
        residual = seen - lit
        trust = self.weights * self._trust(residual)
        slopes = torch.stack([sampled([pair[axis] for pair in self.slopes], placed) for axis in (0, 1)], 2)
        pixel = pixel_derivative(frames.rotation, placed.camera, self.camera.fx)
        force = (slopes * residual[:, :, None]).sum(-1) * trust[..., None]
        basis, few = self.appearance.points.expression, slice(None, None, FEW)
        rows = _root((FEW * trust[:, few]).sqrt()[..., None, None] * slopes[:, few]).mT @ pixel[:, few]
        a = ops.normal_matrix(basis[:, few].permute(1, 2, 0), placed.head[:, few], rows)
        g = point_gradient(basis, placed.head, back_projected(pixel, force))

        def cost(other: Frames) -> Tensor:
            return _half_squares(sampled(self.pictures, place(self.appearance.points, other, self.camera)) - lit, trust)

        return Linearised(a, g, _half_squares(residual, trust), cost)

    def _lit(self, seen: Float[Tensor, "t n 3"], frames: Frames) -> Float[Tensor, "t n 3"]:
        """The appearance in each frame's light: per channel a factor that is linear in the normal, as under distant
        lamps (the first order of Ramamoorthi and Hanrahan 2001)."""
        colors, normals, few = self.appearance.colors, self.appearance.points.normals, slice(None, None, FEW)
        off = (seen - colors)[:, few]
        trust = self.weights[:, few] * self._trust(off, few)
        lamps = torch.nn.functional.pad(normals[few] @ frames.rotation.mT, (1, 0), value=1.0)  # (t, few, 4)
        shaded = lamps[:, None] * colors[few].T[..., None]  # (t, 3, few, 4)
        weighted = shaded * trust[:, None, :, None]
        matrix = weighted.mT @ shaded
        strength = matrix[..., 0, 0, None] * torch.tensor(LIGHT_RIDGE)
        light = torch.linalg.solve(matrix + torch.diag_embed(strength + 1e-9), weighted.mT @ off.mT[..., None])[..., 0]
        return colors * (1 + light[:, None, :, 0] + normals @ (light[..., 1:] @ frames.rotation).mT)

    def _trust(self, residual: Float[Tensor, "t n 3"], points: slice = slice(None)) -> Float[Tensor, "t n"]:
        off2 = residual.square().mean(-1) * self.appearance.precision[points]
        return (1 + off2 / OUTLIER**2) ** -2


@dataclass(frozen=True)
class _Both:
    landmarks: LandmarkEvidence
    pixels: PhotometricEvidence

    def linearise(self, frames: Frames) -> Linearised:
        return self.landmarks.linearise(frames) + self.pixels.linearise(frames)


def refine_frames(
    head: HeadModel, neutral: Float[Tensor, "v 3"], evidence: LandmarkEvidence, frames: Frames,
    numbers: Int[np.ndarray, " t"], learn: Bool[np.ndarray, " t"], camera: Camera, frame: Read, mask: Read,
    config: PhotometricConfig, jobs: int = 1,
) -> Remembered:  # fmt: skip
    """Frames that agree with the pixels, each on its own, and how sure landmarks and pixels are of them.

    Args:
        neutral: the person's vertices.
        numbers: of the frames' pictures.
        learn: frames that the appearance may be learned from.
        camera: the capture's.
        frame, mask: the capture's pictures (RGB) and person masks, by number; read a few times each, not kept.
        jobs: threads, each with one of torch's: OpenCV and torch leave Python's lock.
    """
    camera = camera.with_long_side(min(config.long_side, max(camera.width, camera.height)))
    pictures = Pictures(camera, frame, mask, config.blur_px)
    points = SurfacePoints.spread(head, neutral, config.points)
    chosen = np.flatnonzero(learn)
    chosen = chosen[np.linspace(0, len(chosen) - 1, min(len(chosen), config.learn_frames)).astype(int)]
    with progress("refining the track", config.rounds * len(numbers)) as bar, ThreadPoolExecutor(jobs) as pool:
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


def _slopes(image: Float[np.ndarray, "h w 3"]) -> tuple[Float[np.ndarray, "h w 3"], Float[np.ndarray, "h w 3"]]:
    return cv2.Sobel(image, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8), cv2.Sobel(
        image, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8
    )


def _root(slopes: Float[Tensor, "t n 2 3"]) -> Float[Tensor, "t n 2 2"]:
    """L with L L^T = slopes slopes^T (Cholesky): three channels weigh as two measurements."""
    structure = slopes @ slopes.mT
    first = structure[..., 0, 0].clamp_min(1e-20).sqrt()
    both = structure[..., 0, 1] / first
    second = (structure[..., 1, 1] - both.square()).clamp_min(0).sqrt()
    return torch.stack((torch.stack((first, torch.zeros_like(first)), -1), torch.stack((both, second), -1)), -2)


def _half_squares(residual: Float[Tensor, "t n 3"], weights: Float[Tensor, "t n"]) -> Float[Tensor, " t"]:
    return (weights * residual.square().sum(-1)).sum(1) / 2
