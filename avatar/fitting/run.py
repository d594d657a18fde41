"""`fit`: from a capture to an avatar folder, within a time budget, resumable at any moment."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from avatar.driving import DrivingSpace
from avatar.errors import BadInput, FormatMismatch, Interrupted
from avatar.fields.bake import bake
from avatar.fields.bound import BoundField
from avatar.fields.presets import preset_named
from avatar.fields.protocol import Rest, Sizes
from avatar.files import (
    check_output_folder,
    disk_errors,
    partial_folder,
    publish_folder,
)
from avatar.fitting.config import FitConfig
from avatar.fitting.frames import FrameStore, Split, split_frames
from avatar.fitting.guard import Guard
from avatar.fitting.importance import in_order
from avatar.fitting.job import Job
from avatar.fitting.seeding import Seeder
from avatar.fitting.stages import check_budget
from avatar.fitting.trainer import Trainer
from avatar.fitting.unseen import never_seen, warn_of
from avatar.head import load_head
from avatar.interrupts import interrupt_between_steps
from avatar.known import confidence, seen_shares
from avatar.layers import Layers
from avatar.limits import Limits
from avatar.memory import peak_rss_mb
from avatar.model import SCHEMA, Avatar, load, save_field
from avatar.motion.audio import load_audio
from avatar.motion.audio_windows import cepstra
from avatar.motion.encoders.base import Encoding
from avatar.progress import note, progress
from avatar.stored import in_floats, pack_layers, unpack_layers
from avatar.threads import one_torch_thread
from avatar.types import Capture

BAKING_FRAMES = 300
"""Of the training frames, so many teach the linear maps what a field does."""


def fit(
    capture: Capture,
    output: str | Path,
    config: FitConfig | None = None,
    *,
    overwrite: bool = False,
) -> Avatar:
    """Fit an avatar to a capture and write it to a folder.

    An interrupted fit goes on where it was when the same call is made again; one with other options is not touched
    without `overwrite`.

    Args:
        capture: a tracked clip, e.g. `preprocess.CaptureFolder.load(path)`.
        output: folder of the avatar; must be new, empty, or an older avatar with `overwrite`.

    Raises:
        BadInput: the output can't be written, or the capture has too few tracked frames.
        Interrupted: Ctrl-C; the state is saved beside `output`.
    """
    config, output = config or FitConfig(), Path(output)
    check_budget(config.minutes, config.steps)
    output = output.expanduser().absolute()
    check_output_folder(output, "avatar.json", SCHEMA, overwrite)
    trainer = _make_trainer(capture, config)
    job = Job(output, capture, config, overwrite=overwrite)
    if not job.resume(trainer):
        trainer = _make_trainer(capture, config)
    try:
        _train(trainer, job)
    except KeyboardInterrupt:
        job.save(trainer)
        raise Interrupted(
            f"interrupted at step {trainer.step}, {trainer.share:.0%} of the budget; nothing is lost",
            fix="run the same command again to go on",
        ) from None
    job.save(trainer)  # a full disk while publishing must not lose the fit
    with disk_errors(output):
        _publish(trainer, capture, output)
        job.remove_files(output)
    return load(output)


@one_torch_thread()
def _make_trainer(capture: Capture, config: FitConfig) -> Trainer:
    head = load_head(capture.head_name)
    if head.content_hash != capture.head_hash:
        raise FormatMismatch(
            f"{capture.path} was tracked on another version of the head model {head.name}",
            expected=capture.head_hash,
            got=head.content_hash,
            fix="preprocess the video again with this version",
        )
    split = split_frames(capture.motion, capture.tracked, config.split)
    warn_of(never_seen(capture.landmarks_px[split.train]))
    frames = FrameStore(capture, config.long_side, config.frame_cache_mb)
    preset = preset_named(config.field)
    speech = _speech(capture, config.field) if preset.speech_rank else None
    driving = DrivingSpace.of(
        capture.motion[split.train], config.expression_rank, speech, preset.speech_rank, preset.mesh_follows
    )
    prepared, neutral = driving.prepare(capture.motion, speech), torch.from_numpy(capture.neutral)
    layers = Seeder(head, neutral, prepared.motion, frames, split.train, driving, config).layers()
    sizes = Sizes(len(layers.head.means), driving.basis.shape[1], 0 if speech is None else speech.rows.shape[1])
    if network := preset.build(sizes, config.seed):
        layers = replace(layers, field=BoundField(network, Rest(head, neutral), sizes))
    avatar = Avatar(
        head, neutral, layers, driving, capture.background, capture.camera, capture.motion,
        audio_path=capture.audio_path, head_spec=capture.head_name,
    )  # fmt: skip
    return Trainer(avatar, prepared, frames, split, config)


def _speech(capture: Capture, field: str) -> Encoding | None:
    """What is said in a capture, for a field that listens.

    Raises:
        BadInput: nothing, and the field can't do without.
    """
    if capture.audio_path:
        return cepstra(load_audio(capture.audio_path))
    if preset_named(field).needs_speech:
        raise BadInput(
            f"{capture.path} has no sound, and the field {field} is driven by speech",
            expected="a capture of a video with sound",
            fix="choose another with --field, e.g. visavis",
        )
    note(f"{capture.path} has no sound: {field} learns from expression and pose alone")
    return None


def _train(trainer: Trainer, job: Job) -> None:
    last_saved = time.monotonic()
    guard = Guard(trainer)
    with one_torch_thread(), interrupt_between_steps() as interrupted, progress("fit", 1.0) as bar:
        while trainer.share < 1:
            guard.train_step()
            if trainer.step >= trainer.validation.next_step:
                guard.check()
                trainer.consider_average()
            if interrupted.is_set():
                guard.check()
                raise KeyboardInterrupt
            if time.monotonic() - last_saved > trainer.config.checkpoint_seconds:
                guard.check()
                job.save(trainer)
                last_saved = time.monotonic()
            if trainer.step % 10 == 0:
                bar.update(trainer.share, f"step {trainer.step} loss {trainer.loss:.4f} PSNR {trainer.train_psnr:.2f}")
        trainer.consider_average()
    if _ended_by(trainer) == "passes":
        note(
            f"done after {trainer.seconds:.0f} s: every training frame was seen {trainer.config.max_passes:g} times; "
            "more of it would learn the clip by heart"
        )


def _publish(trainer: Trainer, capture: Capture, output: Path) -> None:
    best = trainer.validation.best
    assert best is not None, "a fit ends with a validation"
    fitted = Layers.from_tensors(best.tensors, trainer.layers.field).with_colors_clamped()
    fitted, of_head = in_order(fitted, trainer)
    layers, baking = _baked(trainer, fitted)
    storage = {"storage": _storage(trainer, layers) | {"head_among_first": of_head}}
    info = _info(trainer, capture) | {"limits": _limits(trainer)} | baking | storage
    avatar = replace(trainer.avatar, layers=layers, info=info)
    folder = partial_folder(output)
    avatar.save(folder, trainer.config.precision)
    if fitted.field:
        save_field(folder, fitted)
    publish_folder(output)


def _baked(trainer: Trainer, layers: Layers) -> tuple[Layers, dict]:
    """Layers for playback, and what baking lost."""
    if layers.field is None:
        return layers, {}
    train = trainer.split.train
    chosen = train[np.linspace(0, len(train) - 1, min(len(train), BAKING_FRAMES)).astype(int)].tolist()
    baked = bake(layers, (trainer.prepared.frame(i) for i in chosen))
    scores = {"field_psnr": trainer.validation.score(layers), "baked_psnr": trainer.validation.score(baked.layers)}
    distances = {"moved_mm": baked.moved_mm, "missed_mm": baked.missed_mm}
    return baked.layers, {"bake": {name: round(value, 3) for name, value in (scores | distances).items()}}


def _limits(trainer: Trainer) -> dict:
    """From where, and doing what, the training frames show the person."""
    avatar, motion = trainer.avatar, trainer.prepared.motion[trainer.split.train]
    known = confidence(avatar.head, avatar.neutral, motion, avatar.camera)
    return asdict(Limits.of(motion)) | {"seen": seen_shares(avatar.head, avatar.neutral, known)}


def _storage(trainer: Trainer, layers: Layers) -> dict:
    """How layers are stored, and what that loses."""
    precision = trainer.config.precision
    read = unpack_layers(pack_layers(*layers.arrays(), precision))
    stored = Layers.from_arrays(*map(in_floats, read))
    scores = {"float32_psnr": trainer.validation.score(layers), "stored_psnr": trainer.validation.score(stored)}
    return {"precision": precision} | {name: round(value, 3) for name, value in scores.items()}


def _ended_by(trainer: Trainer) -> str:
    if trainer.config.steps is not None:
        return "steps"
    return "passes" if trainer.passes >= trainer.config.max_passes else "minutes"


def _info(trainer: Trainer, capture: Capture) -> dict:
    split: Split = trainer.split
    frames = {name: [int(i[0]), int(i[-1])] if len(i) else [] for name, i in vars(split).items()}
    best = trainer.validation.best
    return {
        "config": asdict(trainer.config),
        "seed": trainer.config.seed,
        "capture": {"path": str(capture.path.resolve()), "content_hash": capture.content_hash},
        "split": frames,
        "fit": {
            "steps": trainer.step,
            "seconds": round(trainer.seconds, 2),
            "ended_by": _ended_by(trainer),
            "gaussians": sum(len(layer.means) for layer in (trainer.layers.head, trainer.layers.torso)),
            "train_psnr": _finite(trainer.train_psnr),
            "validation_psnr": _finite(best.psnr if best else float("nan")),
            "best_step": best.step if best else 0,
            "rollbacks": trainer.rollbacks,
            "never_seen": never_seen(capture.landmarks_px[split.train]),
            "fit_size": [trainer.frames.camera.width, trainer.frames.camera.height],
            "peak_rss_mb": round(peak_rss_mb()),
        },
        "curve": [asdict(point) for point in trainer.validation.curve],
    }


def _finite(value: float) -> float | None:
    return round(value, 3) if np.isfinite(value) else None
