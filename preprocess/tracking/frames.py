"""Pose and expression of many frames, and the damped Gauss-Newton that finds them from any evidence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from avatar.geometry import axis_angle_to_matrix, matrix_to_axis_angle
from preprocess.tracking.points import N_POSE


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
class Linearised:
    """A quadratic model of the cost of t frames, at the frames where it was made."""

    matrix: Float[Tensor, "t 58 58"]
    gradient: Float[Tensor, "t 58"]
    value: Float[Tensor, " t"]
    cost: Callable[[Frames], Float[Tensor, " t"]]
    """The cost of other frames under the robust weights found here."""

    def __add__(self, other: Linearised) -> Linearised:
        return Linearised(
            self.matrix + other.matrix, self.gradient + other.gradient, self.value + other.value,
            lambda frames: self.cost(frames) + other.cost(frames),
        )  # fmt: skip

    def __rmul__(self, share: float) -> Linearised:
        return Linearised(
            share * self.matrix, share * self.gradient, share * self.value, lambda frames: share * self.cost(frames)
        )


@runtime_checkable
class Evidence(Protocol):
    """What speaks for a pose and an expression in each frame."""

    def linearise(self, frames: Frames) -> Linearised: ...


@dataclass(frozen=True)
class Remembered:
    """Evidence that is known by its quadratic model at some frames only: pictures need not be read again."""

    at: Frames
    matrix: Float[Tensor, "t 58 58"]
    gradient: Float[Tensor, "t 58"]

    def __getitem__(self, frames) -> Remembered:
        return Remembered(self.at[frames], self.matrix[frames], self.gradient[frames])

    @staticmethod
    def cat(parts: list[Remembered]) -> Remembered:
        """Join chunks in order."""
        return Remembered(
            Frames.cat([p.at for p in parts]),
            torch.cat([p.matrix for p in parts]),
            torch.cat([p.gradient for p in parts]),
        )

    def linearise(self, frames: Frames) -> Linearised:
        moved = self._moved(frames)
        pull = (self.matrix @ moved[..., None])[..., 0]
        return Linearised(self.matrix, self.gradient + pull, self._cost(frames), self._cost)

    def _cost(self, frames: Frames) -> Float[Tensor, " t"]:
        moved = self._moved(frames)
        return (moved * (self.gradient + (self.matrix @ moved[..., None])[..., 0] / 2)).sum(1)

    def _moved(self, frames: Frames) -> Float[Tensor, "t 58"]:
        """The increment that leads to other frames."""
        back = self.at.rotation.mT
        turned = matrix_to_axis_angle(back @ frames.rotation)
        shifted = (back @ (frames.translation - self.at.translation)[..., None])[..., 0]
        return torch.cat((turned, shifted, frames.expression - self.at.expression), 1)


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


def solve_frames(evidence: Evidence, frames: Frames, steps: int, bounds: tuple[float, float]) -> Frames:
    """Levenberg-Marquardt on each frame.

    Robust weights are refreshed every step (iteratively reweighted least squares); a step is kept where it lowers the
    cost under the weights it was made with.
    """
    damping = torch.full((len(frames.rotation),), 1e-2)
    for _ in range(steps):
        here = evidence.linearise(frames)
        a, g, _ = hold_bounds(here.matrix, here.gradient, frames, bounds)
        a.diagonal(dim1=1, dim2=2).mul_(1 + damping[:, None])
        step = -torch.cholesky_solve(g[..., None], torch.linalg.cholesky(a))[..., 0]
        trial = frames.moved(step, bounds)
        better = here.cost(trial) <= here.value * (1 + 1e-6)
        damping = torch.where(better, damping * 0.2, damping * 10).clamp(1e-6, 1e6)
        frames = trial.where(better, frames)
    return frames
