"""The flow-matching network: noisy motion in groups, each at its own noise level per frame, to clean motion.

One network for all uses: which groups of which frames are known (level 1) and how far the others are from noise
(level 0) says whether it speaks, goes on, fills in between or streams (diffusion forcing, Chen et al. 2024, per group
of channels). Residual blocks of dilated convolutions over frames; everything that conditions enters by adaptive layer
norm per frame (Peebles and Xie 2023), which beats cross-attention on speech (FLOAT, Ki et al. 2024).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from avatar.motion.groups import GROUP_NAMES
from avatar.motion.hearing import WIDTH
from avatar.motion.prior.forward import DILATIONS, FREQUENCIES
from avatar.motion.prior.noise import slow_of
from avatar.motion.prior.schedule import Schedule, balance_of
from avatar.motion.style import STYLE_WIDTH

GROUPS_COUNT = len(GROUP_NAMES)


@dataclass(frozen=True)
class NetworkShape:
    """How large a network is."""

    group: tuple[int, ...]
    """Of each number per frame of its motion space."""
    width: int = 128
    blocks: int = 6
    condition: int = 96
    hidden: int = 96
    """Of what hears."""
    bottleneck: int = 24
    """All that passes of a sound: minutes of one voice are soon learned by heart."""
    dropout: float = 0.1
    schedule: Schedule = "flow"


@dataclass(frozen=True)
class Conditions:
    """What a motion goes by; b windows of t frames."""

    sound: Float[Tensor, "b t w"]
    heard: Float[Tensor, "b t"]
    """1 where the sound is known, 0 where it is not (it lies ahead, or there is none)."""
    partner: Float[Tensor, "b t w"]
    """The other one's sound."""
    partner_heard: Float[Tensor, "b t"]
    style: Float[Tensor, "b s"]
    styled: Float[Tensor, " b"]
    """1 where a style is asked for."""


class Dropout(nn.Module):
    """torch's, but its mask can be drawn for a whole batch of which these windows are a part."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.dealt: tuple[int, slice, int] | None = None
        """Windows of the whole batch, which of them come, seed."""

    def forward(self, x: Float[Tensor, "b t c"]) -> Float[Tensor, "b t c"]:
        if not self.training or not self.rate or self.dealt is None:
            return F.dropout(x, self.rate, self.training)
        windows, rows, seed = self.dealt
        rng = torch.Generator(x.device).manual_seed(seed)
        mask = torch.empty((windows, *x.shape[1:]), device=x.device).bernoulli_(1 - self.rate, generator=rng)
        return x * mask[rows] / (1 - self.rate)


class Convolution(nn.Module):
    """Over frames, as one product of matrices: on a CPU half again as fast as torch's."""

    def __init__(self, width: int, taps: int, dilation: int = 1) -> None:
        super().__init__()
        self.linear = nn.Linear(taps * width, width)
        self.taps, self.dilation = taps, dilation

    def forward(self, x: Float[Tensor, "b t c"]) -> Float[Tensor, "b t c"]:
        frames, reach = x.shape[1], self.taps // 2 * self.dilation
        padded = F.pad(x, (0, 0, reach, reach))
        return self.linear(torch.cat([padded[:, k * self.dilation :][:, :frames] for k in range(self.taps)], -1))


class Ears(nn.Module):
    """Sound per frame to a few numbers, looking four frames each way."""

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.enter = nn.Linear(WIDTH + 1, shape.hidden)
        self.convs = nn.ModuleList(Convolution(shape.hidden, 5) for _ in range(2))
        self.leave = nn.Linear(shape.hidden, shape.bottleneck)
        self.dropout = Dropout(shape.dropout)

    def forward(self, sound: Float[Tensor, "b t w"], heard: Float[Tensor, "b t"]) -> Float[Tensor, "b t k"]:
        h = F.silu(self.enter(torch.cat([sound * heard[..., None], heard[..., None]], -1)))
        for conv in self.convs:
            h = h + F.silu(conv(h))
        return self.dropout(self.leave(h))


