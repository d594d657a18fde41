"""Damped Gauss-Newton on all frames of a chunk at once.

Every unknown moves landmarks in the head frame, so the normal equations are built from one 3x3 information matrix
Q = R^T Jp^T w Jp R per landmark (Jp: derivative of the pixel by the camera-space point): the block of unknowns a and b
with head-frame derivatives Da and Db is sum Da^T Q Db. The Jacobian itself is never stored, and the large
expression block is one matrix product of the Qs with precomputed products of the basis.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from avatar.geometry import axis_angle_to_matrix, skew
from preprocess.tracking.landmarks import LandmarkModel
from preprocess.tracking.types import TrackConfig

N_POSE = 6
_AXES = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))


@dataclass(frozen=True)
class Targets:
    """What t frames should look like."""

    landmarks_px: Float[Tensor, "t n 2"]
    scores: Float[Tensor, "t 52"]
    sigma_px: Float[Tensor, " t"]
    """Standard deviation of a landmark: its noise on the face, seen at the frame's scale."""
    weights: Float[Tensor, "t n"]
    """Of each landmark beside that."""

    def __getitem__(self, frames) -> Targets:
        return Targets(self.landmarks_px[frames], self.scores[frames], self.sigma_px[frames], self.weights[frames])


@dataclass(frozen=True)
class Frames:
    """Pose and expression of t frames. Increments: rotation about the head's axes, then translation along them."""

    rotation: Float[Tensor, "t 3 3"]
    translation: Float[Tensor, "t 3"]
    expression: Float[Tensor, "t 52"]

    def __getitem__(self, frames) -> Frames:
        return Frames(self.rotation[frames], self.translation[frames], self.expression[frames])

    def moved(self, step: Float[Tensor, "t 58"], bounds: tuple[float, float]) -> Frames:
        """These frames after a step; expressions stay within bounds."""
        return Frames(
            self.rotation @ axis_angle_to_matrix(step[:, :3]),
            self.translation + (self.rotation @ step[:, 3:6, None])[..., 0],
            (self.expression + step[:, 6:]).clamp(*bounds),
        )

    def where(self, keep: Tensor, other: Frames) -> Frames:
        """These frames where `keep`, else those of `other`."""
        return Frames(
            torch.where(keep[:, None, None], self.rotation, other.rotation),
            torch.where(keep[:, None], self.translation, other.translation),
            torch.where(keep[:, None], self.expression, other.expression),
        )

    @staticmethod
    def cat(parts: list[Frames]) -> Frames:
        """Join chunks in order."""
        return Frames(*(torch.cat([getattr(p, f) for p in parts]) for f in ("rotation", "translation", "expression")))


@dataclass(frozen=True)
class Person:
    """What all frames share, with the products that only depend on it."""

    neutral: Float[Tensor, "n 3"]
    focal_px: float
    centre_px: Float[Tensor, "2"]
    model: LandmarkModel
    products: Float[Tensor, "n*6 1378"]
    """Products of expression displacements, upper triangle, matching the packed Q."""
    unpack: Int[Tensor, "52 52"]
    """Where an entry of the expression block lies among the 1378."""

    def with_shape(self, neutral: Float[Tensor, "n 3"], focal_px: float) -> Person:
        """The same head with other neutral landmarks and focal length."""
        return Person(neutral, focal_px, self.centre_px, self.model, self.products, self.unpack)


def make_person(model: LandmarkModel, neutral: Tensor, focal_px: float, centre_px: Tensor) -> Person:
    """Precompute the expression products of a landmark model."""
    basis = model.expression
    first, second = torch.triu_indices(len(basis), len(basis))
    packed = [
        basis[first, :, i] * basis[second, :, j] + (i != j) * basis[first, :, j] * basis[second, :, i] for i, j in _AXES
    ]
    unpack = torch.zeros(len(basis), len(basis), dtype=torch.long)
    unpack[first, second] = unpack[second, first] = torch.arange(len(first))
    return Person(neutral, focal_px, centre_px, model, torch.stack(packed, -1).flatten(1).T.contiguous(), unpack)


@dataclass(frozen=True)
class Seen:
    """Landmarks of t frames as the current parameters place them."""

    head: Float[Tensor, "t n 3"]
    camera: Float[Tensor, "t n 3"]
    pixels: Float[Tensor, "t n 2"]
    residual: Float[Tensor, "t n 2"]


def project(person: Person, frames: Frames, targets: Targets) -> Seen:
    """Pose and project the landmarks."""
    basis = person.model.expression
    head = person.neutral + (frames.expression @ basis.flatten(1)).unflatten(1, basis.shape[1:])
    camera = head @ frames.rotation.transpose(1, 2) + frames.translation[:, None]
    pixels = person.focal_px * camera[..., :2] / camera[..., 2:].clamp_min(1e-3) + person.centre_px
    return Seen(head, camera, pixels, pixels - targets.landmarks_px)


def robust_weights(
    residual: Float[Tensor, "t n 2"], targets: Targets, model: LandmarkModel, config: TrackConfig, adaptive: bool = True
) -> Float[Tensor, "t n"]:
    """Trust in each landmark, 0..1, from the mean squared residual of its neighbourhood, in noise units.

    When `adaptive`, the scale grows by the frame's median residual, so that early iterations and blurred frames are not
    all outliers.
    """
    r2 = (residual / targets.sigma_px[:, None, None]).square().sum(-1)
    pooled = torch.maximum(r2, r2 @ model.pooling.T)
    scale2 = config.robust_scale**2 + (2 * r2.median(dim=1, keepdim=True).values if adaptive else 0.0)
    return (1 + pooled / scale2) ** -config.robust_power


