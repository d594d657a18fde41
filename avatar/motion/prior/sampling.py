"""From noise to motion with a prior: whole tracks, parts of them, in-betweens. numpy only.

Noise belongs to (seed, frame). Long tracks are made in windows; each sees the end of the one before as known frames and
goes on from there (in-painting, no cross-fade).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float

from avatar.errors import BadInput
from avatar.motion.groups import GROUP_NAMES
from avatar.motion.prior.forward import Forward, Given, Way
from avatar.motion.space import MotionSpace

WINDOW, OVERLAP = 96, 24
"""Frames of a window, and how many of them the one before has made."""
_LEAST_LEFT = 0.05
_EARLY = 2.0
"""Steps are short at first: what moves slowly is decided there, and long ones would flatten it."""
_LOOK_ON = 12
"""Frames after a window that are made with it and thrown away: its end must know what comes."""


@dataclass(frozen=True)
class Sampling:
    """How motion is drawn. Values by group: lips, upper, lids, gaze, head."""

    steps: int = 10
    """Evaluations of the network per window."""
    guidance: dict[str, float] = field(default_factory=dict)
    """How far the sound is obeyed; 1 if not given."""
    temperature: dict[str, float] = field(default_factory=lambda: {"lips": 0.3})
    """Deviation of the noise that motion is made of; 1 if not given. Lips want little."""

    def __post_init__(self) -> None:
        for name, values, high in (("guidance", self.guidance, 5.0), ("temperature", self.temperature, 2.0)):
            for group, value in values.items():
                if group not in GROUP_NAMES:
                    raise BadInput(f"unknown group {group!r}", expected=", ".join(GROUP_NAMES), got=group)
                if not 0 <= value <= high:
                    raise BadInput(f"{name} of {group} is out of range", expected=f"0 to {high:g}", got=f"{value:g}")
        if not 1 <= self.steps <= 100:
            raise BadInput("steps out of range", expected="1 to 100", got=str(self.steps))

    def row(self, what: dict[str, float]) -> Float[np.ndarray, " g"]:
        """Values of all groups."""
        return np.array([what.get(name, 1.0) for name in GROUP_NAMES], np.float32)


@dataclass(frozen=True)
class Known:
    """What of a motion is given, in numbers of its space."""

    x: Float[np.ndarray, "t d"]
    mask: Bool[np.ndarray, "t g"]

    @staticmethod
    def nothing(frames: int, size: int) -> Known:
        """Everything is to be made."""
        return Known(np.zeros((frames, size), np.float32), np.zeros((frames, len(GROUP_NAMES)), bool))


def group_of(space: MotionSpace) -> np.ndarray:
    """Index of each number's group, (d,)."""
    return np.repeat(np.arange(len(GROUP_NAMES)), [s.stop - s.start for s in space.slices.values()])


def noise(seed: int, first: int, frames: int, size: int) -> Float[np.ndarray, "t d"]:
    """Standard normal numbers of frames `first` and on; each frame's depend on the seed and its number alone."""
    generators = (np.random.Generator(np.random.Philox(key=[seed, k])) for k in range(first, first + frames))
    return np.stack([g.standard_normal(size, np.float32) for g in generators])


def synthesise(
    network: Forward, space: MotionSpace, given: Given, known: Known, *, seed: int, sampling: Sampling, first: int = 0
) -> Float[np.ndarray, "t d"]:
    """Motion of any length, window by window.

    Args:
        given: sound, style and the like of all t frames.
        known: what of the motion is given and stays as it is.
        first: number of the first frame, which the noise goes by.
    """
    frames, out, made = len(known.x), known.x.copy(), 0
    while made < frames:
        begin = max(0, made - OVERLAP)
        end = min(frames, begin + WINDOW)
        mask = known.mask[begin:end].copy()
        mask[: made - begin] = True
        window = Known(np.where(_wide(mask, space), out[begin:end], 0), mask)
        drawn = denoise(
            network, space, given.part(slice(begin, end)), window,
            noise(seed, first + begin, end - begin, space.size), sampling,
        )  # fmt: skip
        keep = end if end == frames else end - _LOOK_ON
        fresh = slice(made, keep)
        out[fresh] = np.where(_wide(known.mask[fresh], space), known.x[fresh], drawn[made - begin : keep - begin])
        made = keep
    return out


def denoise(
    network: Forward, space: MotionSpace, given: Given, known: Known, start: np.ndarray, sampling: Sampling
) -> Float[np.ndarray, "t d"]:
    """One window from noise to motion, all that is unknown at one level."""
    group, steps = group_of(space), sampling.steps
    mask = known.mask
    fixed = mask[:, group]
    x = np.where(fixed, known.x, start * sampling.row(sampling.temperature)[group])
    guidance = np.broadcast_to(sampling.row(sampling.guidance), mask.shape)
    times = np.linspace(0, 1, steps + 1) ** _EARLY
    for level, after in zip(times[:-1], times[1:], strict=True):
        levels = np.where(mask, 1.0, level).astype(np.float32)
        size = np.where(mask, 0.0, after - level).astype(np.float32)
        clean = network(x, Way(levels, size, guidance), given)
        x = np.where(fixed, known.x, advanced(x, clean, level, after - level))
    return x


def advanced(x: np.ndarray, clean: np.ndarray, level, step) -> np.ndarray:
    """One step along the straight line to where the network says that motion is."""
    return x + step / np.maximum(1 - level, _LEAST_LEFT) * (clean - x)


def _wide(mask: Bool[np.ndarray, "t g"], space: MotionSpace) -> Bool[np.ndarray, "t d"]:
    return mask[:, group_of(space)]
