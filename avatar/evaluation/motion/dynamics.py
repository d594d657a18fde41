"""How far, how fast and how steadily a face moves beside the truth, whenever it does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.signal import butter, sosfiltfilt

from avatar.evaluation.motion.bootstrap import Score, Sums, Tally, deviation, ratio
from avatar.evaluation.motion.material import Pair
from avatar.head.arkit import ARKIT_INDEX
from avatar.motion.hearing import FPS

LAGS = 5
_JAW = [index for name, index in ARKIT_INDEX.items() if name.startswith("jaw")]
_FAST_HZ = {"lips": 10.0, "head": 5.0}
_LEAST_FILTERED = 30
"""Frames: shorter takes can't be filtered."""
_AXES = ("yaw", "pitch", "roll")
_STILL = "the true one does not move"


def dynamics_scores(pair: Pair) -> dict[str, Tally | Score]:
    """FDD of upper face, head (PDD) and jaw (JDD), of speeds too, which order in time matters to; autocorrelations.

    FDD after CodeTalker (Xing et al., CVPR 2023): the difference of deviations over time, here its mean absolute value
    over components.
    """
    jaw_mm = 1e3 * np.sqrt(np.diag(pair.geometry.gram)[_JAW])
    courses = {
        "upper_{}_mm": pair.moved("upper"),
        "head_{}_deg": ([c.head_degrees for c in pair.true], [c.head_degrees for c in pair.made]),
        "jaw_{}_mm": ([c.expression[:, _JAW] * jaw_mm for c in pair.true],
                      [c.expression[:, _JAW] * jaw_mm for c in pair.made]),
    }  # fmt: skip
    found: dict[str, Tally | Score] = {}
    for name, (true, made) in courses.items():
        found[name.format("dynamics")] = _spread(pair, true, made)
        speeds = ([FPS * np.diff(rows, axis=0) for rows in side] for side in (true, made))
        found[name.format("speed_dynamics") + "_s"] = _spread(pair, *speeds, apart=1)
    for group in ("upper", "head"):
        found[f"{group}_autocorrelation_error"] = _autocorrelation(pair, *pair.moved(group))
    moments = _moments(pair, *courses["head_{}_deg"], apart=0)
    for axis, name in enumerate(_AXES):
        found[f"head_{name}_ratio"] = Tally(moments, lambda s, axis=axis: _ratios(s)[:, axis], _STILL)
    return found


def _moments(pair: Pair, true: Sequence[np.ndarray], made: Sequence[np.ndarray], apart: int) -> Sums:
    sums, where = pair.held.segments.sums, pair.known(apart)
    rows = {"n": [np.ones((len(r), 1)) for r in true], "t": true, "m": made}
    rows |= {"tt": [r**2 for r in true], "mm": [r**2 for r in made]}
    return {name: sums(r, where) for name, r in rows.items()}


def _deviations(sums: Sums) -> tuple[np.ndarray, np.ndarray]:
    true, made = (deviation(sums["n"], sums[k], sums[k + k]) for k in "tm")
    return true, made


def _ratios(sums: Sums) -> Float[np.ndarray, "b k"]:
    true, made = _deviations(sums)
    return np.where(true > 1e-6, made / true, np.nan)


def _spread(pair: Pair, true: Sequence[np.ndarray], made: Sequence[np.ndarray], apart: int = 0) -> Tally:
    def score(sums: Sums) -> Float[np.ndarray, " b"]:
        a, b = _deviations(sums)
        return np.abs(b - a).mean(1)

    return Tally(_moments(pair, true, made, apart), score, "too few frames were tracked", centred=True)


def _autocorrelation(pair: Pair, true: Sequence[np.ndarray], made: Sequence[np.ndarray]) -> Tally:
    """Mean absolute error of the autocorrelations at 1 to `LAGS` frames."""
    where = pair.known(LAGS)

    def products(side: Sequence[np.ndarray]) -> np.ndarray:
        middled = [rows - rows.mean(0) for rows in side]
        rows = [
            np.stack([m[: len(m) - LAGS] * m[lag : len(m) - LAGS + lag] for lag in range(LAGS + 1)], 1) for m in middled
        ]
        return pair.held.segments.sums(rows, where)

    def score(sums: Sums) -> Float[np.ndarray, " b"]:
        true, made = (np.where(s[:, :1] > 1e-9, s[:, 1:] / s[:, :1], np.nan) for s in (sums["t"], sums["m"]))
        return np.nanmean(np.abs(made - true), axis=(1, 2)) if np.isfinite(made).any() else np.full(len(made), np.nan)

    return Tally({"t": products(true), "m": products(made)}, score, "nothing of it moves", centred=True)


def trembling_scores(pair: Pair) -> dict[str, Tally | Score]:
    """Jitter and fast movement over the truth's: more trembles, less than 1 is smoothed."""
    found: dict[str, Tally | Score] = {}
    for group, unit in (("lips", "lip"), ("head", "head")):
        true, made = pair.moved(group)
        third = [[np.linalg.norm(np.diff(rows, 3, axis=0), axis=1) for rows in side] for side in (true, made)]
        sums = {"top": pair.mean(third[1], pair.known(3))["top"], "bottom": pair.mean(third[0], pair.known(3))["top"]}
        found[f"{unit}_jitter_ratio"] = Tally(sums, ratio, _STILL)
        hz = _FAST_HZ[group]
        if min(len(rows) for rows in true) < _LEAST_FILTERED:
            found[f"{unit}_energy_over_{hz:g}hz"] = Score.unknown("the takes are too short to filter")
            continue
        fast = [[_over(rows, hz) for rows in side] for side in (true, made)]
        sums = {"top": pair.mean(fast[1])["top"], "bottom": pair.mean(fast[0])["top"]}
        found[f"{unit}_energy_over_{hz:g}hz"] = Tally(sums, ratio, _STILL)
    return found


def _over(rows: Float[np.ndarray, "t k"], hz: float) -> Float[np.ndarray, " t"]:
    return (sosfiltfilt(butter(4, hz, "high", fs=FPS, output="sos"), rows, axis=0) ** 2).sum(1)