@dataclass(frozen=True)
class Information:
    """Head-frame information of t frames' landmarks."""

    weight: Float[Tensor, "t n"]
    """Of a squared residual, per px^2."""
    pixel: Float[Tensor, "t n 2 3"]
    """Derivative of the pixel by the head-frame point."""
    matrix: Float[Tensor, "t n 3 3"]
    gradient: Float[Tensor, "t n 3"]


def information(person: Person, frames: Frames, targets: Targets, seen: Seen, config: TrackConfig) -> Information:
    """Weights, Q matrices and their gradients at the current parameters."""
    inverse = person.focal_px / seen.camera[..., 2].clamp_min(1e-3)
    slope = -inverse[..., None] * seen.camera[..., :2] / seen.camera[..., 2:].clamp_min(1e-3)
    pixel = inverse[..., None, None] * frames.rotation[:, None, :2] + slope[..., None] * frames.rotation[:, None, 2:]
    trust = robust_weights(seen.residual, targets, person.model, config)
    weight = trust * targets.weights / targets.sigma_px[:, None] ** 2
    weighted = pixel * weight[..., None, None]
    return Information(
        weight, pixel, weighted.transpose(-1, -2) @ pixel, torch.einsum("tnij,tni->tnj", weighted, seen.residual)
    )


def pose_derivative(head: Float[Tensor, "t n 3"]) -> Float[Tensor, "t n 3 6"]:
    """Head-frame motion of points by rotation and translation increments."""
    eye = torch.eye(3, dtype=head.dtype).expand(*head.shape[:-1], 3, 3)
    return torch.cat((-skew(head), eye), -1)


def normal_equations(
    person: Person, seen: Seen, info: Information, frames: Frames, targets: Targets, config: TrackConfig
) -> tuple[Float[Tensor, "t 58 58"], Float[Tensor, "t 58"]]:
    """Matrix and gradient of the 6 + 52 unknowns of each frame, expression prior included."""
    t, n = info.weight.shape
    basis = person.model.expression.flatten(1)
    packed = torch.stack([info.matrix[..., i, j] for i, j in _AXES], -1).reshape(t, n * 6)
    derivative = pose_derivative(seen.head)
    moved = info.matrix @ derivative
    a = torch.empty(t, N_POSE + len(basis), N_POSE + len(basis))
    a[:, N_POSE:, N_POSE:] = (packed @ person.products)[:, person.unpack]
    a[:, :N_POSE, :N_POSE] = torch.einsum("tnia,tnib->tab", derivative, moved)
    cross = moved.permute(0, 3, 1, 2).reshape(t, N_POSE, n * 3) @ basis.T
    a[:, :N_POSE, N_POSE:], a[:, N_POSE:, :N_POSE] = cross, cross.transpose(1, 2)
    prior = config.expression_sd**-2
    a.diagonal(dim1=1, dim2=2)[:, N_POSE:] += prior
    g_pose = torch.einsum("tnia,tni->ta", derivative, info.gradient)
    g_expression = info.gradient.flatten(1) @ basis.T + prior * (frames.expression - targets.scores)
    return a, torch.cat((g_pose, g_expression), 1)


def hold_bounds(
    a: Float[Tensor, "t p p"], g: Float[Tensor, "t p"], frames: Frames, bounds: tuple[float, float]
) -> tuple[Float[Tensor, "t p p"], Float[Tensor, "t p"], Float[Tensor, "t p"]]:
    """Freeze expressions that lie on a bound and want to leave it (projected Newton's active set).

    Returns the equations without them, and 1 where an unknown is free.
    """
    slope = g[:, N_POSE:]
    active = (frames.expression <= bounds[0]) & (slope > 0) | (frames.expression >= bounds[1]) & (slope < 0)
    free = torch.cat((torch.ones(len(g), N_POSE), (~active).float()), 1)
    a = a * free[:, :, None] * free[:, None, :]
    a.diagonal(dim1=1, dim2=2).add_(1 - free)
    return a, g * free, free


def cost(seen: Seen, weight: Float[Tensor, "t n"], frames: Frames, targets: Targets, config: TrackConfig) -> Tensor:
    """Half the weighted squared error of each frame, with its expression prior."""
    data = (weight * seen.residual.square().sum(-1)).sum(1)
    return (data + ((frames.expression - targets.scores) / config.expression_sd).square().sum(1)) / 2


def solve_frames(person: Person, frames: Frames, targets: Targets, config: TrackConfig, steps: int) -> Frames:
    """Levenberg-Marquardt on each frame: pose and expression for a known person.

    Robust weights are refreshed every step (iteratively reweighted least squares); a step is kept where it lowers the
    cost under the weights it was made with.
    """
    damping = torch.full((len(frames.rotation),), 1e-2)
    seen = project(person, frames, targets)
    for _ in range(steps):
        info = information(person, frames, targets, seen, config)
        a, g = normal_equations(person, seen, info, frames, targets, config)
        a, g, _ = hold_bounds(a, g, frames, config.expression_bounds)
        a.diagonal(dim1=1, dim2=2).mul_(1 + damping[:, None])
        step = -torch.cholesky_solve(g[..., None], torch.linalg.cholesky(a))[..., 0]
        trial = frames.moved(step, config.expression_bounds)
        trial_seen = project(person, trial, targets)
        before = cost(seen, info.weight, frames, targets, config)
        better = cost(trial_seen, info.weight, trial, targets, config) <= before * (1 + 1e-6)
        damping = torch.where(better, damping * 0.2, damping * 10).clamp(1e-6, 1e6)
        frames = trial.where(better, frames)
        pick = better[:, None, None]
        seen = Seen(*(torch.where(pick, getattr(trial_seen, f), getattr(seen, f)) for f in _SEEN))
    return frames


_SEEN = ("head", "camera", "pixels", "residual")
