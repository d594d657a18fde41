"""Eyes and head by rule: seeded blinks, gaze and slow head sway, each a function of (seed, time) alone.

Blink shape and rate after VanderWerf et al. 2003 (closing about 80 ms, opening about 150 ms, speakers blink every 3 to
5 s); a fixation lasts about a second, and the eyes counter-rotate against the head (vestibulo-ocular reflex).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.ndimage import grey_opening

_SACCADE_SECONDS = 0.04
_LONGEST_SECONDS = 0.6
"""Lids that stay shut longer are closed on purpose, or sleep."""
_DEEP, _EDGE = 0.3, 0.03
"""A blink closes the lids this far on top of how they were; it begins and ends where they are this far from it."""


@dataclass(frozen=True)
class BlinkShape:
    """How lids close and open; seconds."""

    close: float = 0.08
    hold: float = 0.04
    open: float = 0.15
    depth: float = 1.0
    """Closure at the deepest, 0 to 1."""

    def at(self, seconds: Float[np.ndarray, " t"]) -> Float[np.ndarray, " t"]:
        """Course from 0 to 1 and back, so many seconds after the onset."""
        return smoothstep(seconds / self.close) - smoothstep((seconds - self.close - self.hold) / self.open)


def blink_track(seconds: Float[np.ndarray, " t"], seed: int, every_seconds: float = 4.0) -> Float[np.ndarray, " t"]:
    """Lid closure in [0, 1] at rising times; gaps are gamma-distributed around `every_seconds`, 1 s at the least."""
    rng = np.random.default_rng([seed, 1])
    track, onset = np.zeros(len(seconds)), float(rng.gamma(2.0, every_seconds / 4))
    while onset < seconds[-1]:
        track = np.maximum(track, BlinkShape().at(seconds - onset))
        onset += 1.0 + float(rng.gamma(3.0, max(every_seconds - 1.0, 0.1) / 3.0))
    return track


def paced_blinks(
    seconds: Float[np.ndarray, " t"], seed: int, per_minute: float, shape: BlinkShape | None = None
) -> Float[np.ndarray, " t"]:
    """Course of the lids, 0 to 1, with `per_minute` blinks in every minute (one more or less where a minute begins
    amid two): one in each stretch of 60 / `per_minute` seconds, at a moment that seed and stretch alone decide."""
    shape, track = shape or BlinkShape(), np.zeros(len(seconds))
    if per_minute <= 0 or not len(seconds):
        return track
    every = 60 / per_minute
    play = max(0.0, min(0.8, 1 - 0.5 / every))
    for stretch in range(int(seconds[0] // every) - 1, int(seconds[-1] // every) + 1):
        share = np.random.default_rng([seed, 4, stretch % 2**32]).uniform(0, play)
        track = np.maximum(track, shape.at(seconds - every * (stretch + share)))
    return track


def find_blinks(lids: Float[np.ndarray, "t 2"], fps: float) -> list[slice]:
    """Frames of every blink of both eyes together; a wink of one is none."""
    window = max(3, round(_LONGEST_SECONDS * fps) | 1)
    rise = np.stack([lid - grey_opening(lid, size=window) for lid in lids.T.astype(np.float64)])
    edges = np.flatnonzero(np.diff(np.concatenate([[0], rise.mean(0) > _EDGE, [0]])))
    runs = [slice(int(start), int(end)) for start, end in edges.reshape(-1, 2)]
    return [run for run in runs if rise[:, run].mean(0).max() > _DEEP and rise[:, run].max(1).min() > _DEEP / 3]


def gaze_track(
    seconds: Float[np.ndarray, " t"],
    seed: int,
    reach_degrees: tuple[float, float] = (3.0, 1.8),
    fixation_seconds: float = 1.25,
) -> Float[np.ndarray, "t 2"]:
    """Direction of looking (to the subject's left, up), degrees from straight ahead: fixations joined by saccades.

    Args:
        seconds: rising times.
        reach_degrees: deviation of where one looks, aside and up.
        fixation_seconds: mean length of a fixation, .25 s at the least.
    """
    return Gaze(seed, reach_degrees, fixation_seconds).at(seconds)


class Gaze:
    """`gaze_track` piece by piece, for times that go on: what is past costs neither time nor memory."""

    def __init__(self, seed: int, reach_degrees: tuple[float, float], fixation_seconds: float) -> None:
        self._rng = np.random.default_rng([seed, 2])
        self._reach, self._pause = reach_degrees, max(fixation_seconds - 0.25, 0.05) / 2
        self._begun: list[tuple[float, np.ndarray]] = [(-np.inf, np.zeros(2))]
        """Saccades that matter yet: when each begins and where to; the first one is over."""
        self._next = 0.0

    def at(self, seconds: Float[np.ndarray, " t"]) -> Float[np.ndarray, "t 2"]:
        """Direction of looking at rising times, none before those that were asked for before."""
        while self._next < seconds[-1]:
            self._begun.append((self._next, self._target()))
            self._next = self._next + 0.25 + float(self._rng.gamma(2.0, self._pause))
        while len(self._begun) > 1 and self._begun[1][0] + _SACCADE_SECONDS < seconds[0]:
            del self._begun[0]
        track = np.broadcast_to(self._begun[0][1], (len(seconds), 2))
        for start, target in self._begun[1:]:
            share = smoothstep((seconds - start) / _SACCADE_SECONDS)[:, None]
            track = (1 - share) * track + share * target
        return track

    def _target(self) -> np.ndarray:
        if self._begun[-1][1].any():  # every other fixation returns to the listener
            return np.zeros(2)
        return self._rng.normal(0, self._reach).clip(*_farthest(self._reach))


def _farthest(reach_degrees: tuple[float, float]) -> tuple[float, float]:
    """Nobody looks aside further than twice as far as usual for long."""
    most = 2 * max(reach_degrees)
    return -most, most


def head_track(seconds: Float[np.ndarray, " t"], seed: int, limit_degrees: float = 4.0) -> Float[np.ndarray, "t 3"]:
    """Slow sway (yaw to the subject's left, pitch down, roll to the subject's right shoulder), degrees.

    A sum of sines of 0.05 to 0.45 Hz with seeded phases: smooth, never beyond the limit, the same at any frame rate.
    """
    rng = np.random.default_rng([seed, 3])
    hz = rng.uniform(0.05, 0.45, (5, 3))
    phase = rng.uniform(0, 2 * np.pi, (5, 3))
    weights = 0.1 / (0.1 + hz)
    sway = (weights * np.sin(2 * np.pi * hz * seconds[:, None, None] + phase)).sum(1) / weights.sum(0)
    return sway * limit_degrees * np.array([1.0, 0.7, 0.45])


def smoothstep(x: np.ndarray) -> np.ndarray:
    """From 0 at 0 to 1 at 1 with flat ends."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)
