"""One person for the whole clip: identity, focal length and landmark offsets, from frames of the training part.

All frames' own unknowns are eliminated by their Schur complement, so that a step costs one small solve per frame and
one of the size of the identity. It is damped: bare Gauss-Newton runs away along focal length and depth.
Shapes: k identity coefficients, s = k + 1 shared unknowns with the focal length.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from preprocess.tracking.frames import Frames, hold_bounds, solve_frames
from preprocess.tracking.landmark_evidence import (
    Information,
    LandmarkEvidence,
    Person,
    Seen,
    Targets,
    cost,
    information,
    normal_equations,
    project,
)
from preprocess.tracking.points import pose_derivative
from preprocess.tracking.types import TrackConfig


@dataclass(frozen=True)
class Shared:
    """Unknowns of the clip: identity coefficients and the logarithm of focal length over its prior."""

    identity: Float[Tensor, " k"]
    log_focal: float

    def moved(self, step: Float[Tensor, " s"]) -> Shared:
        return Shared(self.identity + step[:-1], self.log_focal + float(step[-1].clamp(-0.1, 0.1)))

    def vector(self) -> Float[Tensor, " s"]:
        return torch.cat((self.identity, torch.tensor([self.log_focal])))


def spread_over_yaw(rotation: Float[Tensor, "t 3 3"], frames: Int[Tensor, " m"], count: int) -> Int[Tensor, " c"]:
    """At most `count` of `frames`, evenly over the rank of their yaw."""
    yaw = torch.atan2(rotation[frames, 0, 2], -rotation[frames, 2, 2])
    ranks = torch.linspace(0, len(frames) - 1, min(count, len(frames))).long()
    return frames[torch.argsort(yaw)][ranks]


def solve_joint(
    person: Person, frames: Frames, targets: Targets, config: TrackConfig
) -> tuple[Person, Float[Tensor, " k"], Frames]:
    """Identity and focal length together with the frames' own parameters.

    Returns the person (neutral landmarks and focal length set), the identity and the frames.
    """
    model, focal_prior = person.model, person.focal_px
    prior = _prior_strength(len(model.identity), len(frames.rotation), config)
    shared, damping = Shared(torch.zeros(len(model.identity)), 0.0), 0.1
    frames = solve_frames(LandmarkEvidence(person, targets, config), frames, 3, config.expression_bounds)
    for _ in range(config.joint_steps):
        seen = project(person, frames, targets)
        info = information(person, frames, targets, seen, config)
        step_shared, step_frames = _joint_step(person, frames, targets, seen, info, shared, prior, damping, config)
        trial = shared.moved(step_shared)
        trial_person = person.with_shape(model.neutral(trial.identity), focal_prior * math.exp(trial.log_focal))
        trial_frames = frames.moved(step_frames, config.expression_bounds)
        trial_seen = project(trial_person, trial_frames, targets)
        before = _total(cost(seen, info.weight, frames, targets, config), shared, prior)
        after = _total(cost(trial_seen, info.weight, trial_frames, targets, config), trial, prior)
        if after > before:
            damping = damping * 8
            continue
        shared, person, frames, damping = trial, trial_person, trial_frames, max(damping * 0.3, 1e-4)
        if before - after < config.joint_tolerance * before and damping < 0.1:
            break
    return person, shared.identity, frames


def _prior_strength(k: int, frames: int, config: TrackConfig) -> Float[Tensor, " s"]:
    # Per frame: detector errors of one person repeat from frame to frame, so more frames are not more certainty.
    focal = 1 / max(config.focal_sd, 1e-6) ** 2
    return frames * torch.cat((torch.full((k,), config.identity_weight), torch.tensor([focal])))


def _total(costs: Float[Tensor, " t"], shared: Shared, prior: Float[Tensor, " s"]) -> float:
    return float(costs.double().sum() + (prior * shared.vector().square()).double().sum() / 2)


def _joint_step(
    person: Person, frames: Frames, targets: Targets, seen: Seen, info: Information, shared: Shared,
    prior: Tensor, damping: float, config: TrackConfig,
) -> tuple[Float[Tensor, " s"], Float[Tensor, "t 58"]]:  # fmt: skip
    """One damped step of all unknowns by the Schur complement of the frames' blocks."""
    a, g = normal_equations(person, seen, info, frames, targets, config)
    a, g, free = hold_bounds(a, g, frames, config.expression_bounds)
    a.diagonal(dim1=1, dim2=2).mul_(1 + damping)
    b = _coupling(person, seen, info) * free[..., None]
    c, d = _shared_block(person, seen, info)
    c = c + torch.diag(prior).double()
    c.diagonal().mul_(1 + damping)
    d = d + (prior * shared.vector()).double()
    factor = torch.linalg.cholesky(a)
    solved = torch.cholesky_solve(torch.cat((b, g[..., None]), -1), factor)
    schur = c - torch.einsum("tpi,tpj->ij", b, solved[..., :-1]).double()
    right = d - torch.einsum("tpi,tp->i", b, solved[..., -1]).double()
    step = -torch.linalg.solve(schur, right).float()
    return step, -(solved[..., -1] + solved[..., :-1] @ step)


