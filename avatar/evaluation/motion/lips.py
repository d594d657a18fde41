"""Scores of the lips, from tables of frames; each with a bootstrap interval over segments of three seconds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from avatar.evaluation.metrics import correlation, lag_frames, slope
from avatar.evaluation.motion.frames import Frames

Score = Callable[[Frames], float]
DRAWS = 200


def _share(part: np.ndarray, of: np.ndarray) -> float:
    return float(part[of].mean()) if of.any() else float("nan")


def closure_recall(frames: Frames) -> float:
    """Of the frames in which the true lips are closed, the share near which the driver's are."""
    return _share(frames.near_closed, frames.closed_true)


def closure_precision(frames: Frames) -> float:
    """Of the frames in which the driver's lips are closed in speech, the share near which the true ones are."""
    return _share(frames.near_closed_true, frames.closed)


def closure_f1(frames: Frames) -> float:
    """Harmonic mean of both; 0 where the lips never close and should."""
    recall, precision = closure_recall(frames), np.nan_to_num(closure_precision(frames))
    return float(2 * recall * precision / (recall + precision)) if recall + precision > 0 else recall


def silence_motion(frames: Frames) -> float:
    """Energy of the driver's lip motion where nobody speaks, over that where somebody does."""
    loud = (frames.speed[frames.speech] ** 2).mean() if frames.speech.any() else 0.0
    return float((frames.speed[frames.quiet] ** 2).mean() / loud) if frames.quiet.any() and loud > 0 else float("nan")


SCORES: dict[str, Score] = {
    "lip_vertex_error_mm": lambda f: float(f.lip_error.mean()),
    "face_error_mm": lambda f: float(f.face_error.mean()),
    "aperture_r": lambda f: correlation(f.opening_true, f.opening),
    "aperture_speed_r": lambda f: correlation(f.speed_true, f.speed),
    "aperture_slope": lambda f: slope(f.opening_true, f.opening),
    "closure_f1": closure_f1,
    "closure_precision": closure_precision,
    "closure_recall": closure_recall,
    "silence_motion": silence_motion,
}
COMPARED = ("lip_vertex_error_mm", "closure_f1", "aperture_speed_r")
"""What a rung is compared with the one below by."""


def lip_lag_frames(frames: Frames) -> int | None:
    """By how many frames the driver's lips come after the true ones, by the best correlation within 12."""
    return lag_frames(frames.opening_true, frames.opening, most=12)


def intervals(frames: Frames, below: Frames | None, seed: int = 0) -> dict[str, tuple[float, float]]:
    """95 % intervals of all scores, and of `COMPARED` minus those of the rung below (`..._gain`), on the same draws."""
    rng = np.random.default_rng([seed, 51])
    members = [np.flatnonzero(frames.segment == k) for k in range(int(frames.segment[-1]) + 1)]
    drawn: dict[str, list[float]] = {}
    for _ in range(DRAWS):
        chosen = np.concatenate([members[k] for k in rng.integers(len(members), size=len(members))])
        mine = frames[chosen]
        for name, score in SCORES.items():
            drawn.setdefault(name, []).append(score(mine))
        if below is not None:
            theirs = below[chosen]
            for name in COMPARED:
                drawn.setdefault(f"{name}_gain", []).append(drawn[name][-1] - SCORES[name](theirs))
    return {name: _middle(values) for name, values in drawn.items()}


def _middle(values: list[float]) -> tuple[float, float]:
    known = np.array(values)[np.isfinite(values)]
    low, high = np.quantile(known, (0.025, 0.975)) if len(known) else (np.nan, np.nan)
    return float(low), float(high)
