"""What a prior is trained for: clean motion from noisy, closed lips where they close.

Straight paths x_t = (1 - t) e + t x from noise e to motion x (Lipman et al. 2023), t per frame and group. Numbers of
the motion space are whitened, so that squares weighted by `MotionSpace.importance` are squares of moved skin.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from avatar.motion.face_geometry import FaceGeometry
from avatar.motion.prior.batches import Batch
from avatar.motion.prior.network import PriorNetwork
from avatar.motion.prior.noise import KERNEL, REACH, slow_of
from avatar.motion.prior.patterns import Pattern
from avatar.motion.prior.processes import ALONE, Processes
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


def mapped(values, change: Callable[[Tensor], Tensor]):
    """A dataclass with all its tensors changed, those of dataclasses in it too."""

    def changed(value):
        if isinstance(value, Tensor):
            return change(value)
        return mapped(value, change) if is_dataclass(value) else value

    return replace(values, **{f.name: changed(getattr(values, f.name)) for f in fields(values)})


def part(values, rows: slice):
    """Some windows of a batch."""
    return mapped(values, lambda t: t[rows])


def noisy(batch: Batch, pattern: Pattern, metric: Metric, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Motion on its way, and the level of each number."""
    levels, (b, t, d) = pattern.levels[..., metric.group], batch.x.shape
    white = torch.randn(b, t + 2 * REACH, d, generator=rng).to(batch.x.device)
    slow = white.unfold(1, len(KERNEL), 1) @ torch.from_numpy(KERNEL).to(white.device)
    noise = torch.where(metric.slow > 0, slow, white[:, REACH : REACH + t])
    of_motion, of_noise = mix_of(levels, metric.schedule)
    return of_noise * noise + of_motion * batch.x, levels


def loss(
    network: PriorNetwork,
    metric: Metric,
    batch: Batch,
    pattern: Pattern,
    rng: torch.Generator,
    processes: Processes = ALONE,
) -> Tensor:
    """Of flow matching: this process's share, over the whole batch's sums.

    Everything random is drawn for the whole batch, the same in every process.
    """
    x, levels = noisy(batch, pattern, metric, rng)
    rows = processes.share(len(x))
    network.deal(len(x), rows, int(torch.randint(2**62, (), generator=rng)))
    x, levels, batch, pattern = x[rows], levels[rows], part(batch, rows), part(pattern, rows)
    given = replace(batch.given, heard=pattern.heard, partner_heard=batch.given.partner_heard * pattern.heard)
    clean = network(x, pattern.levels, given)
    return distance(metric, clean, batch.x, levels, batch.confidence, given.heard, processes)


def distance(
    metric: Metric,
    clean: Float[Tensor, "b t d"],
    target: Float[Tensor, "b t d"],
    levels: Float[Tensor, "b t d"],
    confidence: Float[Tensor, "b t"],
    heard: Float[Tensor, "b t"],
    processes: Processes = ALONE,
) -> Tensor:
    """Mean error of predicted motion: places, speeds and closures, only where something was to be predicted.

    Means are over the windows of all processes: what each of them gets adds up to the whole.
    """
    weight = (1 / (1 - levels).clamp(min=LEAST_LEFT) ** 2).clamp(max=_MOST_WEIGHT)
    open_way = (levels < 1).float() * metric.weights * confidence[..., None]
    error = clean - target
    both = (open_way / metric.weights)[:, 1:] * confidence[:, :-1, None]
    opening = target @ metric.aperture + metric.aperture_mean
    lips = metric.aperture != 0
    asked = confidence * heard * (levels[..., lips][..., 0] < 1)
    nearly_closed = torch.exp(-opening.clamp(min=0) / _CLOSURE_METRES) * asked
    sums = [open_way.sum(), (both * metric.weights).sum(), nearly_closed.sum()]
    of_places, of_speeds, of_closures = processes.total(torch.stack(sums)).clamp(min=1)
    places = (open_way * weight * error**2).sum() / of_places
    speeds = (both * metric.speed_weights * error.diff(dim=1) ** 2).sum() / of_speeds
    depth = ((error @ metric.aperture) / _CLOSURE_METRES) ** 2
    closures = (nearly_closed * depth).sum() / of_closures
    return places + _VELOCITY * speeds + _CLOSURE * closures
