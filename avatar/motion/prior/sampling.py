"""From noise to motion with a prior: whole tracks, parts of them, in-betweens. numpy only.

Noise belongs to (seed, frame). Long tracks are made in windows; each sees the end of the one before as known frames and
goes on from there (in-painting, no cross-fade).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import gaussian_filter1d

from avatar.errors import BadInput
from avatar.motion.groups import GROUP_NAMES
from avatar.motion.prior.checkpoint import Prior
from avatar.motion.prior.forward import Given
from avatar.motion.prior.noise import noise, slow_of
from avatar.motion.prior.schedule import Schedule, advanced

WINDOW, OVERLAP = 96, 24
"""Frames of a window, and how many of them the one before has made."""
_EVENED_FRAMES = 0.5
"""Deviation of the kernel that evens out."""
_LOOK_ON = 12
"""Frames after a window that are made with it and thrown away: its end must know what comes."""


@dataclass(frozen=True)
class Sampling:
    """How motion is drawn. Values by group: lips, upper, lids, gaze, head."""

    steps: int = 10
    """Evaluations of the network per window."""
    guidance: dict[str, float] = field(default_factory=dict)
    """How far the sound is obeyed; 1 if not given, and another costs a second evaluation (Ho and Salimans 2022)."""
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


class Denoiser:
    """What a prior's network makes of noise: the same for whole tracks and for streams."""

    def __init__(self, prior: Prior, seed: int, sampling: Sampling | None) -> None:
        sampling = sampling or Sampling()
        self._network, self._seed = prior.network(), seed
        self.group, self.steps = prior.space.group, sampling.steps
        self._schedule: Schedule = prior.schedule
        self._slow = slow_of(self.group)
        self._temperature, self._guidance = (
            sampling.row(values)[self.group] for values in (sampling.temperature, sampling.guidance)
        )

    def start(self, first: int, frames: int) -> Float[np.ndarray, "t d"]:
        """The noise that frames `first` and on are made from."""
        return (noise(self._seed, first, frames, self._slow) * self._temperature).astype(np.float32)

    def clean(
        self, x: Float[np.ndarray, "t d"], levels: Float[np.ndarray, "t g"], given: Given
    ) -> Float[np.ndarray, "t d"]:
        """Where the motion of frames that follow each other is taken to be; what is known (level 1) as it is.

        Slow numbers are evened out over a frame to each side: a network errs in every frame by itself, and that would
        be seen as trembling.
        """
        found = self._network(x, levels, given)
        if (self._guidance != 1).any():
            deaf = self._network(x, levels, given.deaf())
            found = deaf + self._guidance * (found - deaf)
        found = np.where(levels[:, self.group] < 1, found, x)
        found[:, self._slow] = gaussian_filter1d(found[:, self._slow], _EVENED_FRAMES, axis=0, mode="nearest")
        return found

    def advanced(self, x: np.ndarray, clean: np.ndarray, level, step) -> np.ndarray:
        """One step further on the way to clean motion."""
        return advanced(x, clean, level, step, self._schedule)


def synthesise(
    prior: Prior, given: Given, known: Known, *, seed: int, sampling: Sampling | None = None
) -> Float[np.ndarray, "t d"]:
    """Motion of any length, window by window.

    Args:
        given: sound, style and the like of all t frames.
        known: what of the motion is given and stays as it is.
    """
    denoiser = Denoiser(prior, seed, sampling)
    frames, out, made, group = len(known.x), known.x.copy(), 0, denoiser.group
    while made < frames:
        begin = max(0, made - OVERLAP)
        end = min(frames, begin + WINDOW)
        mask = known.mask[begin:end].copy()
        mask[: made - begin] = True
        window = Known(np.where(mask[:, group], out[begin:end], 0), mask)
        drawn = denoised(denoiser, given.part(slice(begin, end)), window, begin)
        keep = end if end == frames else end - _LOOK_ON
        fresh = slice(made, keep)
        out[fresh] = np.where(known.mask[fresh][:, group], known.x[fresh], drawn[made - begin : keep - begin])
        made = keep
    return out


def denoised(denoiser: Denoiser, given: Given, known: Known, first: int) -> Float[np.ndarray, "t d"]:
    """One window from noise to motion, all that is unknown at one level.

    Args:
        first: number of its first frame, which the noise goes by.
    """
    mask = known.mask
    fixed = mask[:, denoiser.group]
    x = np.where(fixed, known.x, denoiser.start(first, len(fixed)))
    times = np.linspace(0, 1, denoiser.steps + 1)
    for level, after in zip(times[:-1], times[1:], strict=True):
        clean = denoiser.clean(x, np.where(mask, 1.0, level).astype(np.float32), given)
        x = np.where(fixed, known.x, denoiser.advanced(x, clean, level, after - level))
    return x
