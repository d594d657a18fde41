"""Which groups of which frames are known while training: all the situations that one network shall serve."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from avatar.motion.prior.network import GROUPS_COUNT
from avatar.motion.prior.rolling import LIPS, LIPS_FRAMES, STREAM_FRAMES

_MOST_KNOWN = 24
"""Known frames before a window, at most."""


@dataclass(frozen=True)
class Pattern:
    """Noise levels of a batch, and how far its sound is known."""

    levels: Float[Tensor, "b t g"]
    heard: Float[Tensor, "b t"]


def draw(batch: int, frames: int, rng: torch.Generator) -> Pattern:
    """A mixture: whole windows at one level, groups apart, streaming, keyframes; some deaf, some heard in part."""
    kinds = torch.rand(batch, generator=rng)
    levels = _together(batch, frames, rng)
    for low, high, make in ((0.35, 0.55, _apart), (0.55, 0.85, _streaming), (0.85, 1.0, _keys)):
        chosen = (kinds >= low) & (kinds < high)
        levels[chosen] = make(int(chosen.sum()), frames, rng)
    return Pattern(levels, _heard(levels, kinds, rng))


def _logit_normal(*shape: int, rng: torch.Generator) -> Tensor:
    """Levels; most lie early on the way: what moves slowly is decided there."""
    return torch.sigmoid(1.3 * torch.randn(*shape, generator=rng) - 0.6)


def _with_history(levels: Tensor, rng: torch.Generator) -> Tensor:
    """Let some frames at the beginning be known, in two windows of three."""
    batch, frames = levels.shape[:2]
    known = torch.randint(1, _MOST_KNOWN + 1, (batch,), generator=rng) * (torch.rand(batch, generator=rng) < 0.67)
    return torch.where((torch.arange(frames) < known[:, None])[..., None], 1.0, levels)


def _at_pure_noise(levels: Tensor, rng: torch.Generator) -> Tensor:
    """The first step of every sampling begins there: one window in five trains it."""
    pure = torch.rand(len(levels), 1, 1, generator=rng) < 0.2
    return torch.where(pure, 0.0, levels)


def _together(batch: int, frames: int, rng: torch.Generator) -> Tensor:
    levels = _at_pure_noise(_logit_normal(batch, 1, 1, rng=rng), rng).expand(batch, frames, GROUPS_COUNT)
    return _with_history(levels.clone(), rng)


def _apart(batch: int, frames: int, rng: torch.Generator) -> Tensor:
    """Each group at its own level; some known altogether: redo the head and keep the lips."""
    levels = _at_pure_noise(_logit_normal(batch, 1, GROUPS_COUNT, rng=rng), rng)
    kept = torch.rand(batch, 1, GROUPS_COUNT, generator=rng) < 0.3
    return _with_history(torch.where(kept, 1.0, levels).expand(batch, frames, GROUPS_COUNT).clone(), rng)


def _streaming(batch: int, frames: int, rng: torch.Generator) -> Tensor:
    """Known up to a frame, from there on noisier and noisier."""
    first = torch.randint(4, frames - 4, (batch, 1), generator=rng)
    ahead = torch.arange(frames) - first
    tick = torch.rand(batch, 1, generator=rng)  # levels change at each tick: train all between
    slow = 1 - (ahead + tick) / STREAM_FRAMES
    fast = 1 - (ahead + tick) / LIPS_FRAMES
    levels = slow[..., None].repeat(1, 1, GROUPS_COUNT)
    levels[..., LIPS] = fast
    return levels.clamp(0, 1)


def _keys(batch: int, frames: int, rng: torch.Generator) -> Tensor:
    """Keyframes: single frames or spans of some groups are known, the rest is at one level."""
    levels = _logit_normal(batch, 1, 1, rng=rng).expand(batch, frames, GROUPS_COUNT).clone()
    sparse = torch.rand(batch, frames, 1, generator=rng) < 0.08
    begin = torch.randint(0, frames, (batch, 1, 1), generator=rng)
    length = torch.randint(1, frames // 2, (batch, 1, 1), generator=rng)
    place = torch.arange(frames)[None, :, None]
    span = (place < begin) | (place >= begin + length)
    spans = torch.rand(batch, 1, 1, generator=rng) < 0.5
    touched = torch.rand(batch, 1, GROUPS_COUNT, generator=rng) < 0.7
    return torch.where(torch.where(spans, span, sparse) & touched, 1.0, levels)


def _heard(levels: Tensor, kinds: Tensor, rng: torch.Generator) -> Tensor:
    """Where the sound is known: nowhere in one window of ten, in streams a little ahead of the lips, else all along."""
    batch, frames = levels.shape[:2]
    deaf = torch.rand(batch, 1, generator=rng) < 0.1
    front = (levels[..., LIPS] >= 1).sum(1, keepdim=True)
    ahead = torch.randint(1, 8, (batch, 1), generator=rng)
    partly = ((kinds >= 0.55) & (kinds < 0.85))[:, None]
    known = (torch.arange(frames) < front + ahead) | ~partly
    return (known & ~deaf).float()
