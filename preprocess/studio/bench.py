"""How well the tracker does on synthetic subjects whose truth is known."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avatar.errors import VisavisError
from avatar.evaluation.metrics import rounded
from avatar.head import load_head
from avatar.info import machine
from avatar.progress import note
from preprocess.pipeline import PreprocessConfig, track
from preprocess.studio.config import EDITION, StudioConfig
from preprocess.studio.filming import HEAD, plain_config, record
from preprocess.studio.folder import StudioFolder
from preprocess.studio.layers import layer_scores
from preprocess.studio.person import make_person
from preprocess.studio.truth import Score, compare, shape_floor

DEVELOPMENT_SEEDS, PUBLISHED_SEEDS = (0, 1, 2), tuple(range(1000, 1010))
SECONDS = 8.0
BARS: dict[str, tuple[float, float]] = {
    "rotation_degrees": (0, 1.0), "head_px": (0, 0.5), "focal_percent": (0, 10), "face_mm": (0, 2.0),
    "lips_mm": (0, 1.2), "gaze_degrees": (0, 4), "blink_f1": (0.97, 1), "aperture_r": (0.97, 1),
    "jitter_head": (0.8, 1.2), "jitter_lips": (0.8, 1.2), "lip_lag_frames": (0, 0),
}  # fmt: skip
"""What a good tracker reaches, from and to; focal length only where the subject turns far enough to show it."""


def run(
    seeds: Sequence[int],
    seconds: float = SECONDS,
    *,
    config: PreprocessConfig | None = None,
    keep: Path | None = None,
) -> dict[str, Any]:
    """Film each seed, preprocess the video and compare; one row per seed, then means and how many reach each bar.

    `layers` are the scores of part labels, masks and plate, see `preprocess.studio.layers`.

    Args:
        config: of the tracker; the default one if not given.
        keep: where recordings stay, to be used again by the next run (captures are always made anew).
    """
    began = machine()
    with tempfile.TemporaryDirectory() as temporary:
        home = keep or Path(temporary)
        found = {seed: _scored(home, Path(temporary), seed, seconds, config or PreprocessConfig()) for seed in seeds}
    scores = {seed: score for seed, (score, _) in found.items()}
    rows = [{"case": f"studio seed {seed}", **score.row(), **floors(seed)} for seed, score in scores.items()]
    layers = [
        {"case": f"studio seed {seed}", **{name: rounded(value) for name, value in layer.items()}}
        for seed, (_, layer) in found.items()
    ]
    shown = {"summary": summary(list(scores.values())), "layers": layers}
    return {"machine": began, "seconds": seconds, "rows": rows} | shown


def floors(seed: int) -> dict[str, float]:
    """The part of a subject's shape that no identity coefficients give: less than this no tracker of them can reach."""
    head = load_head(HEAD)
    face, lips = shape_floor(head, make_person(head, seed).neutral)
    return {"face_floor_mm": round(face, 3), "lips_floor_mm": round(lips, 3)}


def summary(scores: Sequence[Score]) -> list[dict[str, Any]]:
    """Per quantity: mean and worst over the clips, the bar, and how many clips reach it."""
    lines = []
    for name, (lowest, highest) in BARS.items():
        values = [float(getattr(s, name)) for s in scores if s.turned or name != "focal_percent"]
        if not values:
            continue
        away = [max(lowest - v, v - highest) for v in values]
        lines.append({
            "quantity": name,
            "mean": rounded(np.mean(values), 3), "worst": rounded(values[int(np.argmax(away))], 3),
            "bar": f"{lowest:g} to {highest:g}", "reached": f"{sum(a <= 0 for a in away)} of {len(values)}",
        })  # fmt: skip
    return lines


def _scored(
    home: Path, temporary: Path, seed: int, seconds: float, config: PreprocessConfig
) -> tuple[Score, dict[str, float]]:
    studio = recorded(home / f"seed-{seed}", StudioConfig(seconds=seconds, seed=seed))
    note(f"tracking subject {seed} ...")
    capture = track(studio.video_path, temporary / f"seed-{seed}.capture", config=config, overwrite=True)
    return compare(capture, studio), layer_scores(capture, studio)


def recorded(path: Path, config: StudioConfig) -> StudioFolder:
    """A recording of this very configuration, found or made."""
    try:
        studio = StudioFolder.load(path)
        if (studio.info["edition"], studio.info["config"]) == (EDITION, plain_config(config)):
            return studio
    except VisavisError:
        pass  # not there, of another version, or damaged: made anew
    return record(path, config, overwrite=True)
