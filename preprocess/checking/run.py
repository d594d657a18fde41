"""`visavis check`: the quality of a video or a capture, and sound that is put back in its place."""

from __future__ import annotations

import os
import time
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avatar.errors import BadInput
from avatar.files import write_json
from avatar.progress import progress
from preprocess.capture import CaptureFolder
from preprocess.capture.files import save_info
from preprocess.checking.evidence import Evidence, of_capture
from preprocess.checking.gate import assess
from preprocess.checking.judge import judge
from preprocess.checking.pictures import Looks
from preprocess.checking.report import Finding, Quality
from preprocess.checking.watch import watch
from preprocess.sound.audio import RATE, read_wav, save_features, write_samples
from preprocess.sound.sync import Sync
from preprocess.video import frames, probe, require_length

QUALITY_FILE = "quality.json"


@dataclass(frozen=True)
class Checked:
    """A judged clip, and what its page shows."""

    quality: Quality
    evidence: Evidence
    looks: Looks | None
    """None if the clip was refused."""
    seconds: float
    """That judging took, beyond decoding and finding the face."""


def check_capture(path: Path | str) -> Checked:
    """Judge a capture by what is stored in it.

    Raises:
        BadInput, FormatMismatch: it is no whole capture.
    """
    capture = CaptureFolder.load(path)
    began = time.monotonic()
    evidence = of_capture(capture)
    quality, looks = judge(evidence, _known_warnings(capture))
    return Checked(quality, evidence, looks, time.monotonic() - began)


def check_video(video: Path | str) -> Checked:
    """Judge a video without making a capture.

    Raises:
        BadInput: it can't be read.
    """
    video = Path(video)
    info = probe(video)
    require_length(video, info.duration_seconds)
    evidence, seen = watch(video, info)
    began = time.monotonic()
    gate = assess(video.name, seen, info)
    if gate.refusal is not None:
        error = gate.refusal
        finding = Finding("clip", f"{error.what} ({error.got})" if error.got else error.what, error.fix)
        nothing = Sync("too short", 0.0, 0.0, 0.0, 0.0)
        refused = Quality("refuse", 0.0, nothing, {"face_share": round(gate.face_share, 3)}, [finding])
        return Checked(refused, evidence, None, time.monotonic() - began)
    evidence = _part(evidence, gate.start, gate.stop)
    quality, looks = judge(evidence, gate.warnings)
    return Checked(quality, evidence, looks, time.monotonic() - began)


def fix_sync(path: Path | str, sync: Sync) -> bool:
    """Shift a capture's sound by the measured offset and record that in capture.json; False if there is nothing to do.

    The sound is written whole before it takes the old one's place.
    """
    folder = Path(path)
    if not sync.is_off:
        return False
    info = CaptureFolder.load(folder).info
    shifted = shift_sound(read_wav(folder / "audio.wav"), -sync.offset_seconds)
    new_wav, new_features = folder / "audio.partial.wav", folder / "audio_features.partial.npz"
    with wave.open(str(new_wav), "wb") as out:
        out.setparams((1, 2, RATE, len(shifted), "NONE", ""))
        write_samples(out, shifted)
    save_features(new_wav, new_features)
    os.replace(new_wav, folder / "audio.wav")
    os.replace(new_features, folder / "audio_features.npz")
    _renew_overlay(folder / "overlay.mp4", folder / "audio.wav", float(info["fps"]))
    before = info.get("audio_shift_seconds")
    total = (before if isinstance(before, float) else 0.0) - sync.offset_seconds
    content = {key: value for key, value in info.items() if key != "schema"}
    save_info(folder, {**content, "audio_shift_seconds": round(total, 3)})
    return True


def _renew_overlay(overlay: Path, wav: Path, fps: float) -> None:
    """Give the overlay clip, if there is one, the shifted sound."""
    from avatar.export.video import VideoWriter

    if not overlay.is_file():
        return
    shape = probe(overlay)
    with (
        progress("the overlay's sound", shape.frame_count) as bar,
        VideoWriter(overlay, shape.width, shape.height, fps, audio_path=wav, crf=20) as clip,
    ):
        for index, _, rgb in frames(overlay):
            clip.add(rgb)
            bar.update(index + 1)


def shift_sound(samples: np.ndarray, seconds: float) -> np.ndarray:
    """The sound that much later (negative: earlier), of the same length, silence where there is none."""
    shift = round(seconds * RATE)
    moved = np.zeros_like(samples)
    if abs(shift) < len(samples):
        moved[max(0, shift) : len(samples) + min(0, shift)] = samples[max(0, -shift) : len(samples) - max(0, shift)]
    return moved


def check_preprocessed(folder: Path) -> Quality:
    """Judge a capture that has just been made, and write its quality.json."""
    quality = check_capture(folder).quality
    write_json(folder / QUALITY_FILE, quality.as_json())
    return quality


def said(quality: Quality) -> list[str]:
    """The findings as the warnings of capture.json."""
    return [f"{f.text}: {f.advice}" if f.advice else f.text for f in quality.findings]


def summary(checked: Checked) -> dict:
    """What `visavis check --json` prints."""
    clip_seconds = max(checked.quality.measures.get("seconds", 0.0), 1e-9)
    content = checked.quality.as_json()
    content["check_seconds"] = round(checked.seconds, 3)
    if checked.looks is not None:
        content["check_share_of_clip"] = round(checked.seconds / clip_seconds, 4)
    return content | ({"exit_code": 2} if checked.quality.verdict == "refuse" else {})


def _known_warnings(capture: CaptureFolder) -> list[str]:
    """What the pass over the video said; the rest of the warnings is judged anew."""
    stored = capture.info.get("known_warnings", capture.info.get("warnings"))
    return [text for text in stored if isinstance(text, str)] if isinstance(stored, list) else []


def _part(evidence: Evidence, start: int, stop: int) -> Evidence:
    """The frames that would be used, from time 0 on."""
    part = slice(start, stop)
    keep = (evidence.still_index >= start) & (evidence.still_index < stop)
    if not keep.any():
        raise BadInput(f"{evidence.name} has no piece without a cut that can be judged", fix="record it in one take")
    begin = float(evidence.seconds[start])
    samples = evidence.samples
    return Evidence(
        name=evidence.name,
        seconds=evidence.seconds[part] - begin,
        landmarks_px=evidence.landmarks_px[part],
        scores=evidence.scores[part],
        forward=evidence.forward[part],
        dense=evidence.dense[part],
        stills=evidence.stills[keep],
        still_index=evidence.still_index[keep] - start,
        samples=None if samples is None else samples[round(begin * RATE) :],
    )
