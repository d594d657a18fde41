"""Motion priors on synthetic speakers: trained on what one says, measured on other words of his."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from avatar.evaluation.motion.ladder import at_25, evaluate
from avatar.head import load_head
from avatar.info import machine
from avatar.memory import peak_rss_mb
from avatar.motion.eyes import head_degrees
from avatar.motion.face_geometry import FaceGeometry
from avatar.motion.hearing import hear
from avatar.motion.prior.checkpoint import Prior
from avatar.motion.prior.config import TrainConfig
from avatar.motion.prior.data import Material, material_of
from avatar.motion.prior.drive import Rung, drive
from avatar.motion.prior.training import train
from avatar.motion.takes import Take
from avatar.tracks import Motion
from preprocess.studio.autoregression import autoregression
from preprocess.studio.speakers import recital

TRAINING_TEXT, HELD_OUT_TEXT = 100, 200
"""Seeds of what speakers say."""
_REPEATS = 10
"""Of a held-out take: of a minute, they make ten."""


def run(
    speakers: Sequence[int],
    config: TrainConfig,
    *,
    seconds: float,
    held_out_seconds: float = 60.0,
    keep: Path | None = None,
    rivals: bool = False,
) -> dict[str, Any]:
    """Train a prior for each speaker and score every rung on other words of his.

    Rows are those of the card (`avatar.evaluation.motion`), one per speaker and driver, with the training's time and,
    for the flow network, its real-time factor on one core.

    Args:
        seconds: of speech that each is trained on.
        held_out_seconds: of other words that he is measured on.
        keep: where priors and pages stay.
        rivals: train also, for as many steps, a prior on the paths of denoising diffusion and a network that predicts
            each frame from the one before.
    """
    geometry, rows = FaceGeometry.of(load_head()), list[dict[str, Any]]()
    for speaker in speakers:
        training = recital(speaker, seconds, text_seed=TRAINING_TEXT)
        truth = recital(speaker, held_out_seconds, text_seed=HELD_OUT_TEXT)
        began = time.monotonic()
        material = material_of([training], geometry)
        prior = train(material, config)
        spent = round(time.monotonic() - began, 1)
        others = _rivals(material, config, at_25(truth), training) if rivals else {}
        card = evaluate(prior, [truth], [training], geometry, others=others)
        if keep:
            prior.save(keep / f"speaker_{speaker}.prior")
            card.write_page(keep / f"speaker_{speaker}.html", f"studio speaker {speaker}")
        told = {"training_seconds": spent, "steps": config.steps, "real_time_factor": _real_time_factor(prior, truth)}
        told["drift"] = drift(prior, truth, geometry)
        rows += [{"speaker": speaker} | row | (told if row["name"] == "flow" else {}) for row in card.rows]
    return {"machine": machine(), "rows": rows, "peak_rss_mb": peak_rss_mb()}


def _rivals(material: Material, config: TrainConfig, truth: Take, training: Take) -> dict[str, list[Motion]]:
    ddpm, regression = train(material, replace(config, schedule="ddpm")), autoregression(material, config)
    samples, rest, space = truth.samples_16k, training.face_at_rest, material.prior.space
    x = space.guarded(regression.motion(hear(samples, material.prior.level)))
    return {
        "ddpm": [drive(ddpm, samples, seed=0, neutral=rest)],
        "autoregression": [space.decode(x, truth.motion.timestamps_seconds, rest)],
    }


def _real_time_factor(prior: Prior, take: Take) -> float | None:
    """Seconds of one core per second of streamed motion."""
    if not prior.weights:
        return None
    began = time.process_time()
    drive(prior, take.samples_16k, seed=0, rung="stream")
    return round((time.process_time() - began) / (len(take.motion) / take.motion.fps), 4)


def drift(prior: Prior, take: Take, geometry: FaceGeometry) -> float:
    """By which share, at most, the last tenth of a long speech differs from the first, in which the same is said.

    Of the lips' opening, its deviation, and the speed of the head: what creeps would show.
    """
    rung: Rung = "flow" if prior.weights else "l0"
    motion = drive(prior, np.tile(take.samples_16k, _REPEATS), seed=0, rung=rung)
    part = len(motion) // _REPEATS
    first, last = (_summary(motion[frames], geometry) for frames in (slice(0, part), slice(-part, None)))
    return round(float(np.abs(last / first - 1).max()), 3)


def _summary(motion: Motion, geometry: FaceGeometry) -> Float[np.ndarray, "3"]:
    opening, turn = geometry.aperture(motion.expression), head_degrees(motion)
    return np.array([opening.mean(), opening.std(), np.linalg.norm(np.diff(turn, axis=0), axis=1).mean()])
