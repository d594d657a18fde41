"""A look at a video without making a capture: as many frames through the detector as judging it needs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from avatar.errors import BadInput
from avatar.progress import progress
from preprocess.checking.evidence import STILLS, Evidence
from preprocess.checking.gate import Seen
from preprocess.detection.landmarks import Detection, Detector
from preprocess.detection.run import THUMBNAIL
from preprocess.sound.audio import clip_samples
from preprocess.video import VideoInfo, frames

DENSE_SECONDS = 30.0
"""At the beginning, after `SKIP_SECONDS`: blinks and lips need every frame."""
SKIP_SECONDS = 2.0
SPARSE_SECONDS = 0.5
"""Elsewhere a frame every half second will do."""
_LONG_SIDE = 640
_MAX_FPS = 31.0


def watch(video: Path, info: VideoInfo) -> tuple[Evidence, Seen]:
    """Decode a video once and detect on every frame of half a minute and on two frames per second elsewhere.

    Raises:
        BadInput: the video can't be read.
    """
    import cv2

    times: list[float] = []
    looked: list[int] = []
    found: list[Detection | None] = []
    thumbs, stills, still_index = [], [], []
    still_step = max(info.duration_seconds, 1.0) / STILLS
    with Detector() as detector, progress("looking at the clip", info.duration_seconds) as bar:
        for index, time, rgb in frames(video, _LONG_SIDE):
            times.append(time)
            thumbs.append(cv2.resize(rgb, THUMBNAIL, interpolation=cv2.INTER_AREA))
            step = _step(time, info)
            still = len(stills) < 2 * STILLS and time >= still_step * len(stills)
            if still or not looked or time - times[looked[-1]] >= step - 1e-3:
                looked.append(index)
                found.append(detector.detect(rgb))
            if still:
                stills.append(rgb)
                still_index.append(index)
            bar.update(time)
    seconds = np.array(times)
    landmarks, scores, forward, faces = _spread(seconds, np.array(looked), found)
    dense = np.array([_step(time, info) < SPARSE_SECONDS for time in times])
    evidence = Evidence(
        video.name, seconds, landmarks, scores, forward, dense, np.stack(stills), np.array(still_index),
        _samples(video, info, float(seconds[-1]) + 1 / info.fps),
    )  # fmt: skip
    return evidence, Seen(seconds, landmarks, faces, np.stack(thumbs))


def _step(time: float, info: VideoInfo) -> float:
    """How long after the last look the next one is due."""
    everything = info.duration_seconds <= SKIP_SECONDS + DENSE_SECONDS
    dense = everything or SKIP_SECONDS <= time < SKIP_SECONDS + DENSE_SECONDS
    return 1 / _MAX_FPS if dense else SPARSE_SECONDS


def _samples(video: Path, info: VideoInfo, seconds: float) -> np.ndarray | None:
    try:
        return clip_samples(video, info.start_seconds, seconds) if info.has_audio else None
    except BadInput:
        return None


def _spread(
    seconds: np.ndarray, looked: np.ndarray, found: list[Detection | None]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Values of all frames: interpolated between two looks that both saw the face, else those of the last look."""
    seen = np.array([d is not None for d in found])
    before = np.searchsorted(looked, np.arange(len(seconds)), side="right") - 1
    faces = np.array([0 if d is None else d.faces_found for d in found])[before]
    landmarks = np.full((len(seconds), 478, 2), np.nan, np.float32)
    scores, forward = np.zeros((len(seconds), 52), np.float32), np.tile([0.0, 0.0, 1.0], (len(seconds), 1))
    for i in range(len(seconds)):
        a = before[i]
        b = min(a + 1, len(looked) - 1)
        first = found[a]
        if first is None:
            continue
        second = found[b] if seen[b] else first
        assert second is not None
        share = (seconds[i] - seconds[looked[a]]) / max(seconds[looked[b]] - seconds[looked[a]], 1e-6)
        share = float(np.clip(share, 0, 1))
        landmarks[i] = (1 - share) * first.landmarks_px + share * second.landmarks_px
        scores[i] = (1 - share) * first.scores + share * second.scores
        forward[i] = (1 - share) * first.transform[:3, 2] + share * second.transform[:3, 2]
    return landmarks, scores, forward / np.linalg.norm(forward, axis=1, keepdims=True), faces
