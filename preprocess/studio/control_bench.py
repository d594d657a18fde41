"""Whether what a user asks of a motion prior happens, on synthetic speakers: styles, guidance, temperature, redoing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from avatar.evaluation.motion.control import dial_order, key_error_mm, leakage, retrieval_auc
from avatar.head import load_head
from avatar.info import machine
from avatar.memory import peak_rss_mb
from avatar.motion.eyes import head_degrees
from avatar.motion.face_geometry import FaceGeometry
from avatar.motion.groups import GROUP_NAMES
from avatar.motion.prior.borrowed_style import BorrowedStyle
from avatar.motion.prior.checkpoint import Prior
from avatar.motion.prior.config import TrainConfig
from avatar.motion.prior.data import material_of
from avatar.motion.prior.drive import drive, redo
from avatar.motion.prior.sampling import Sampling
from avatar.motion.prior.training import train
from avatar.motion.takes import Take
from avatar.tracks import Motion
from preprocess.studio.speakers import recital

GUIDANCE = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
TEMPERATURE = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0)
_TRAINING_TEXT, _REFERENCE_TEXT, _OTHER_TEXT = 100, 201, 301
"""Seeds of what speakers say; everybody is trained on words of his own."""
_SEEDS = 3
_KEY_FRAMES = 40
"""Between keyframes."""


def run(
    speakers: Sequence[int],
    config: TrainConfig,
    *,
    seconds: float = 60.0,
    clip_seconds: float = 30.0,
    keep: Path | None = None,
) -> dict[str, Any]:
    """Train one prior on several speakers, and use every control.

    Rows have `case` and what was measured:

    - `style`: the chance that a clip driven in somebody's style lies nearer to his clip than to others' (`auc`), and
      the same of true clips (`ceiling`); of the speakers of the training and of as many others.
    - `guidance`, `temperature`: rank correlation of the dial with what it should raise (`order`), with the `responses`.
    - `redo`: what making one group or span anew changed elsewhere.
    - `keys`: how far keyframes are missed when all between them is made anew.

    Args:
        seconds: of speech that each speaker is trained on.
        clip_seconds: of each clip that a style is told from, and of each that is driven.
        keep: where the prior stays.
    """
    geometry = FaceGeometry.of(load_head())
    training = [recital(speaker, seconds, text_seed=_TRAINING_TEXT + k) for k, speaker in enumerate(speakers)]
    prior = train(material_of(training, geometry), config)
    if keep:
        prior.save(keep / "shared.prior")
    strangers = range(max(speakers) + 1, max(speakers) + 1 + len(speakers))
    listeners = [recital(s, clip_seconds, text_seed=_OTHER_TEXT + k) for k, s in enumerate(strangers[:2])]
    rows = [
        style_row(prior, "speakers of the training", speakers, listeners, clip_seconds),
        style_row(prior, "other speakers", strangers, listeners, clip_seconds),
    ]
    held_out = [recital(speaker, clip_seconds, text_seed=_OTHER_TEXT) for speaker in speakers[:3]]
    rows += dial_rows(prior, held_out, geometry) + redo_rows(prior, held_out[0], geometry)
    return {"machine": machine(), "rows": rows, "peak_rss_mb": peak_rss_mb()}


def style_row(prior: Prior, of: str, speakers: Sequence[int], sounds: Sequence[Take], seconds: float) -> dict[str, Any]:
    """Everybody's style on other people's sounds."""
    whose = np.arange(len(speakers))
    styles = [_style(prior, recital(s, seconds, text_seed=_REFERENCE_TEXT)) for s in speakers]
    true = [_style(prior, recital(s, seconds, text_seed=_REFERENCE_TEXT + 1)) for s in speakers]
    references = np.stack([style.code for style in styles])
    driven = list[Float[np.ndarray, " s"]]()
    for seed, take in enumerate(sounds):
        for style in styles:
            motion = drive(style.onto(prior), take.samples_16k, seed=seed, neutral=take.face_at_rest)
            driven.append(_style(prior, replace(take, motion=motion, confidence=np.ones(len(motion)))).code)
    auc = retrieval_auc(np.stack(driven), references, np.tile(whose, len(sounds)))
    ceiling = retrieval_auc(np.stack([style.code for style in true]), references, whose)
    return {"case": "style", "of": of, "auc": round(auc, 3), "ceiling": round(ceiling, 3)}


def _style(prior: Prior, take: Take) -> BorrowedStyle:
    return BorrowedStyle.of_motion(prior, take.motion, take.confidence > 0)


def dial_rows(prior: Prior, takes: Sequence[Take], geometry: FaceGeometry) -> list[dict[str, Any]]:
    """Guidance against lips, temperature against what differs from seed to seed."""

    def driven(take: Take, seed: int, **dials: dict[str, float]) -> Motion:
        style = _style(prior, take)
        sampling = Sampling(**dials)  # pyright: ignore[reportArgumentType]
        return drive(style.onto(prior), take.samples_16k, seed=seed, neutral=take.face_at_rest, sampling=sampling)

    def lips(value: float) -> dict[str, float]:
        made = [geometry.aperture(driven(t, 0, guidance=_all(value)).expression) for t in takes]
        true = [geometry.aperture(t.motion.expression)[: len(m)] for t, m in zip(takes, made, strict=True)]
        r = [np.corrcoef(m[: len(t)], t)[0, 1] for m, t in zip(made, true, strict=True)]
        return {"aperture_mm": 1e3 * float(np.mean([m.std() for m in made])), "aperture_r": float(np.mean(r))}

    def chance(value: float) -> dict[str, float]:
        many = [[driven(take, seed, temperature=_all(value)) for seed in range(_SEEDS)] for take in takes]
        lips = [np.std([geometry.aperture(m.expression) for m in motions], axis=0).mean() for motions in many]
        head = [np.std([head_degrees(m) for m in motions], axis=0).mean() for motions in many]
        return {"aperture_mm": 1e3 * float(np.mean(lips)), "head_degrees": float(np.mean(head))}

    return [*_rows("guidance", GUIDANCE, lips), *_rows("temperature", TEMPERATURE, chance)]


def _all(value: float) -> dict[str, float]:
    return dict.fromkeys(GROUP_NAMES, value)


def _rows(dial: str, settings: Sequence[float], respond: Callable[[float], dict[str, float]]) -> list[dict[str, Any]]:
    answers = [respond(value) for value in settings]
    rows = list[dict[str, Any]]()
    for name in answers[0]:
        responses = [round(answer[name], 4) for answer in answers]
        row = {"case": dial, "of": name, "settings": list(settings), "responses": responses}
        rows.append(row | {"order": dial_order(settings, responses)})
    return rows


def redo_rows(prior: Prior, take: Take, geometry: FaceGeometry) -> list[dict[str, Any]]:
    """What is to stay when a part is made anew."""
    motion = drive(prior, take.samples_16k, seed=0, neutral=take.face_at_rest)
    middle = float(motion.timestamps_seconds[len(motion) // 2])
    rows = list[dict[str, Any]]()
    for groups, span in ((("head",), None), (("lips", "upper"), (middle, middle + 3)), (GROUP_NAMES, (0.0, middle))):
        spans = () if span is None else (span,)
        made = redo(
            prior, motion, take.samples_16k, groups=groups, spans_seconds=spans, seed=1, neutral=take.face_at_rest
        )
        when = "all along" if span is None else f"{span[1] - span[0]:.0f} s"
        rows.append(
            {"case": "redo", "of": f"{', '.join(groups)}, {when}"} | asdict(leakage(motion, made, groups, span))
        )
    keys = range(0, len(motion), _KEY_FRAMES)
    seconds = motion.timestamps_seconds
    gaps = [(float(seconds[a]) + 0.01, float(seconds[b]) - 0.01) for a, b in pairwise(keys)]
    made = redo(prior, motion, take.samples_16k, spans_seconds=gaps, seed=1, neutral=take.face_at_rest)
    missed = key_error_mm(made, {frame: motion.expression[frame] for frame in keys}, geometry)
    changed = float(np.abs(made.expression - motion.expression).max())
    return [*rows, {"case": "keys", "of": f"{len(keys)} frames", "key_error_mm": missed, "changed_between": changed}]
