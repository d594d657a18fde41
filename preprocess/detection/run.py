"""One streaming pass over a clip: decode, find the face, segment the person, store the pictures."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8

from avatar.head.landmarks import N_LANDMARKS
from avatar.progress import progress
from avatar.threads import workers
from preprocess.capture.files import frame_path, mask_path
from preprocess.capture.pictures import write_mask, write_picture
from preprocess.detection.blocks import Blocks
from preprocess.detection.landmarks import Detection, Detector
from preprocess.detection.masks import PersonSegmenter, SteadyMasks
from preprocess.video import VideoInfo, frames
from preprocess.video.orientation import fit_size

CHUNK_FRAMES = 100
_IN_FLIGHT = 8
THUMBNAIL = (32, 18)


@dataclass(frozen=True)
class PassOptions:
    """What of a clip is read, and how large."""

    long_side: int
    detect_long_side: int
    start_seconds: float
    max_seconds: float | None


@dataclass(frozen=True)
class Detections:
    """Everything the pass found out about t frames; the pictures themselves are on disk."""

    timestamps_seconds: Float[np.ndarray, " t"]
    """Since the first frame of the file."""
    landmarks_px: Float[np.ndarray, "t 478 2"]
    """Capture pixels, NaN without a face."""
    scores: Float[np.ndarray, "t 52"]
    transforms: Float[np.ndarray, "t 4 4"]
    faces_found: Int[np.ndarray, " t"]
    thumbnails: UInt8[np.ndarray, "t 18 32 3"]


def detect_clip(video: Path, info: VideoInfo, work: Blocks, options: PassOptions, jobs: int) -> Detections:
    """Run the pass, or go on where an earlier one stopped. Pictures and masks go to `work`, in blocks of 100 frames.

    Three threads share the cores (with one job, one does it all): decoding here, the face detector, and segmenting with
    writing; all of them release Python's lock while they work. Memory does not grow with the clip except for the
    detections.
    """
    chunks = work.load_chunks()
    if not work.complete:
        total = max(1, round(min(info.frame_count, (options.max_seconds or 1e9) * info.fps)))
        with progress("finding the face", total) as bar:
            rows: list[dict[str, np.ndarray]] = []
            done = CHUNK_FRAMES * len(chunks)
            for row in _rows(video, info, work.path, options, chunks, jobs):
                rows.append(row)
                bar.update(done + len(rows))
                if len(rows) == CHUNK_FRAMES:
                    work.save_chunk(len(chunks), chunk := _stacked(rows))
                    chunks.append(chunk)
                    done, rows = done + len(rows), []
            if rows:
                work.save_chunk(len(chunks), chunk := _stacked(rows))
                chunks.append(chunk)
        work.mark_complete()
    return Detections(**{name: np.concatenate([c[name] for c in chunks]) for name in chunks[0]})


def _rows(
    video: Path, info: VideoInfo, folder: Path, options: PassOptions, chunks: list[dict[str, np.ndarray]], jobs: int
) -> Iterator[dict[str, np.ndarray]]:
    """One record per frame, in order."""
    size, steady = fit_size(info.width, info.height, options.long_side), SteadyMasks()
    pending: deque[tuple[float, float, Future[Detection | None], Future[np.ndarray]]] = deque()
    with (
        Detector() as detector,
        PersonSegmenter() as segmenter,
        workers(1, jobs) as finding,
        workers(1, jobs) as storing,
    ):
        scale = size[0] / fit_size(info.width, info.height, options.detect_long_side)[0]
        detector.last_box_px = _last_box(chunks, scale)
        decoded = frames(
            video,
            options.detect_long_side,
            start_seconds=options.start_seconds,
            max_seconds=options.max_seconds,
            skip=CHUNK_FRAMES * len(chunks),
            threads=jobs,
        )
        for index, time, rgb in decoded:
            found = finding.submit(detector.detect, rgb)
            pending.append((time, scale, found, storing.submit(_store, folder, index, rgb, size, segmenter, steady)))
            if len(pending) >= _IN_FLIGHT:
                yield _row(*pending.popleft())
        while pending:
            yield _row(*pending.popleft())
        storing.submit(lambda: _write_masks(folder, steady.finish())).result()


def _store(
    folder: Path, index: int, rgb: np.ndarray, size: tuple[int, int], segmenter: PersonSegmenter, steady: SteadyMasks
) -> np.ndarray:
    """Write the picture, and each mask that is finished by it, at capture size; give the thumbnail."""
    import cv2

    picture = rgb if rgb.shape[1::-1] == size else cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    write_picture(frame_path(folder, index), picture)
    _write_masks(folder, steady.add(index, picture, segmenter.mask(picture)))
    # A resumed pass starts with a block, and must find what an uninterrupted one would.
    if (index + 1) % CHUNK_FRAMES == 0:
        _write_masks(folder, steady.finish())
    return cv2.resize(picture, THUMBNAIL, interpolation=cv2.INTER_AREA)


def _write_masks(folder: Path, finished: list[tuple[int, np.ndarray]]) -> None:
    for index, mask in finished:
        write_mask(mask_path(folder, index), mask)


def _row(
    time: float, scale: float, found: Future[Detection | None], stored: Future[np.ndarray]
) -> dict[str, np.ndarray]:
    face, thumbnail = found.result(), stored.result()
    missing = np.full((N_LANDMARKS, 2), np.nan, np.float32)
    return {
        "timestamps_seconds": np.array(time, np.float64),
        "landmarks_px": missing if face is None else face.landmarks_px * np.float32(scale),
        "scores": np.zeros(52, np.float32) if face is None else face.scores,
        "transforms": np.eye(4, dtype=np.float32) if face is None else face.transform,
        "faces_found": np.array(0 if face is None else face.faces_found, np.int32),
        "thumbnails": thumbnail,
    }


def _stacked(rows: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _last_box(chunks: list[dict[str, np.ndarray]], scale: float) -> np.ndarray | None:
    """Where the face was last seen before a resumed pass, in the detector's pixels."""
    for chunk in reversed(chunks):
        seen = np.flatnonzero(np.isfinite(chunk["landmarks_px"][:, 0, 0]))
        if len(seen):
            points = chunk["landmarks_px"][seen[-1]] / scale
            return np.concatenate([points.min(0), points.max(0)])
    return None
