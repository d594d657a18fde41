"""Motion priors as listeners: trained on one conversation of two synthetic people, measured on another."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from avatar.errors import BadInput
from avatar.head import load_head
from avatar.info import machine
from avatar.motion.backchannels import with_back_channels
from avatar.motion.controls.rest import Rest
from avatar.motion.face_geometry import FaceGeometry
from avatar.motion.prior.checkpoint import Prior
from avatar.motion.prior.config import TrainConfig
from avatar.motion.prior.data import material_of
from avatar.motion.prior.drive import drive
from avatar.motion.prior.training import train
from avatar.motion.rules import drive as by_rules
from avatar.motion.takes import Take
from avatar.motion.turns import Turns
from avatar.tracks import Motion
from preprocess.studio.listening_scores import Counts, count
from preprocess.studio.prior_bench import HELD_OUT_TEXT, TRAINING_TEXT
from preprocess.studio.speakers import conversation

_OTHER_TEXT = 300
"""Of the conversation whose partner is heard in place of the true one (`shuffled_partner`)."""


def run(
    speakers: Sequence[int],
    config: TrainConfig,
    *,
    seconds: float,
    held_out_seconds: float = 300.0,
    keep: Path | None = None,
) -> dict[str, Any]:
    """Let every two speakers talk with each other, train a prior on each one's side, and score every driver on another
    conversation of theirs.

    Rows are of all listeners together: `truth`; `truth_again`, the same people in the same conversation as they happen
    to move another time, which says what can fairly be expected; rules and the prior, alone and with rule-based
    back-channels; the prior with the other one's sound, and with that of another conversation. Scores are those of
    `listening_scores`.

    Args:
        seconds: of the conversation that each prior is trained on.
        held_out_seconds: of the one that they are measured on.
        keep: where priors stay for the next run.

    Raises:
        BadInput: an odd number of speakers.
    """
    if not speakers or len(speakers) % 2:
        raise BadInput("conversations are between two", expected="an even number of --seeds", got=str(len(speakers)))
    geometry, rows, spent, aside = FaceGeometry.of(load_head()), dict[str, Counts](), list[float](), []
    for a, b in zip(speakers[::2], speakers[1::2], strict=True):
        learned = conversation(a, b, seconds, text_seed=TRAINING_TEXT)
        talk = conversation(a, b, held_out_seconds, text_seed=HELD_OUT_TEXT)
        again = conversation(a, b, held_out_seconds, text_seed=HELD_OUT_TEXT, draw=1)
        others = conversation(a, b, held_out_seconds, text_seed=_OTHER_TEXT)
        for side, speaker in enumerate((a, b)):
            truth, began = talk[side], time.monotonic()
            prior = _prior(learned[side], config, geometry, keep and keep / f"listener_{speaker}_of_{a}_{b}.prior")
            spent.append(round(time.monotonic() - began, 1))
            turns = Turns.of(truth.samples_16k, talk[1 - side].samples_16k)
            for name, motion in _drivers(prior, truth, again[side], others[side], turns).items():
                counts = count(motion, truth.motion, turns, geometry)
                rows[name] = rows.get(name, Counts()) + counts
                aside.append({"speaker": speaker, "name": name} | counts.scores)
    about = {"machine": machine(), "training_seconds": spent, "steps": config.steps}
    return about | {"rows": [{"name": name} | counts.scores for name, counts in rows.items()], "each": aside}


def _prior(take: Take, config: TrainConfig, geometry: FaceGeometry, path: Path | None) -> Prior:
    if path and path.is_file():
        return Prior.load(path)
    prior = train(material_of([take], geometry), config)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        prior.save(path)
    return prior


def _drivers(prior: Prior, truth: Take, again: Take, other: Take, turns: Turns) -> dict[str, Motion]:
    """Motions of one listener by everybody who can move him."""
    sound, rest = truth.samples_16k, truth.face_at_rest

    def answering(motion: Motion) -> Motion:
        return with_back_channels(motion, turns, "neutral", seed=0, rest=Rest(expression=rest.astype(float)))

    def by_prior(partner) -> Motion:
        rung = "flow" if prior.weights else "l0"
        return drive(prior, sound, seed=0, neutral=rest, rung=rung, partner_16k=partner)

    rules, alone = by_rules(sound, seed=0, neutral=rest), by_prior(None)
    return {
        "truth": truth.motion, "truth_again": again.motion, "rules": rules, "rules_answering": answering(rules),
        "prior_alone": alone, "prior_alone_rules_answering": answering(alone),
        "prior": by_prior(truth.partner_16k), "prior_shuffled_partner": by_prior(other.partner_16k),
    }  # fmt: skip
