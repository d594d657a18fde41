"""The network of `avatar.motion.prior.network` for playback: numpy alone, one window at a time, the same numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from avatar.motion.prior.noise import slow_of
from avatar.motion.prior.schedule import Schedule, balance_of

_LAYER_NORM_EPSILON = 1e-5
FREQUENCIES = 4
"""Sines and cosines of each noise level."""
DILATIONS = (1, 2, 4, 8)

Weights = dict[str, np.ndarray]


@dataclass(frozen=True)
class Given:
    """What one window of t frames goes by; see `network.Conditions`."""

    sound: Float[np.ndarray, "t w"]
    heard: Float[np.ndarray, " t"]
    partner: Float[np.ndarray, "t w"]
    partner_heard: Float[np.ndarray, " t"]
    style: Float[np.ndarray, " s"]
    styled: float

    def deaf(self) -> Given:
        """Nothing of the own sound is known."""
        return replace(self, heard=0 * self.heard)

    def part(self, frames: slice) -> Given:
        """Some of the frames."""
        return Given(
            self.sound[frames], self.heard[frames], self.partner[frames], self.partner_heard[frames], self.style,
            self.styled,
        )  # fmt: skip


def blocks_of(weights: Weights) -> int:
    """How many blocks a network has."""
    return 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("blocks."))


class Forward:
    """Weights of a trained network, by their names in its state, and the arithmetic on them."""

    def __init__(self, weights: Weights, group: Int[np.ndarray, " d"], schedule: Schedule = "flow") -> None:
        """Prepare.

        Args:
            group: of each number of the motion.
        """
        self._group, self._slow = group, slow_of(group).astype(np.float32)
        self._schedule: Schedule = schedule
        self._w = {name: np.ascontiguousarray(array.T, np.float32) for name, array in weights.items()}
        self.blocks = blocks_of(weights)

    def ears(self, which: str, sound: Float[np.ndarray, "t w"], heard: Float[np.ndarray, " t"]) -> np.ndarray:
        """What passes of a sound."""
        h = silu(self._linear(f"{which}.enter", np.concatenate([sound * heard[:, None], heard[:, None]], 1)))
        for k in range(2):
            h = h + silu(self._conv(f"{which}.convs.{k}", h, 5, 1))
        return self._linear(f"{which}.leave", h)

    def __call__(
        self, x: Float[np.ndarray, "t d"], levels: Float[np.ndarray, "t g"], given: Given
    ) -> Float[np.ndarray, "t d"]:
        """Clean motion from noisy; levels as in `network.PriorNetwork`."""
        kept, share, scale = balance_of(levels[:, self._group], self._slow, self._schedule)
        own = self.ears("ears", given.sound, given.heard)
        other = np.zeros_like(own)
        if given.partner_heard.any():
            other = self.ears("partner_ears", given.partner, given.partner_heard) * given.partner_heard[:, None]
        style = np.append(given.style * given.styled, given.styled).astype(np.float32)
        parts = (
            own, other, np.broadcast_to(style, (len(x), len(style))), given.heard[:, None],
            given.partner_heard[:, None], level_features(levels),
        )  # fmt: skip
        condition = np.concatenate(parts, 1).astype(np.float32)
        for k in (0, 2):
            condition = silu(self._linear(f"condition.{k}", condition))
        h = self._linear("enter", (scale * x).astype(np.float32)) + self._linear("say", own)
        for k in range(self.blocks):
            h = self._block(k, h, condition)
        return kept * x + share * self._linear("leave", layer_norm(h))

    def _block(self, k: int, h: np.ndarray, condition: np.ndarray) -> np.ndarray:
        scale, shift, gate = np.split(self._linear(f"blocks.{k}.modulate", condition), 3, axis=1)
        y = layer_norm(h) * (1 + scale) + shift
        y = silu(self._conv(f"blocks.{k}.conv", y, 3, DILATIONS[k % len(DILATIONS)]))
        return h + gate * self._linear(f"blocks.{k}.mix", y)

    def _linear(self, name: str, x: np.ndarray) -> np.ndarray:
        return x @ self._w[f"{name}.weight"] + self._w[f"{name}.bias"]

    def _conv(self, name: str, x: np.ndarray, taps: int, dilation: int) -> np.ndarray:
        frames, width = x.shape
        spread = np.zeros((frames, taps, width), np.float32)
        for k in range(taps):
            shift = (k - taps // 2) * dilation
            spread[max(0, -shift) : max(0, frames - shift), k] = x[max(0, shift) : max(0, frames + shift)]
        return self._linear(f"{name}.linear", spread.reshape(frames, taps * width))


def level_features(levels: Float[np.ndarray, "t g"]) -> Float[np.ndarray, "t f"]:
    """Noise levels as waves."""
    angles = levels[..., None] * (np.pi * 2.0 ** np.arange(FREQUENCIES))
    waves = np.concatenate([np.sin(angles), np.cos(angles)], -1).reshape(len(levels), -1)
    return np.concatenate([waves, levels], 1)


def layer_norm(h: np.ndarray) -> np.ndarray:
    """Zero mean and unit variance per frame."""
    centred = h - h.mean(1, keepdims=True)
    return centred / np.sqrt((centred * centred).mean(1, keepdims=True) + _LAYER_NORM_EPSILON)


def silu(x: np.ndarray) -> np.ndarray:
    """x times its sigmoid."""
    return x / (1 + np.exp(-x.clip(-60, 60)))
