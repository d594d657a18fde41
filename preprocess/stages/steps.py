"""What each stage does; every one leaves its result in the workspace's folder, and what follows reads it from there."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from avatar.errors import BadInput
from avatar.files import read_npz, save_arrays
from avatar.head.linear import LinearHead
from avatar.split import training_span
from avatar.types import Camera, Motion
from preprocess.capture.files import frame_path, mask_path
from preprocess.capture.pictures import read_mask, read_picture, write_mask, write_picture
from preprocess.checking.gate import QualityReport, Seen, assess
from preprocess.checking.run import check_preprocessed, said
from preprocess.detection.background import clean_plate
from preprocess.detection.run import Detections, PassOptions, detect_clip
from preprocess.sound.audio import extract_audio, is_silent, save_features
from preprocess.stages.config import PreprocessConfig
from preprocess.stages.keys import StageKeys
from preprocess.stages.records import DETECTION, SHOULDERS, TRACKING
from preprocess.stages.workspace import Workspace
from preprocess.tracking import Observations, TrackResult, track_clip, track_torso
from preprocess.tracking.overlay import write_overlay
from preprocess.tracking.torso import LONG_SIDE as TORSO_SIDE
from preprocess.video import VideoInfo
from preprocess.video.orientation import fit_size

Facts = dict[str, Any]


@dataclass
class Clip:
    """A video on its way through the stages, in their order; `jobs` processors work on it."""

    video: Path
    info: VideoInfo
    config: PreprocessConfig
    head: LinearHead
    keys: StageKeys
    work: Workspace
    jobs: int

    @cached_property
    def size(self) -> tuple[int, int]:
        """Width and height of the capture's pictures."""
        return fit_size(self.info.width, self.info.height, self.config.long_side)

    @cached_property
    def detections(self) -> Detections:
        """Of the whole video, once they are there."""
        return Detections(**read_npz(self.work.path / DETECTION))

    @cached_property
    def report(self) -> QualityReport:
        """Which part of it is used."""
        return _assessed(self.video, self.detections, self.info)

    @cached_property
    def seconds(self) -> np.ndarray:
        """When the frames in use were filmed, since the first frame of the file."""
        return self.detections.timestamps_seconds[self._use]

    @cached_property
    def observations(self) -> Observations:
        """The frames in use as the tracker takes them."""
        d, use = self.detections, self._use
        times = self.seconds - self.seconds[0]
        return Observations(times, d.landmarks_px[use], d.scores[use], d.transforms[use], *self.size)

    def picture(self, index: int, long_side: int | None = None) -> np.ndarray:
        """Frame `index` of those in use as RGB; smaller, but no smaller than `long_side`, if that will do."""
        return read_picture(frame_path(self.work.path, index), *self.size, long_side)

    def mask(self, index: int) -> np.ndarray:
        """Its person mask."""
        return read_mask(mask_path(self.work.path, index), *self.size)

    def detect(self) -> None:
        """Frames, masks and detections.

        Raises:
            BadInput: the clip can't make an avatar.
        """
        self.work.run("detection", self.keys.detection, self._detect)
        self.report.require()

    def track(self) -> TrackResult:
        """The tracked head and shoulders."""
        facts = self.work.run("tracking", self.keys.tracking, self._track)
        arrays = read_npz(self.work.path / TRACKING)
        motion = Motion(**{field.name: arrays.pop(field.name) for field in fields(Motion)})
        tracked = TrackResult(Camera(*self.size, *facts["camera"]), motion=motion, metrics=facts["metrics"], **arrays)
        self.work.run("shoulders", self.keys.shoulders, lambda: self._find_shoulders(tracked))
        torso = read_npz(self.work.path / SHOULDERS)["torso"]
        return replace(tracked, motion=replace(motion, torso=torso))

    def find_background(self) -> None:
        """The clean plate."""
        self.work.run("background", self.keys.background, self._find_background)

    def take_sound(self, late_seconds: float = 0.0) -> list[str]:
        """The sound that belongs to the pictures, and its features; returns what is wrong with it.

        Args:
            late_seconds: how much later than its picture it comes in the video.
        """
        return self.work.run("sound", self.keys.sound(late_seconds), lambda: self._take_sound(late_seconds))["warnings"]

    @property
    def wav(self) -> Path | None:
        """The sound, once it has been taken; None for a mute clip."""
        wav = self.work.path / "audio.wav"
        return wav if wav.is_file() else None

    def check(self, late_seconds: float = 0.0) -> Facts:
        """Judge the capture as it lies there: `verdict`, `warnings`, and `late_seconds`, by which the sound is off."""
        return self.work.run("check", self.keys.check(late_seconds), self._check)

    def draw(self, tracked: TrackResult, late_seconds: float) -> None:
        """The overlay clip."""
        self.work.run("overlay", self.keys.overlay(late_seconds), lambda: self._draw(tracked))

    @property
    def _use(self) -> slice:
        return slice(self.report.start, self.report.stop)

    def _detect(self) -> Facts:
        c = self.config
        options = PassOptions(c.long_side, max(c.detect_long_side, c.long_side), c.start_seconds, c.max_seconds)
        blocks = self.work.blocks(self.keys.detection)
        found = detect_clip(self.video, self.info, blocks, options, self.jobs)
        report = _assessed(self.video, found, self.info)
        report.require()
        blocks.hand_over(self.work.path, report.start, report.stop)
        save_arrays(self.work.path / DETECTION, vars(found))
        return {"earlier_seconds": blocks.earlier_seconds}

    def _track(self) -> Facts:
        from avatar.head.calibration import calibrate

        pictures = (self.picture, self.mask)
        result = track_clip(
            self.head, calibrate(self.head), self.observations, self.config.tracking, pictures, self.jobs
        )
        arrays = {name: getattr(result, name) for name in ("identity", "neutral", "tracked", "confidence")}
        save_arrays(self.work.path / TRACKING, arrays | vars(result.motion))
        camera = result.camera
        metrics = {name: plain(value) for name, value in result.metrics.items()}
        return {"camera": [camera.fx, camera.fy, camera.cx, camera.cy], "metrics": metrics}

    def _find_shoulders(self, tracked: TrackResult) -> Facts:
        chin = self.observations.landmarks_px[:, :, 1].max(1)
        small = partial(self.picture, long_side=TORSO_SIDE)
        torso = track_torso(tracked.motion, tracked.camera, chin, small, self.mask, self.jobs)
        save_arrays(self.work.path / SHOULDERS, {"torso": torso})
        return {}

    def _find_background(self) -> Facts:
        usable = np.flatnonzero(training_span(self.seconds))
        plate, seen = clean_plate(lambda index: (self.picture(index), self.mask(index)), usable)
        write_picture(self.work.path / "background.png", plate)
        write_mask(self.work.path / "background_seen.png", seen.astype(np.uint8) * 255)
        return {}

    def _take_sound(self, late_seconds: float) -> Facts:
        """What is wrong with the sound is a warning, since fitting does without."""
        wav, times = self.work.path / "audio.wav", self.seconds
        begin = self.info.start_seconds + float(times[0]) + late_seconds
        duration = float(times[-1] - times[0]) * len(times) / (len(times) - 1)  # to the end of the last frame
        try:
            if not extract_audio(self.video, wav, begin, duration):
                return {"warnings": []}
        except BadInput as error:
            wav.unlink(missing_ok=True)
            return {"warnings": [f"the sound can't be used ({error.got}): the clip is treated as mute"]}
        save_features(wav, self.work.path / "audio_features.npz")
        silent = "the sound track is silent: there is no speech to learn or to re-enact from"
        return {"warnings": [silent] if is_silent(wav) else []}

    def _check(self) -> Facts:
        quality = check_preprocessed(self.work.path)
        late = quality.sync.offset_seconds if quality.sync.is_off else 0.0
        return {"verdict": quality.verdict, "warnings": said(quality), "late_seconds": late}

    def _draw(self, tracked: TrackResult) -> Facts:
        write_overlay(
            self.work.path / "overlay.mp4", self.picture, self.head, tracked.neutral, tracked.motion, tracked.tracked,
            self.observations.landmarks_px, tracked.camera, self.wav, self.jobs,
        )  # fmt: skip
        return {}


def plain(value: float) -> float | None:
    """JSON knows no NaN."""
    return round(float(value), 6) if np.isfinite(value) else None


def _assessed(video: Path, d: Detections, info: VideoInfo) -> QualityReport:
    return assess(video.name, Seen(d.timestamps_seconds, d.landmarks_px, d.faces_found, d.thumbnails), info)
