"""The stages of a fit: what each changes in the loop, as objects with hooks."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch

from avatar.errors import BadInput

if TYPE_CHECKING:
    from avatar.fitting.trainer import Trainer


@dataclass(frozen=True)
class Stage:
    """A part of the budget: up to the share `until`, and no longer than `max_steps`."""

    name: str
    until: float
    max_steps: float = math.inf
    deform: bool = True
    """Learn the head's linear maps and field; before, only one appearance on the tracked mesh."""
    refine_motion: bool = True
    """Let the tracked parameters of the training frames move."""
    skip_covered: bool = True
    """Pixels of the face that something covers teach nothing."""
    apart: bool = False
    """Designs that learn face and mouth apart do it here."""
    relocate_every: int | None = None
    """Move dead Gaussians to where the error is, every so many steps."""

    def after_step(self, trainer: Trainer) -> None:
        """Called after each optimiser step."""
        pull_colors(trainer)
        if self.relocate_every and trainer.step % self.relocate_every == 0:
            relocate(trainer)
        if trainer.step % CONSTRAIN_EVERY == 0:
            constrain(trainer)
        hold_core(trainer)


STAGES = (
    Stage("rough", 0.1, 150, deform=False, refine_motion=False, skip_covered=False),
    Stage("grow", 0.7, apart=True, relocate_every=400),
    Stage("settle", 1.0),
)
CONSTRAIN_EVERY = 50
DEAD_OPACITY = 0.03
MAX_RELOCATED_SHARE = 0.1
HELD = ("means", "quats", "log_scales", "opacity_logits", "map_opacities")
"""Of the core: it is not learned where it is and how dense."""


def stage_at(share: float, step: int) -> Stage:
    """The stage that is on at a step, when `share` of the budget is spent.

    The rough stage is short on purpose: a few passes later a hand that covers the face in many frames is learned too.
    """
    return next((s for s in STAGES if share < s.until and step < s.max_steps), STAGES[-1])


@torch.no_grad()
def pull_colors(trainer: Trainer) -> None:
    """Colours return to where they started, each part at its own pace (see `LimitConfig`)."""
    head, torso = trainer.layers.head, trainer.layers.torso
    head.colors.lerp_(trainer.leashes.color_anchors, trainer.leashes.color_pulls[:, None])
    torso_pull = trainer.config.limits.torso_color_pull * trainer.decay  # or the pattern fades as the rates do
    torso.colors.lerp_(trainer.avatar.layers.torso.colors, torso_pull)


@torch.no_grad()
def hold_core(trainer: Trainer) -> None:
    """What lies under the skin stays there, opaque; it goes along with the skin's linear maps (see `constrain`)."""
    head, seeded, core = trainer.layers.head, trainer.avatar.layers.head, trainer.core
    for name in HELD:
        getattr(head, name)[core] = getattr(seeded, name)[core]


@torch.no_grad()
def constrain(trainer: Trainer) -> None:
    """Leashes: offsets, linear maps and scales stay where the mesh can vouch for them."""
    limits, head, torso = trainer.config.limits, trainer.layers.head, trainer.layers.torso
    norm = head.means.norm(dim=1).clamp(min=1e-9)
    head.means.mul_((trainer.leashes.offset_limits / norm).clamp(max=1)[:, None])
    norm = head.map_means.flatten(1).norm(dim=1).clamp(min=1e-9)
    head.map_means.mul_((trainer.leashes.map_limits / norm).clamp(max=1)[:, None, None])
    torso.map_means.lerp_(torso.map_means[trainer.leashes.torso_neighbours].mean(1), limits.map_smoothing)
    heard = trainer.avatar.driving.speech_columns
    head.map_means[..., heard] *= trainer.leashes.hears[:, None, None]
    head.map_opacities[..., heard] *= trainer.leashes.hears[:, None]
    if trainer.preset.held:
        head.map_means.lerp_(head.map_means[trainer.leashes.neighbours].mean(1), limits.map_smoothing)
        kept = 1 - min(limits.map_prior_frames / len(trainer.split.train), limits.max_map_shrinkage)
        head.map_means.mul_(kept)
        head.map_opacities.mul_(kept)
    for codes in trainer.layers.per_gaussian():
        codes.lerp_(codes[trainer.leashes.neighbours].mean(1), limits.map_smoothing)
    torch.maximum(head.log_scales, trainer.leashes.scale_limits.log()[:, None], out=head.log_scales)
    head.log_scales.clamp_(max=math.log(limits.max_scale_m))
    torso.log_scales.clamp_(math.log(limits.min_scale_m), math.log(limits.max_torso_scale_m))


@torch.no_grad()
def relocate(trainer: Trainer) -> None:
    """Move transparent head Gaussians beside ones with large positional gradients (3DGS-MCMC, Kheradmand et al. 2024:
    fixed count, and the opacity of the pair is chosen so that together they look like the one before)."""
    head, need = trainer.layers.head, trainer.gradient_sum
    opacity = torch.sigmoid(head.opacity_logits)
    dead = torch.nonzero(opacity < DEAD_OPACITY)[:, 0][: int(MAX_RELOCATED_SHARE * len(opacity))]
    score = need * opacity * (opacity >= DEAD_OPACITY)
    score[trainer.core] = 0
    count = min(len(dead), int((score > 0).sum()))
    if count:
        dead = dead[:count]
        source = torch.multinomial(score, count, replacement=False, generator=trainer.generator)
        new_opacity = (1 - (1 - opacity[source]).sqrt()).clamp(0.02, 0.98)
        jitter = torch.randn(count, 3, generator=trainer.generator) * head.log_scales[source].exp() * 0.5
        for field in fields(head):
            tensor = getattr(head, field.name)
            tensor[dead] = tensor[source]
        head.means[dead] += jitter
        for tensor in trainer.layers.per_gaussian():
            tensor[dead] = tensor[source]
        trainer.leashes.move(dead, source)
        head.log_scales[source] -= 0.2
        head.log_scales[dead] = head.log_scales[source]
        logits = torch.logit(new_opacity)
        head.opacity_logits[source], head.opacity_logits[dead] = logits, logits
        trainer.forget_moments("head.", dead)
        trainer.find_neighbours()
    need.zero_()


def check_budget(minutes: float, steps: int | None) -> None:
    """Raises BadInput for a budget that can't fit anything."""
    if (steps is not None and steps < 1) or (steps is None and not 0 < minutes < 10_000):
        raise BadInput(
            "the fitting budget is out of range",
            expected="--minutes above 0, or --steps of at least 1",
            got=f"--minutes {minutes} --steps {steps}",
        )
