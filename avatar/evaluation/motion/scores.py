"""All scores of one driver's motions that come as tallies, with their intervals, for the rows of the card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from avatar.evaluation.metrics import rounded
from avatar.evaluation.motion.bootstrap import Score, Tally
from avatar.evaluation.motion.dynamics import dynamics_scores, trembling_scores
from avatar.evaluation.motion.events import beat_scores, drift_degrees, eye_scores, pause_scores, support_scores
from avatar.evaluation.motion.frechet import frechet_scores
from avatar.evaluation.motion.lips import lip_scores
from avatar.evaluation.motion.material import Course, HeldOut, Pair, steady
from avatar.evaluation.motion.reference import Reference
from avatar.evaluation.motion.sync import sync_scores
from avatar.motion.resampling import resampled
from avatar.tracks import Motion


def measure(generated: Sequence[Motion], held: HeldOut, reference: Reference) -> dict[str, Score]:
    """Scores of a driver's motions, one for each held-out take, by name.

    Args:
        generated: on the takes' clocks, at any rate; one that ends before its take stays as it is until the end.
    """
    pair = pair_of(generated, held, reference)
    found = lip_scores(pair, reference.closed_mm) | sync_scores(pair, reference.probe)
    found |= dynamics_scores(pair) | trembling_scores(pair) | frechet_scores(pair, reference.windows)
    found |= beat_scores(pair) | eye_scores(pair) | pause_scores(pair, reference.rest_mm)
    found |= support_scores(pair, reference.training) | {"head_drift_deg": drift_degrees(pair)}
    return judged(found)


def pair_of(generated: Sequence[Motion], held: HeldOut, reference: Reference) -> Pair:
    """A driver's motions beside the truth."""
    fitted = [resampled(steady(m), true.timestamps_seconds) for m, true in zip(generated, held.motions, strict=True)]
    made = [Course.of(motion, reference.geometry, reference.space) for motion in fitted]
    return Pair(held, fitted, made, reference.geometry)


def judged(found: Mapping[str, Tally | Score]) -> dict[str, Score]:
    """Tallies as scores."""
    return {name: one.judged() if isinstance(one, Tally) else one for name, one in found.items()}


def as_columns(scores: Mapping[str, Score], below: Mapping[str, Score] | None) -> dict[str, Any]:
    """For a row of the card: values, intervals (`..._ci`), intervals over the rung below (`..._gain`), and reasons.

    `unknown` says of each score without a value, or without an interval, why.
    """
    row: dict[str, Any] = {name: None if s.value is None else rounded(s.value) for name, s in scores.items()}
    for name, score in scores.items():
        pairs = {"ci": score} | ({"gain": score.over(below[name])} if below else {})
        for kind, one in pairs.items():
            if one.low is not None and one.high is not None:
                row[f"{name}_{kind}"] = [rounded(one.low), rounded(one.high)]
    return row | {"unknown": {name: score.why for name, score in scores.items() if score.why}}
