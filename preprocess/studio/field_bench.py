"""All designs of deformation on one protocol: the same clips, budgets and held-out frames."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from avatar.assets import ASSETS, find_asset
from avatar.errors import BadInput
from avatar.evaluation.perceptual import perceptual_metric
from avatar.evaluation.protocol import Evaluation, Evaluator, render_fps
from avatar.fields.presets import PRESETS
from avatar.fitting import FitConfig, fit
from avatar.info import machine
from avatar.model import load
from avatar.progress import note
from preprocess.capture import CaptureFolder
from preprocess.detection.landmarks import Detector
from preprocess.pipeline import PreprocessConfig, track
from preprocess.studio.bench import recorded
from preprocess.studio.config import StudioConfig
from preprocess.studio.folder import StudioFolder
from preprocess.studio.off_axis import YAWS, off_axis

STUDIO = "studio:"
SIDE_FRAMES, SHEET_FRAMES = 6, 5


def run(
    subjects: Sequence[str], fields: Sequence[str], config: FitConfig, *, seconds: float, keep: Path | None
) -> dict[str, Any]:
    """Fit every field to every subject with the same budget and score it on the held-out end of the clip.

    A field is scored as it was fitted; `baked_psnr` and `render_fps` are of the maps that it was baked to. On studio
    subjects the views from the side are scored too, see `off_axis`.

    Args:
        subjects: names of sample clips (pexels, speaking), or studio:SEED for a film of that many `seconds`.
        config: of every fit, but for its field.
        keep: where captures and avatars stay, and a sheet of held-out pictures per subject.

    Raises:
        BadInput: no such subject or field.
    """
    for name in fields:
        if name not in PRESETS:
            raise BadInput(f"no field is called {name!r}", expected=", ".join(PRESETS))
    began, rows = machine(), []
    with tempfile.TemporaryDirectory() as temporary:
        home = keep or Path(temporary)
        home.mkdir(parents=True, exist_ok=True)
        for subject in subjects:
            capture, studio = subject_capture(home, subject, seconds)
            shown = []
            for name in fields:
                if PRESETS[name].needs_speech and capture.audio_path is None:
                    note(f"{subject} has no sound: {name} is left out")
                    continue
                note(f"{subject}: {name}")
                path = home / f"{file_name(subject)}-{name}.avatar"
                fit(capture, path, replace(config, field=name), overwrite=True)
                row, evaluation = _scored(path, capture, studio)
                rows.append({"case": subject, "field": name} | row)
                shown.append(_strip(evaluation))
            if keep:
                _write_sheet(keep / f"{file_name(subject)}.png", shown)
    return {"machine": began, "config": asdict(config), "rows": rows}


def subject_capture(home: Path, subject: str, seconds: float) -> tuple[CaptureFolder, StudioFolder | None]:
    """The capture of a subject (see `run`), and its truth if it has one; both lie in `home`.

    Raises:
        BadInput: no such subject.
    """
    path = home / f"{file_name(subject)}.capture"
    seed = subject.removeprefix(STUDIO)
    if subject.startswith(STUDIO) and seed.isdigit():
        studio = recorded(home / f"{file_name(subject)}.studio", StudioConfig(seconds=seconds, seed=int(seed)))
        video = studio.video_path
    else:
        videos = {Path(name).stem: name for name in ASSETS if name.endswith((".mp4", ".avi"))}
        if subject not in videos:
            expected = f"{', '.join(videos)}, or studio:SEED"
            raise BadInput(f"no subject is called {subject!r}", expected=expected)
        studio, video = None, find_asset(videos[subject])
    return track(video, path, config=PreprocessConfig(overlay=False), overwrite=True), studio


def _scored(path: Path, capture: CaptureFolder, studio: StudioFolder | None) -> tuple[dict[str, Any], Evaluation]:
    exact, baked = load(path, exact=True), load(path)
    with Detector() as detector:
        evaluator = Evaluator(exact, capture, detector.landmarks, perceptual=perceptual_metric())
        evaluation = evaluator.run(SHEET_FRAMES)
        played = Evaluator(baked, capture, detector.landmarks).mean_psnr() if exact.layers.field else None
    scores, fitted, sync = evaluation.summary, exact.info["fit"], evaluator.lip_sync(evaluation)
    row = {**scores["full"], "head_psnr": scores["head"]["psnr"], "head_stlpips": scores["head"].get("stlpips")}
    row |= {f"sync_{key}": sync["render"][key] if sync else None for key in ("accuracy", "confidence")}
    row |= {"baked_psnr": scores["full"]["psnr"] if played is None else round(played, 4)}
    row |= {
        "mean_frame": scores["rivals"]["mean_frame"]["psnr"],
        "nearest_frame": scores["rivals"]["nearest_frame"]["psnr"],
    }
    row |= {
        "render_fps": round(render_fps(baked), 1),
        "mb": round((path / "avatar.safetensors").stat().st_size / 1e6, 1),
    }
    row |= {"steps": fitted["steps"], "fit_seconds": fitted["seconds"], "peak_rss_mb": fitted["peak_rss_mb"]}
    if studio:
        chosen = np.array(evaluation.frames)[np.linspace(0, len(evaluation.frames) - 1, SIDE_FRAMES).astype(int)]
        sides = off_axis(exact, studio, chosen.tolist(), YAWS)
        row |= {"yaw_psnr": {f"{yaw:+g}": round(side.psnr, 3) for yaw, side in sides.items()}}
        row |= {"yaw_head_psnr": {f"{yaw:+g}": round(side.head_psnr, 3) for yaw, side in sides.items()}}
    return row, evaluation


def _strip(evaluation: Evaluation) -> UInt8[np.ndarray, "h w 3"]:
    """Truth over render, moment by moment."""
    return np.concatenate([np.concatenate([truth, image]) for _, truth, image in evaluation.samples], axis=1)


def _write_sheet(file: Path, strips: list[UInt8[np.ndarray, "h w 3"]]) -> None:
    """The truth once, then each field's pictures, in the order of the rows."""
    from preprocess.capture.pictures import write_picture

    if strips:
        half = len(strips[0]) // 2
        write_picture(file, np.concatenate([strips[0][:half], *(strip[half:] for strip in strips)]))


def file_name(subject: str) -> str:
    """A subject's name without what file systems do not like."""
    return subject.replace(":", "-")
