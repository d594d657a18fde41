"""`track`: a video in, a Capture folder out."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from avatar import __version__
from avatar.assets import sha256_file
from avatar.head import absolute_name, load_head
from preprocess.capture import CaptureFolder
from preprocess.capture.files import save_info, save_tracks
from preprocess.stages.config import PreprocessConfig
from preprocess.stages.cores import cores
from preprocess.stages.keys import StageKeys
from preprocess.stages.steps import Clip, plain
from preprocess.stages.workspace import Workspace
from preprocess.tracking import TrackResult
from preprocess.video import probe, require_length

__all__ = ["PreprocessConfig", "summary", "track"]


def track(
    video: Path | str,
    output: Path | str,
    *,
    config: PreprocessConfig | None = None,
    overwrite: bool = False,
    jobs: int = 0,
) -> CaptureFolder:
    """Find, segment and track the person of a video; write the Capture folder `output`.

    Streams the video. Interrupted or killed, it goes on when called again: from the last finished stage, and within the
    search for the face from the last 100 frames. So does a call with `overwrite` where `output` is a capture: stages
    whose video, options and code are the same are taken over from it, even by a call with other options.
    `output` appears, or is replaced, only when the new capture is complete.

    Args:
        jobs: processors to work on; 0 stands for all that this process may use. The tracks do not depend on it.

    Raises:
        BadInput: the video can't make an avatar, or the output can't be written; the message says why and what to do.
        Interrupted: Ctrl-C.
        MissingAsset: a model file is not here and can't be fetched.
    """
    video, output, config = Path(video), Path(output), config or PreprocessConfig()
    info = probe(video)
    seconds = info.duration_seconds - config.start_seconds
    require_length(video, seconds if config.max_seconds is None else min(seconds, config.max_seconds))
    source_hash = sha256_file(video)
    head = load_head(config.head)  # a wrong model is refused before the work, not after it
    keys = StageKeys(source_hash, head.content_hash, config)
    with cores(jobs) as count, Workspace(output, overwrite) as work:
        _make(Clip(video, info, config, head, keys, work, count))
        CaptureFolder.load(work.path)  # what we would refuse to read is never published
        done = work.publish()
    return CaptureFolder.load(done)


def summary(capture: CaptureFolder) -> dict[str, Any]:
    """What `visavis preprocess --json` prints."""
    metrics, stages = capture.info["metrics"], capture.info["stages"]
    names = ("tracked_fraction", "fps_processed", "reprojection_iod", "jitter_ratio", "peak_rss_mb")
    return {
        "frames": len(capture),
        **{name: metrics[name] for name in names},
        "reused": [name for name, stage in stages.items() if stage["reused"]],
        "verdict": capture.info["verdict"],
        "warnings": capture.info["warnings"],
    }


def _make(clip: Clip) -> None:
    """All stages, and the files that describe them together."""
    clip.detect()
    tracked = clip.track()
    clip.find_background()
    warnings, late = clip.take_sound(), 0.0
    _write_tracks(clip, tracked)
    info = _description(clip, tracked) | _opinions(clip, warnings)
    save_info(clip.work.path, info)
    verdict = clip.check()
    if clip.config.fix_sync and verdict["late_seconds"]:
        late = verdict["late_seconds"]
        info |= _opinions(clip, clip.take_sound(late)) | {"audio_shift_seconds": round(-late, 3)}
        save_info(clip.work.path, info)
        verdict = clip.check(late)
    if clip.config.overlay:
        clip.draw(tracked, late)
    judged = {name: verdict[name] for name in ("verdict", "warnings")}
    save_info(clip.work.path, info | judged | {"metrics": _metrics(clip, tracked), "stages": _stages(clip)})


def _description(clip: Clip, tracked: TrackResult) -> dict[str, Any]:
    """The part of capture.json that says what the rest is."""
    camera, head = tracked.camera, clip.head
    return {
        "source": {
            "name": clip.video.name,
            "sha256": clip.keys.source,
            "used_from_seconds": float(clip.seconds[0]),
            "pieces_seconds": [list(span) for span in clip.report.segments_seconds],
            **asdict(clip.info),
        },
        "tool_version": __version__,
        "fps": tracked.motion.fps,
        "frame_count": len(tracked.motion),
        "width": camera.width,
        "height": camera.height,
        "head": {"name": absolute_name(clip.config.head), "content_hash": head.content_hash},
        "camera": {"fx": camera.fx, "fy": camera.fy, "cx": camera.cx, "cy": camera.cy},
        "config": asdict(clip.config),
        "audio": clip.wav is not None,
    }


def _opinions(clip: Clip, sound_warnings: list[str]) -> dict[str, Any]:
    """What is known before the check."""
    known = [*clip.report.warnings, *sound_warnings]
    return {"verdict": "warn" if known else "ok", "warnings": known, "known_warnings": known}


def _metrics(clip: Clip, tracked: TrackResult) -> dict[str, float | None]:
    metrics = {
        **tracked.metrics,
        "tracked_fraction": float(tracked.tracked.mean()),
        "face_share": clip.report.face_share,
        "fps_processed": len(tracked.motion) / clip.work.seconds,
        "peak_rss_mb": clip.work.peak_rss_mb,
    }
    return {name: None if value is None else plain(value) for name, value in metrics.items()}


def _stages(clip: Clip) -> dict[str, dict[str, Any]]:
    """What each stage took, in this run or in the one that it is taken over from."""
    return {
        name: {"seconds": record.seconds, "peak_rss_mb": record.peak_rss_mb, "reused": name in clip.work.reused}
        for name, record in clip.work.records.items()
    }


def _write_tracks(clip: Clip, tracked: TrackResult) -> None:
    motion, observations = tracked.motion, clip.observations
    save_tracks(
        clip.work.path,
        timestamps=motion.timestamps_seconds,
        tracked=tracked.tracked,
        identity=np.asarray(tracked.identity),
        neutral=np.asarray(tracked.neutral),
        expression=motion.expression,
        joints=motion.joints,
        quats_wxyz=motion.quats_wxyz,
        translation=motion.translation,
        torso=motion.torso,
        landmarks_px=observations.landmarks_px,
        scores=observations.scores,
        confidence=tracked.confidence,
    )