def _coupling(person: Person, seen: Seen, info: Information) -> Float[Tensor, "t 58 s"]:
    """Blocks between each frame's unknowns and the shared ones."""
    model, (t, n) = person.model, info.weight.shape
    derivative = pose_derivative(seen.head).reshape(t, n * 3, 6)
    # The pixel moves away from the principal point with log f.
    focal = _focal_force(person, seen, info)
    force = torch.cat((torch.einsum("tnij,knj->tkni", info.matrix, model.identity), focal[:, None]), 1).flatten(2)
    return torch.cat(
        (derivative.transpose(1, 2) @ force.transpose(1, 2), (force @ model.expression.flatten(1).T).mT), 1
    )


def _focal_force(person: Person, seen: Seen, info: Information) -> Float[Tensor, "t n 3"]:
    moved = (seen.pixels - person.centre_px) * info.weight[..., None]
    return torch.einsum("tnij,tni->tnj", info.pixel, moved)


def _shared_block(person: Person, seen: Seen, info: Information) -> tuple[Tensor, Tensor]:
    """Matrix (s, s) and gradient (s) of the shared unknowns, float64."""
    identity = person.model.identity
    total = torch.einsum("nij,knj->kni", info.matrix.sum(0), identity)
    away = seen.pixels - person.centre_px
    k = len(identity)
    c, d = torch.empty(k + 1, k + 1, dtype=torch.float64), torch.empty(k + 1, dtype=torch.float64)
    c[:k, :k] = (total.flatten(1) @ identity.flatten(1).T).double()
    c[:k, k] = c[k, :k] = torch.einsum("knj,nj->k", identity, _focal_force(person, seen, info).sum(0)).double()
    c[k, k] = (info.weight * away.square().sum(-1)).double().sum()
    d[:k] = torch.einsum("knj,nj->k", identity, info.gradient.sum(0)).double()
    d[k] = (info.weight * (away * seen.residual).sum(-1)).double().sum()
    return c, d


def solve_offsets(
    person: Person, frames: Frames, targets: Targets, config: TrackConfig, rounds: int = 6
) -> tuple[Person, Frames, Float[Tensor, "n 3"]]:
    """Where this person's landmarks lie beside the calibrated ones: alternately offsets and frames.

    Returns the person with the offsets in its neutral landmarks, the frames, and the offsets (head frame, metres).
    """
    base, offsets = person.neutral, torch.zeros_like(person.neutral)
    # Errors of one landmark repeat over about 25 neighbouring frames; what remains is so much weaker than the data
    # that the prior only decides about depth in clips without rotation.
    strength = len(frames.rotation) * 1e-2 / (config.offset_sd_mm * 1e-3) ** 2
    for _ in range(rounds):
        info = information(person, frames, targets, project(person, frames, targets), config)
        matrix = info.matrix.sum(0) + strength * torch.eye(3)
        gradient = info.gradient.sum(0) + strength * offsets
        offsets = offsets - torch.linalg.solve(matrix, gradient[..., None])[..., 0]
        person = person.with_shape(base + offsets, person.focal_px)
        frames = solve_frames(LandmarkEvidence(person, targets, config), frames, 3, config.expression_bounds)
    return person, frames, offsets
