"""Whether the lips do what they should: errors in millimetres, courses of their opening, closures, silence."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy.ndimage import binary_dilation

from avatar.evaluation.motion.bootstrap import Score, Sums, Tally, deviation, pearson, ratio
from avatar.evaluation.motion.material import Course, Pair
from avatar.motion.prosody import runs_of

TOLERANCE_FRAMES = 2
_STILL_MM = 1e-3
_UNSEEN, _STILL = "no frame was tracked", "a mouth never moves"


def lip_scores(pair: Pair, closed_mm: float) -> dict[str, Tally | Score]:
    """Errors of the lips, FaceFormer's among them (Fan et al., CVPR 2022), and how their opening follows the truth's.

    Args:
        closed_mm: aperture below which this person's lips count as closed.
    """
    apart = [m.expression - t.expression for m, t in zip(pair.made, pair.true, strict=True)]
    lips = [1e3 * np.linalg.norm(np.tensordot(d, pair.geometry.lip_basis, 1), axis=-1) for d in apart]
    made, true = ([c.aperture_mm for c in courses] for courses in (pair.made, pair.true))
    rows = {
        "lip_vertex_error_mm": [d.max(1) for d in lips],
        "lip_vertex_error_mm2": [d.max(1) ** 2 for d in lips],
        "lip_mean_error_mm": [d.mean(1) for d in lips],
        "face_error_mm": [1e3 * np.sqrt(((d @ pair.geometry.gram) * d).sum(1).clip(0)) for d in apart],
        "aperture_error_mm": [np.abs(a - b) for a, b in zip(made, true, strict=True)],
    }
    scores: dict[str, Tally | Score] = {name: Tally(pair.mean(r), ratio, _UNSEEN) for name, r in rows.items()}
    moments = pair.moments(true, made, pair.held.known)
    steps = pair.moments([np.diff(a) for a in true], [np.diff(a) for a in made], pair.known(1))
    scores["aperture_r"] = Tally(moments, pearson, _STILL)
    scores["aperture_speed_r"] = Tally(steps, pearson, _STILL)
    scores["aperture_slope"] = Tally(moments, _slope, "the true mouth never moves")
    scores["aperture_ratio"] = Tally(moments, _amplitudes, "the true mouth never moves")
    scores |= _closures(pair, closed_mm) | {"closure_depth_error_mm": _depth_error(pair, closed_mm)}
    energy = [np.diff(course.aperture_mm) ** 2 for course in pair.made]
    return scores | {"silence_motion": pair.silence_over_speech(energy, "lips that never move")}


def _slope(sums: Sums) -> Float[np.ndarray, " b"]:
    n, a, b = sums["n"], sums["a"], sums["b"]
    variance = n * sums["aa"] - a**2
    return np.where(variance > (_STILL_MM * n) ** 2, (n * sums["ab"] - a * b) / variance, np.nan)


def _amplitudes(sums: Sums) -> Float[np.ndarray, " b"]:
    true, made = (deviation(sums["n"], sums[k], sums[k + k]) for k in "ab")
    return np.where(true > _STILL_MM, made / true, np.nan)


def _closures(pair: Pair, closed_mm: float) -> dict[str, Tally | Score]:
    """Frames with closed lips in speech; a match is one of the other side's within `TOLERANCE_FRAMES`."""
    counts: dict[str, list[np.ndarray]] = {name: [] for name in ("true", "met", "made", "right")}
    for true, made, heard in zip(pair.true, pair.made, pair.held.heard, strict=True):
        shut_true, shut = (heard.speech & (course.aperture_mm < closed_mm) for course in (true, made))
        counts["true"].append(shut_true)
        counts["met"].append(shut_true & _near(shut))
        counts["made"].append(shut)
        counts["right"].append(shut & _near(shut_true))
    sums = {
        name: pair.held.segments.sums([r.astype(float) for r in rows], pair.held.known) for name, rows in counts.items()
    }
    never = "the true lips never close in speech"
    return {
        "closure_f1": Tally(sums, _f1, never),
        "closure_precision": Tally(sums, _precision, "the lips never close in speech"),
        "closure_recall": Tally(sums, _recall, never),
    }


def _near(flags: np.ndarray) -> np.ndarray:
    return np.asarray(binary_dilation(flags, iterations=TOLERANCE_FRAMES))


def _recall(sums: Sums) -> Float[np.ndarray, " b"]:
    return np.where(sums["true"] > 0, sums["met"] / sums["true"], np.nan)


def _precision(sums: Sums) -> Float[np.ndarray, " b"]:
    return np.where(sums["made"] > 0, sums["right"] / sums["made"], np.nan)


def _f1(sums: Sums) -> Float[np.ndarray, " b"]:
    """0 where lips should close and never do."""
    recall, precision = _recall(sums), np.nan_to_num(_precision(sums))
    both = recall + precision
    return np.where(both > 0, 2 * recall * precision / both, recall)


def _depth_error(pair: Pair, closed_mm: float) -> Tally:
    """How much further open, or more pressed, the lips are at their closest around each true closure in speech."""
    starts, errors = list[np.ndarray](), list[np.ndarray]()
    for true, made, heard, known in zip(pair.true, pair.made, pair.held.heard, pair.held.known, strict=True):
        events = runs_of((true.aperture_mm < closed_mm) & heard.speech & known)
        starts.append(events[:, 0])
        errors.append(np.abs(_depths(made, events) - _depths(true, events)))
    events = pair.held.segments.events
    return Tally(
        {"top": events(starts, errors), "bottom": events(starts)}, ratio, "the true lips never close in speech"
    )


def _depths(course: Course, events: Int[np.ndarray, "n 2"]) -> Float[np.ndarray, " n"]:
    spans = [slice(max(0, start - TOLERANCE_FRAMES), end + TOLERANCE_FRAMES) for start, end in events]
    return np.array([course.aperture_mm[span].min() for span in spans], np.float64)
