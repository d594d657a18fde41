"""What the detected landmarks say about pose and expression."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

from avatar.head.arkit import ARKIT_INDEX
from avatar.types import N_EXPRESSIONS
from cuda_ext import ops
from preprocess.tracking.frames import Frames, Linearised
from preprocess.tracking.landmarks import LandmarkModel
from preprocess.tracking.points import N_POSE, back_projected, displaced, pixel_derivative, point_gradient
from preprocess.tracking.types import TrackConfig

_SIDEWAYS = {"eyeLookOutLeft": 1, "eyeLookInLeft": -1, "eyeLookInRight": -1, "eyeLookOutRight": 1}
_UPWARDS = {"eyeLookUpLeft": 1, "eyeLookDownLeft": -1, "eyeLookUpRight": -1, "eyeLookDownRight": 1}
"""How much further the left eye looks to the left, and up, than the right one."""


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

    @staticmethod
    def cat(parts: list[Targets]) -> Targets:
        """Join chunks in order."""
        return Targets(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(Targets)))


@dataclass(frozen=True)
class Person:
    """What all frames share."""

    neutral: Float[Tensor, "n 3"]
    focal_px: float
    centre_px: Float[Tensor, "2"]
    model: LandmarkModel

    def with_shape(self, neutral: Float[Tensor, "n 3"], focal_px: float) -> Person:
        """The same head with other neutral landmarks and focal length."""
        return Person(neutral, focal_px, self.centre_px, self.model)


@dataclass(frozen=True)
class Seen:
    """Landmarks of t frames as the current parameters place them."""

    head: Float[Tensor, "t n 3"]
    camera: Float[Tensor, "t n 3"]
    pixels: Float[Tensor, "t n 2"]
    residual: Float[Tensor, "t n 2"]


def project(person: Person, frames: Frames, targets: Targets) -> Seen:
    """Pose and project the landmarks."""
    head = displaced(person.neutral, person.model.expression, frames.expression)
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
    gradient: Float[Tensor, "t n 3"]

    @property
    def rows(self) -> Float[Tensor, "t n 2 3"]:
        """`pixel` for residuals of unit weight."""
        return self.pixel * self.weight.sqrt()[..., None, None]

    @property
    def matrix(self) -> Float[Tensor, "t n 3 3"]:
        """Second derivative by the head-frame point."""
        return self.pixel.mT @ (self.pixel * self.weight[..., None, None])


def information(person: Person, frames: Frames, targets: Targets, seen: Seen, config: TrackConfig) -> Information:
    """Weights and derivatives at the current parameters."""
    pixel = pixel_derivative(frames.rotation, seen.camera, person.focal_px)
    trust = robust_weights(seen.residual, targets, person.model, config)
    weight = trust * targets.weights / targets.sigma_px[:, None] ** 2
    return Information(weight, pixel, back_projected(pixel, weight[..., None] * seen.residual))


def normal_equations(
    person: Person, seen: Seen, info: Information, frames: Frames, targets: Targets, config: TrackConfig
) -> tuple[Float[Tensor, "t 58 58"], Float[Tensor, "t 58"]]:
    """Matrix and gradient of the 6 + 52 unknowns of each frame, expression prior included."""
    a = ops.normal_matrix(person.model.expression.permute(1, 2, 0), seen.head, info.rows)
    g = point_gradient(person.model.expression, seen.head, info.gradient)
    prior, together = config.expression_sd**-2, _eyes_together(config)
    a.diagonal(dim1=1, dim2=2)[:, N_POSE:] += prior
    a[:, N_POSE:, N_POSE:] += together
    g[:, N_POSE:] += prior * (frames.expression - targets.scores) + frames.expression @ together
    return a, g


def cost(seen: Seen, weight: Float[Tensor, "t n"], frames: Frames, targets: Targets, config: TrackConfig) -> Tensor:
    """Half the weighted squared error of each frame, with its expression prior."""
    data = (weight * seen.residual.square().sum(-1)).sum(1)
    prior = ((frames.expression - targets.scores) / config.expression_sd).square().sum(1)
    apart = ((frames.expression @ _eyes_together(config)) * frames.expression).sum(1)
    return (data + prior + apart) / 2


def _eyes_together(config: TrackConfig) -> Float[Tensor, "52 52"]:
    """Quadratic cost of looking in two directions at once."""
    apart = torch.zeros(2, N_EXPRESSIONS)
    for row, actions in zip(apart, (_SIDEWAYS, _UPWARDS), strict=True):
        for name, sign in actions.items():
            row[ARKIT_INDEX[name]] = sign
    return apart.mT @ apart / config.gaze_apart_sd**2


@dataclass(frozen=True)
class LandmarkEvidence:
    """Landmarks and scores of t frames, for a known person."""

    person: Person
    targets: Targets
    config: TrackConfig

    def __getitem__(self, frames) -> LandmarkEvidence:
        return LandmarkEvidence(self.person, self.targets[frames], self.config)

    def linearise(self, frames: Frames) -> Linearised:
        person, targets, config = self.person, self.targets, self.config
        seen = project(person, frames, targets)
        info = information(person, frames, targets, seen, config)
        a, g = normal_equations(person, seen, info, frames, targets, config)

        def under_these_weights(other: Frames) -> Tensor:
            return cost(project(person, other, targets), info.weight, other, targets, config)

        # Beside a prior or other evidence: the equations take all landmarks for independent witnesses.
        share = config.independent_landmarks / float(person.model.weights.sum())
        return share * Linearised(a, g, cost(seen, info.weight, frames, targets, config), under_these_weights)
