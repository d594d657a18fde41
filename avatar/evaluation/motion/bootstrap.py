"""Scores with intervals: segments of the held-out takes are drawn again, and the score is worked out from each draw.

Every score is a function of sums over segments of some seconds, so a draw costs a weighted sum. All rows are measured
on the same segments with the same draws: differences between rows are paired. Percentile intervals after Efron and
Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

Sums = Mapping[str, np.ndarray]
"""By name, one row per segment, or per draw of them."""
DRAWS, SEED = 400, 0
LEVEL = 0.95
LEAST_SEGMENTS = 5
"""With fewer, nothing is said about how sure a score is."""
_LEAST_SHARE = 0.9
"""Of the draws that must give a number."""


@dataclass(frozen=True)
class Score:
    """A number with the interval in which it lies with 95 % confidence, or the reason why there is none."""

    value: float | None
    low: float | None = None
    high: float | None = None
    why: str = ""
    """Why there is no value, or no interval."""
    draws: Float[np.ndarray, " b"] | None = None
    """The score in each draw of the segments; NaN where it had none."""

    @staticmethod
    def unknown(why: str) -> Score:
        """Nothing can be told."""
        return Score(None, why=why)

    def over(self, below: Score) -> Score:
        """How far this score lies over another row's, on the same segments."""
        if self.value is None or below.value is None:
            return Score.unknown(self.why or below.why)
        if self.draws is None or below.draws is None:
            return Score(self.value - below.value, why=self.why or below.why)
        return _with_interval(self.value - below.value, self.draws - below.draws)


@dataclass(frozen=True)
class Tally:
    """What a score is worked out from."""

    sums: Sums
    """Arrays (segments, ...)."""
    score: Callable[[Sums], Float[np.ndarray, " b"]]
    """From sums (b, ...) to b numbers; NaN says that there is none."""
    otherwise: str
    """Why, if there is none."""
    centred: bool = False
    """A distance, 0 at the least. Draws repeat segments, which moves distances upwards: take that off."""

    def judged(self) -> Score:
        """The score over all segments, with its interval."""
        with np.errstate(divide="ignore", invalid="ignore"):
            value = float(self.score({name: rows.sum(0)[None] for name, rows in self.sums.items()})[0])
            if not np.isfinite(value):
                return Score.unknown(self.otherwise)
            segments = len(next(iter(self.sums.values())))
            if segments < LEAST_SEGMENTS:
                return Score(value, why=f"only {segments} segments to draw from")
            weights = drawn(segments)
            draws = self.score({name: np.tensordot(weights, rows, 1) for name, rows in self.sums.items()})
        if self.centred:
            draws = np.maximum(draws + (value - np.nanmean(draws)), 0)
        return _with_interval(value, draws)


def drawn(segments: int) -> Float[np.ndarray, "b s"]:
    """How often each segment is in each draw: the same for every row of a card."""
    rng = np.random.default_rng([SEED, segments])
    return rng.multinomial(segments, np.full(segments, 1 / segments), size=DRAWS).astype(np.float64)


def _with_interval(value: float, draws: Float[np.ndarray, " b"]) -> Score:
    finite = draws[np.isfinite(draws)]
    if len(finite) < _LEAST_SHARE * len(draws):
        return Score(value, why="too few segments have any of it", draws=draws)
    low, high = np.percentile(finite, (50 * (1 - LEVEL), 50 * (1 + LEVEL)))
    return Score(value, float(low), float(high), draws=draws)


def ratio(sums: Sums) -> Float[np.ndarray, " b"]:
    """`top` over `bottom`."""
    return np.where(sums["bottom"] > 0, sums["top"] / sums["bottom"], np.nan)


def pearson(sums: Sums) -> Float[np.ndarray, "b *k"]:
    """Correlation from `pair_sums`; NaN where one side does not vary."""
    n, a, b = sums["n"], sums["a"], sums["b"]
    variance = (n * sums["aa"] - a**2) * (n * sums["bb"] - b**2)
    return np.where(variance > 1e-12 * n**4, (n * sums["ab"] - a * b) / np.sqrt(np.maximum(variance, 1e-300)), np.nan)


def deviation(n: np.ndarray, x: np.ndarray, xx: np.ndarray) -> np.ndarray:
    """Standard deviation from count, sum and sum of squares."""
    return np.sqrt(np.maximum(xx / n - (x / n) ** 2, 0))
