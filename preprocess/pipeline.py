"""`track`: a video in, a Capture folder out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from avatar import __version__
from avatar.assets import sha256_file
from avatar.errors import BadInput
from avatar.head import absolute_name, load_head
from avatar.memory import peak_rss_mb
from avatar.progress import note
from avatar.split import training_span
from avatar.threads import one_torch_thread
from preprocess.audio import extract_audio, is_silent, save_features
from preprocess.background import clean_plate
from preprocess.capture import CaptureFolder
from preprocess.capture_files import SCHEMA, frame_path, mask_path, save_info, save_tracks
from preprocess.checking.run import check_preprocessed
from preprocess.detection import Detections, PassOptions, detect_clip
from preprocess.orientation import fit_size
from preprocess.overlay import write_overlay
from preprocess.pictures import read_mask, read_picture, write_mask, write_picture
from preprocess.quality import QualityReport, Seen, assess
from preprocess.stages import Stages
from preprocess.tracking import Observations, TrackConfig, TrackResult, track_clip, track_torso
from preprocess.video import VideoInfo, probe, require_length
from preprocess.workspace import Workspace

_MIN_SIDE = 64


@dataclass(frozen=True)
class PreprocessConfig:
    """How a video becomes a capture."""

    head: str = "anny"
    """Head model: anny, flame:FILE.pkl or gnm:FILE.npz."""
    long_side: int = 512
    """Longer side of the stored pictures, pixels; a smaller video keeps its size."""
    detect_long_side: int = 1280
    """Longer side of the pictures that the face detector looks at."""
    start_seconds: float = 0.0
    """Leave out what comes before this time."""
    max_seconds: float | None = None
    """Use no more than this much of the video."""
    overlay: bool = True
    """Write overlay.mp4, which shows what the tracker saw."""
    fix_sync: bool = False
    """Shift the sound by the measured offset to the lips, if there is one."""
    tracking: TrackConfig = field(default_factory=TrackConfig)

    def __post_init__(self) -> None:
        for name in ("long_side", "detect_long_side"):
            if (got := getattr(self, name)) < _MIN_SIDE:
                option = "--" + name.replace("_", "-")
                raise BadInput(f"{option} is too small", expected=f"at least {_MIN_SIDE}", got=str(got))
        if self.start_seconds < 0 or (self.max_seconds is not None and self.max_seconds <= 0):
            raise BadInput(
                "that part of the video is empty",
                expected="--start-seconds of 0 or more, --max-seconds above 0",
                got=f"{self.start_seconds:g} and {self.max_seconds}",
                fix="leave them out to use everything",
            )


def track(
    video: Path | str, output: Path | str, *, config: PreprocessConfig = PreprocessConfig(), overwrite: bool = False
) -> CaptureFolder:
    """Find, segment and track the person of a video; write the Capture folder `output`.

    Streams the video. Interrupted, it goes on from the last 100 frames when called again with the same arguments;
    `output` appears only when it is complete.

    Raises:
        BadInput: the video can't make an avatar, or the output can't be written; the message says why and what to do.
        Interrupted: Ctrl-C.
        MissingAsset: a model file is not here and can't be fetched.
    """
    stages = Stages()
    video, output = Path(video), Path(output)
    info = probe(video)
    seconds = info.duration_seconds - config.start_seconds
    require_length(video, seconds if config.max_seconds is None else min(seconds, config.max_seconds))
    source_hash = sha256_file(video)
    load_head(config.head)  # a wrong model is refused before the work, not after it
    with Workspace(output, _key(source_hash, config), overwrite) as work:
        with stages.stage("detection"):
            detections = detect_clip(video, info, work, _pass_options(config))
        report = assess(video.name, _seen(detections), info)
        report.require()
        with one_torch_thread():
            _finish(work, video, info, source_hash, config, detections, report, stages)
        check_preprocessed(work.path, config.fix_sync)  # loads it: what we would refuse to read is never published
        done = work.publish()
    return CaptureFolder.load(done)


def summary(capture: CaptureFolder) -> dict[str, Any]:
    """What `visavis preprocess --json` prints."""
    metrics = capture.info["metrics"]
    names = ("tracked_fraction", "fps_processed", "reprojection_iod", "jitter_ratio", "peak_rss_mb")
    return {
        "frames": len(capture),
        **{name: metrics[name] for name in names},
        "verdict": capture.info["verdict"],
        "warnings": capture.info["warnings"],
    }


def _pass_options(config: PreprocessConfig) -> PassOptions:
    detect = max(config.detect_long_side, config.long_side)
    return PassOptions(config.long_side, detect, config.start_seconds, config.max_seconds)


def _key(source_hash: str, config: PreprocessConfig) -> str:
    """Only runs of the same tool on the same source with the same settings may continue each other."""
    text = json.dumps([SCHEMA, __version__, source_hash, asdict(config)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _seen(d: Detections) -> Seen:
    return Seen(d.timestamps_seconds, d.landmarks_px, d.faces_found, d.thumbnails)


def _finish(
    work: Workspace,
    video: Path,
    info: VideoInfo,
    source_hash: str,
    config: PreprocessConfig,
    detections: Detections,
    report: QualityReport,
    stages: Stages,
) -> None:
    """Everything after the pass: track, plate, sound, overlay, and the files that describe them."""
    from avatar.head.calibration import calibrate

    use = slice(report.start, report.stop)
    times = detections.timestamps_seconds[use]
    size = fit_size(info.width, info.height, config.long_side)
    note(f"tracking {len(times)} frames ...")
    head = load_head(config.head)
    observations = Observations(
        times - times[0], detections.landmarks_px[use], detections.scores[use], detections.transforms[use], *size
    )
    picture, mask = _readers(work.path, report.start, size)
    with stages.stage("tracking"):
        result = track_clip(head, calibrate(head), observations, config.tracking, (picture, mask))
    with stages.stage("shoulders"):
        chin = observations.landmarks_px[:, :, 1].max(1)
        torso = track_torso(result.motion, result.camera, chin, picture, mask)
        result = replace(result, motion=replace(result.motion, torso=torso))
    note("background and sound ...")
    with stages.stage("background"):
        plate, seen = clean_plate(lambda index: (picture(index), mask(index)), np.flatnonzero(training_span(times)))
        write_picture(work.path / "background.png", plate)
        write_mask(work.path / "background_seen.png", seen.astype(np.uint8) * 255)
    with stages.stage("sound"):
        seconds = float(times[-1] - times[0]) + 1 / result.motion.fps
        wav, warnings = _write_sound(video, work.path, info.start_seconds + float(times[0]), seconds)
    if config.overlay:
        with stages.stage("overlay"):
            write_overlay(
                work.path / "overlay.mp4", picture, head, result.neutral, result.motion, result.tracked,
                observations.landmarks_px, result.camera, wav,
            )  # fmt: skip
    _write_tracks(work.path, result, observations)
    warnings = [*report.warnings, *warnings]
    metrics = {
        **result.metrics,
        "tracked_fraction": float(result.tracked.mean()),
        "face_share": report.face_share,
        "fps_processed": len(times) / stages.seconds,
        "peak_rss_mb": peak_rss_mb(),
        **stages.metrics,
    }
    source = {
        "name": video.name,
        "sha256": source_hash,
        "used_from_seconds": float(times[0]),
        "pieces_seconds": [list(span) for span in report.segments_seconds],
        **asdict(info),
    }
    shown = _description(result, config, head.content_hash)
    measured = {name: _plain(value) for name, value in metrics.items()}
    verdict = "warn" if warnings else "ok"
    sound = {"audio": wav is not None}
    save_info(
        work.path, {"source": source, **shown, **sound, "verdict": verdict, "warnings": warnings, "metrics": measured}
    )
    work.keep_frames(report.start, report.stop)


def _description(result: TrackResult, config: PreprocessConfig, head_hash: str) -> dict[str, Any]:
    """The part of capture.json that says how to read the rest."""
    camera = result.camera
    return {
        "tool_version": __version__,
        "fps": result.motion.fps,
        "frame_count": len(result.motion),
        "width": camera.width,
        "height": camera.height,
        "head": {"name": absolute_name(config.head), "content_hash": head_hash},
        "camera": {"fx": camera.fx, "fy": camera.fy, "cx": camera.cx, "cy": camera.cy},
        "config": asdict(config),
    }


def _plain(value: float) -> float | None:
    """JSON knows no NaN."""
    return round(float(value), 6) if np.isfinite(value) else None


def _readers(folder: Path, start: int, size: tuple[int, int]) -> tuple[Callable[[int], np.ndarray], ...]:
    """Pictures and masks by frame of the clip."""
    return (
        lambda index: read_picture(frame_path(folder, start + index), *size),
        lambda index: read_mask(mask_path(folder, start + index), *size),
    )


def _write_sound(video: Path, folder: Path, start_seconds: float, seconds: float) -> tuple[Path | None, list[str]]:
    """Sound and features; what is wrong with them is a warning, since fitting does without."""
    wav = folder / "audio.wav"
    try:
        if not extract_audio(video, wav, start_seconds, seconds):
            return None, []
    except BadInput as error:
        wav.unlink(missing_ok=True)
        return None, [f"the sound can't be used ({error.got}): the clip is treated as mute"]
    save_features(wav, folder / "audio_features.npz")
    silent = "the sound track is silent: there is no speech to learn or to re-enact from"
    return wav, [silent] if is_silent(wav) else []


def _write_tracks(folder: Path, result: TrackResult, observations: Observations) -> None:
    motion = result.motion
    save_tracks(
        folder,
        timestamps=motion.timestamps_seconds,
        tracked=result.tracked,
        identity=np.asarray(result.identity),
        neutral=np.asarray(result.neutral),
        expression=motion.expression,
        joints=motion.joints,
        quats_wxyz=motion.quats_wxyz,
        translation=motion.translation,
        torso=motion.torso,
        landmarks_px=observations.landmarks_px,
        scores=observations.scores,
        confidence=result.confidence,
    )
