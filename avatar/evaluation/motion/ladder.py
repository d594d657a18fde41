"""What every driver makes of held-out takes: the rungs of the ladder, and what they must beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from avatar.evaluation.motion.card import LADDER, Card, diversity, make_card, silence_test
from avatar.evaluation.motion.material import Heard
from avatar.evaluation.motion.reference import Reference
from avatar.evaluation.motion.sounds import robustness
from avatar.motion import rules
from avatar.motion.face_geometry import FaceGeometry
from avatar.motion.hearing import FPS
from avatar.motion.prior.checkpoint import Prior
from avatar.motion.prior.data import split_take
from avatar.motion.prior.drive import Rung, drive
from avatar.motion.resampling import resampled
from avatar.motion.takes import Take
from avatar.progress import progress
from avatar.tracks import Motion

DIVERSITY_SEEDS = 10
_DIVERSITY_SECONDS = 20.0
_BRIEF = ("lip_vertex_error_mm", "closure_f1", "aperture_r", "lag_frames")


def evaluate(
    prior: Prior,
    truth: Sequence[Take],
    training: Sequence[Take],
    geometry: FaceGeometry,
    *,
    seed: int = 0,
    disguised: bool = False,
    others: Mapping[str, Sequence[Motion]] | None = None,
) -> Card:
    """The card of a prior on held-out takes: truth, mean pose, another's sound, rules, L0, flow, streamed flow.

    Args:
        training: of each take of `truth`, what its person was filmed doing besides: it tells how he rests and closes
            his lips.
        others: motions of other drivers, one for each take, to be scored beside.
        disguised: measure also how the lips change if the same words sound differently (`sounds.robustness`).
    """
    truth = [at_25(take) for take in truth]
    motions = drivers(prior, truth, training, seed) | dict(others or {})
    reference = Reference.of(training, geometry)
    card = make_card(motions, truth, reference)
    rung: Rung = "flow" if prior.weights else "l0"
    best = card.row(rung)

    def best_drive(samples: np.ndarray) -> Motion:
        return drive(prior, samples, seed=seed, rung=rung)

    sound = truth[0].samples_16k[: round(_DIVERSITY_SECONDS * 16_000)]
    best |= _rounded(diversity([drive(prior, sound, seed=s, rung=rung) for s in range(DIVERSITY_SEEDS)], geometry))
    best |= _rounded(silence_test(best_drive, reference, _speech_energy(motions[rung], truth, geometry)))
    return replace(card, robustness={rung: robustness(best_drive, truth, reference)}) if disguised else card


def brief(prior: Prior, takes: Sequence[Take], geometry: FaceGeometry) -> dict[str, dict[str, float | None]]:
    """The rungs beside each other on what was held out of the takes of a training, in a few scores of the lips."""
    training, truth = zip(*(split_take(take) for take in takes), strict=True)
    truth = [at_25(take) for take in truth]
    made = drivers(prior, truth, training, seed=0)
    card = make_card({name: made[name] for name in LADDER if name in made}, truth, Reference.of(training, geometry))
    return {row["name"]: {score: row[score] for score in _BRIEF} for row in card.rows}


def _speech_energy(motions: Sequence[Motion], truth: Sequence[Take], geometry: FaceGeometry) -> float:
    """Mean square of the lips' change from frame to frame in speech, mm²."""
    heard = [Heard.of(take.samples_16k, take.motion).speech for take in truth]
    opening = [1e3 * geometry.aperture(motion.expression) for motion in motions]
    steps = [np.diff(x) ** 2 for x in opening]
    return float(np.concatenate([step[said[1:]] for step, said in zip(steps, heard, strict=True)]).mean())


def drivers(prior: Prior, truth: Sequence[Take], training: Sequence[Take], seed: int) -> dict[str, list[Motion]]:
    """Motions of all drivers for each take, of a face that rests as its person's does in training."""
    out: dict[str, list[Motion]] = {"truth": [take.motion for take in truth]}
    best: Rung = "flow" if prior.weights else "l0"
    learned: list[Rung] = ["l0", "flow", "stream"] if prior.weights else ["l0"]
    mean = np.zeros((1, prior.space.size), np.float32)
    with progress("driving", len(truth)) as bar:
        for k, (take, known) in enumerate(zip(truth, training, strict=True)):
            rest = known.face_at_rest
            still = prior.space.decode(mean, np.zeros(1), rest)
            other = np.roll(take.samples_16k, len(take.samples_16k) // 2)
            made = {
                "mean_pose": resampled(still, take.motion.timestamps_seconds),
                "shuffled_audio": drive(prior, other, seed=seed, rung=best, neutral=rest),
                "rules": rules.drive(take.samples_16k, seed=seed, fps=FPS, neutral=rest),
            }
            for rung in learned:
                made[rung] = drive(
                    prior, take.samples_16k, seed=seed, rung=rung, partner_16k=take.partner_16k, neutral=rest
                )
            for name, motion in made.items():
                out.setdefault(name, []).append(motion)
            bar.update(k + 1)
    return out


def at_25(take: Take) -> Take:
    """A take at the rate that priors think in."""
    seconds = np.arange(max(1, round(len(take.samples_16k) / 16_000 * FPS))) / FPS
    known = take.motion.timestamps_seconds
    confidence = np.interp(seconds, known - known[0], take.confidence).astype(np.float32)
    motion = resampled(replace(take.motion, timestamps_seconds=known - known[0]), seconds)
    return replace(take, motion=motion, confidence=confidence)


def _rounded(scores: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in scores.items()}
