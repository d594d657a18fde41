"""What every driver makes of held-out takes: the rungs of the ladder, and what they must beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from avatar.evaluation.motion.card import Card, diversity, make_card, silence_test
from avatar.evaluation.motion.frames import speech_of
from avatar.motion import rules
from avatar.motion.face_geometry import FaceGeometry
from avatar.motion.hearing import FPS
from avatar.motion.prior.checkpoint import Prior
from avatar.motion.prior.drive import Rung, drive
from avatar.motion.resampling import resampled
from avatar.motion.space import rest_of
from avatar.motion.takes import Take
from avatar.progress import progress
from avatar.tracks import Motion

DIVERSITY_SEEDS = 10
_DIVERSITY_SECONDS = 20.0


def evaluate(
    prior: Prior, truth: Sequence[Take], training: Sequence[Take], geometry: FaceGeometry, *, seed: int = 0
) -> Card:
    """The card of a prior on held-out takes: truth, mean pose, another's sound, rules, L0, flow, streamed flow."""
    truth = [at_25(take) for take in truth]
    motions = drivers(prior, truth, training, seed)
    card = make_card(motions, truth, training, geometry)
    rung: Rung = "flow" if prior.weights else "l0"
    best = card.row(rung)
    sound = truth[0].samples_16k[: round(_DIVERSITY_SECONDS * 16_000)]
    best |= _rounded(diversity([drive(prior, sound, seed=s, rung=rung) for s in range(DIVERSITY_SEEDS)], geometry))
    opening = [
        1e3 * geometry.aperture(m.expression)[speech_of(t)[0]] for m, t in zip(motions[rung], truth, strict=True)
    ]
    energy = float(np.concatenate([np.diff(x) ** 2 for x in opening]).mean())
    best |= _rounded(silence_test(lambda samples: drive(prior, samples, seed=seed, rung=rung), geometry, energy))
    return card


def drivers(prior: Prior, truth: Sequence[Take], training: Sequence[Take], seed: int) -> dict[str, list[Motion]]:
    """Motions of all drivers for each take."""
    rest = rest_of(training[0].motion, training[0].confidence > 0)
    mean = prior.space.decode(np.zeros((1, prior.space.size), np.float32), np.zeros(1))
    out: dict[str, list[Motion]] = {
        "truth": [take.motion for take in truth],
        "mean_pose": [resampled(mean, take.motion.timestamps_seconds) for take in truth],
    }
    learned: dict[str, Rung] = {"l0": "l0"}
    learned |= {"flow": "flow", "stream": "stream"} if prior.weights else {}
    with progress("driving", (len(learned) + 1) * len(truth)) as bar:
        for k, take in enumerate(truth):
            best: Rung = "flow" if prior.weights else "l0"
            other = np.roll(take.samples_16k, len(take.samples_16k) // 2)
            out.setdefault("shuffled_audio", []).append(drive(prior, other, seed=seed, rung=best))
            out.setdefault("rules", []).append(rules.drive(take.samples_16k, seed=seed, fps=FPS, neutral=rest))
            for name, rung in learned.items():
                made = drive(prior, take.samples_16k, seed=seed, rung=rung, partner_16k=take.partner_16k)
                out.setdefault(name, []).append(made)
                bar.update(k * len(learned) + len(out[name]))
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