class Block(nn.Module):
    """Adaptive norm, dilated convolution, mixing, gated into the stream; the identity at first."""

    def __init__(self, shape: NetworkShape, dilation: int) -> None:
        super().__init__()
        self.modulate = nn.Linear(shape.condition, 3 * shape.width)
        self.conv = Convolution(shape.width, 3, dilation)
        self.mix = nn.Linear(shape.width, shape.width)
        self.dropout = Dropout(shape.dropout)
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)

    def forward(self, h: Float[Tensor, "b t c"], condition: Float[Tensor, "b t k"]) -> Float[Tensor, "b t c"]:
        scale, shift, gate = self.modulate(condition).chunk(3, -1)
        y = F.layer_norm(h, h.shape[-1:]) * (1 + scale) + shift
        y = F.silu(self.conv(y))
        return h + gate * self.mix(self.dropout(y))


class PriorNetwork(nn.Module):
    """Predicts clean motion; the velocity follows as (clean - noisy) / (1 - level).

    Each group of each frame has a level: 0 is noise, 1 is motion that is known.
    """

    group: Tensor
    slow: Tensor

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.shape = shape
        group = torch.tensor(shape.group)
        self.register_buffer("group", group, persistent=False)
        self.register_buffer("slow", torch.from_numpy(slow_of(group.numpy())).float(), persistent=False)
        self.ears = Ears(shape)
        self.partner_ears = Ears(shape)
        levels = GROUPS_COUNT * (2 * FREQUENCIES + 1)
        self.condition = nn.Sequential(
            nn.Linear(2 * shape.bottleneck + STYLE_WIDTH + 3 + levels, 2 * shape.condition), nn.SiLU(),
            nn.Linear(2 * shape.condition, shape.condition), nn.SiLU(),
        )  # fmt: skip
        self.enter = nn.Linear(len(shape.group), shape.width)
        self.say = nn.Linear(shape.bottleneck, shape.width)
        self.blocks = nn.ModuleList(Block(shape, DILATIONS[k % len(DILATIONS)]) for k in range(shape.blocks))
        self.leave = nn.Linear(shape.width, len(shape.group))

    def deal(self, windows: int, rows: slice, seed: int) -> None:
        """Say that what comes next is some windows of a batch: dropout is the same whoever computes which of them."""
        for k, layer in enumerate(m for m in self.modules() if isinstance(m, Dropout)):
            layer.dealt = windows, rows, seed + k  # a generator each: not all of them are asked each time

    def forward(
        self, x: Float[Tensor, "b t d"], levels: Float[Tensor, "b t g"], given: Conditions
    ) -> Float[Tensor, "b t d"]:
        kept, share, scale = balance_of(levels[..., self.group], self.slow, self.shape.schedule)
        own = self.ears(given.sound, given.heard)
        other = torch.zeros_like(own)
        if given.partner_heard.any():
            other = self.partner_ears(given.partner, given.partner_heard) * given.partner_heard[..., None]
        frames = x.shape[1]
        style = torch.cat([given.style * given.styled[:, None], given.styled[:, None]], -1)
        parts = (
            own, other, style[:, None].expand(-1, frames, -1), given.heard[..., None],
            given.partner_heard[..., None], level_features(levels),
        )  # fmt: skip
        condition = self.condition(torch.cat(parts, -1))
        h = self.enter(scale * x) + self.say(own)
        for block in self.blocks:
            h = block(h, condition)
        return kept * x + share * self.leave(F.layer_norm(h, h.shape[-1:]))


def level_features(levels: Float[Tensor, "b t g"]) -> Float[Tensor, "b t f"]:
    """Noise levels as waves."""
    angles = levels[..., None] * (torch.pi * 2.0 ** torch.arange(FREQUENCIES, device=levels.device))
    return torch.cat([torch.cat([angles.sin(), angles.cos()], -1).flatten(-2), levels], -1)
