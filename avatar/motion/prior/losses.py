"""What a prior is trained for: clean motion from noisy, closed lips where they close.

Straight paths x_t = (1 - t) e + t x from noise e to motion x (Lipman et al. 2023), t per frame and group. Numbers of
the motion space are whitened, so that squares weighted by `MotionSpace.importance` are squares of moved skin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from avatar.motion.face_geometry import FaceGeometry
from avatar.motion.prior.batches import Batch
from avatar.motion.prior.network import PriorNetwork
from avatar.motion.prior.noise import KERNEL, REACH, slow_of
from avatar.motion.prior.patterns import Pattern
from avatar.motion.prior.schedule import Schedule, mix_of
from avatar.motion.space import MotionSpace

LEAST_LEFT = 0.1
"""Of the way: velocities are differences over what is left of it."""
_MOST_WEIGHT = 4.0
_CLOSURE_METRES = 0.003
"""Lips less open than that count e times as much as wide open ones."""
_CLOSURE, _VELOCITY = 1.0, 0.5
_LEAST_SPEED = 0.1
_IMPORTANCE_FLOOR = 0.3


@dataclass(frozen=True)
class Metric:
    """What counts how much in a motion space."""

    weights: Float[Tensor, " d"]
    speed_weights: Float[Tensor, " d"]
    """Of errors in the change from frame to frame, in units of how fast each number usually changes: a head that sways
    slowly must not tremble."""
    group: Int[Tensor, " d"]
    """Index of each number's group."""
    slow: Float[Tensor, " d"]
    """1 for numbers whose noise is slow (`avatar.motion.prior.noise`)."""
    aperture: Float[Tensor, " d"]
    """Opening of the mouth per unit of each number, metres."""
    aperture_mean: float
    schedule: Schedule = "flow"

    @staticmethod
    def of(
        space: MotionSpace,
        geometry: FaceGeometry,
        tracks: Sequence[Float[Tensor, "_ d"]],
    ) -> Metric:
        """Of a space, a face and the training's motion."""
        lips = space.slices["lips"]
        aperture = torch.zeros(space.size)
        slope = space.lips_basis @ geometry.aperture_basis
        aperture[lips] = torch.from_numpy(slope * space.deviation[lips]).float()
        mean = geometry.aperture(space.rest_expression[None])[0] + space.mean[lips] @ slope
        group = torch.from_numpy(space.group)
        weights = torch.from_numpy(space.importance()).float().clamp(min=_IMPORTANCE_FLOOR)
        speeds = torch.cat([x.diff(dim=0) for x in tracks]).square().mean(0)
        return Metric(
            weights,
            weights / (speeds + _LEAST_SPEED**2),
            group,
            torch.from_numpy(slow_of(space.group)).float(),
            aperture,
            float(mean),
        )


def on(values, device: str):
    """A dataclass with its tensors on a device."""

    def moved(value):
        if isinstance(value, Tensor):
            return value.to(device)
        return on(value, device) if is_dataclass(value) else value

    return replace(values, **{f.name: moved(getattr(values, f.name)) for f in fields(values)})


def noisy(batch: Batch, pattern: Pattern, metric: Metric, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Motion on its way, and the level of each number."""
    levels, (b, t, d) = pattern.levels[..., metric.group], batch.x.shape
    white = torch.randn(b, t + 2 * REACH, d, generator=rng).to(batch.x.device)
    slow = white.unfold(1, len(KERNEL), 1) @ torch.from_numpy(KERNEL).to(white.device)
    noise = torch.where(metric.slow > 0, slow, white[:, REACH : REACH + t])
    of_motion, of_noise = mix_of(levels, metric.schedule)
    return of_noise * noise + of_motion * batch.x, levels


def loss(network: PriorNetwork, metric: Metric, batch: Batch, pattern: Pattern, rng: torch.Generator) -> Tensor:
    """Of flow matching."""
    x, levels = noisy(batch, pattern, metric, rng)
    given = replace(batch.given, heard=pattern.heard, partner_heard=batch.given.partner_heard * pattern.heard)
    clean = network(x, pattern.levels, given)
    return distance(metric, clean, batch.x, levels, batch.confidence, given.heard)


def distance(
    metric: Metric,
    clean: Float[Tensor, "b t d"],
    target: Float[Tensor, "b t d"],
    levels: Float[Tensor, "b t d"],
    confidence: Float[Tensor, "b t"],
    heard: Float[Tensor, "b t"],
) -> Tensor:
    """Mean error of predicted motion: places, speeds and closures, only where something was to be predicted."""
    weight = (1 / (1 - levels).clamp(min=LEAST_LEFT) ** 2).clamp(max=_MOST_WEIGHT)
    open_way = (levels < 1).float() * metric.weights * confidence[..., None]
    error = clean - target
    places = (open_way * weight * error**2).sum() / open_way.sum().clamp(min=1)
    both = (open_way / metric.weights)[:, 1:] * confidence[:, :-1, None]
    speeds = (both * metric.speed_weights * error.diff(dim=1) ** 2).sum() / (both * metric.weights).sum().clamp(min=1)
    opening = target @ metric.aperture + metric.aperture_mean
    lips = metric.aperture != 0
    asked = confidence * heard * (levels[..., lips][..., 0] < 1)
    nearly_closed = torch.exp(-opening.clamp(min=0) / _CLOSURE_METRES) * asked
    depth = ((error @ metric.aperture) / _CLOSURE_METRES) ** 2
    closures = (nearly_closed * depth).sum() / nearly_closed.sum().clamp(min=1)
    return places + _VELOCITY * speeds + _CLOSURE * closures
