"""Further errors of lips: squared, over all of them, of their opening, and in closures."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from avatar.evaluation.motion.bootstrap import Score, Sums, Tally, deviation, ratio
from avatar.evaluation.motion.frames import TOLERANCE_FRAMES
from avatar.evaluation.motion.material import Course, Pair
from avatar.motion.prosody import runs_of

_STILL_MM = 1e-3


def mouth_scores(pair: Pair, closed_mm: float) -> dict[str, Tally | Score]:
    """FaceFormer's lip vertex error (Fan et al., CVPR 2022), mean lip error, and errors of the opening.

    Args:
        closed_mm: aperture below which this person's lips count as closed.
    """
    apart = [m.expression - t.expression for m, t in zip(pair.made, pair.true, strict=True)]
    lips = [1e3 * np.linalg.norm(np.tensordot(d, pair.geometry.lip_basis, 1), axis=-1) for d in apart]
    made, true = ([c.aperture_mm for c in courses] for courses in (pair.made, pair.true))
    rows = {
        "lip_vertex_error_mm2": [d.max(1) ** 2 for d in lips],
        "lip_mean_error_mm": [d.mean(1) for d in lips],
        "aperture_error_mm": [np.abs(a - b) for a, b in zip(made, true, strict=True)],
    }
    scores: dict[str, Tally | Score] = {n: Tally(pair.mean(r), ratio, "no frame was tracked") for n, r in rows.items()}
    moments = pair.moments(true, made, pair.held.known)
    scores["aperture_ratio"] = Tally(moments, _amplitudes, "the true mouth never moves")
    return scores | {"closure_depth_error_mm": _depth_error(pair, closed_mm)}


def _amplitudes(sums: Sums) -> Float[np.ndarray, " b"]:
    true, made = (deviation(sums["n"], sums[k], sums[k + k]) for k in "ab")
    return np.where(true > _STILL_MM, made / true, np.nan)


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
