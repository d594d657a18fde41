"""Capture folders whose pictures are tiny and show nothing, but which are whole and sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.io import wavfile
from scipy.spatial.transform import Rotation

from avatar.head import load_head
from preprocess.capture.files import frame_path, mask_path, save_info, save_tracks
from preprocess.capture.pictures import write_mask, write_picture
from preprocess.studio.speakers import recital

T, V, K, WIDTH, HEIGHT = 4, 7, 3, 48, 32


def picture(index: int) -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), (200, 30 + 20 * index, 60), np.uint8)


def tracks() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    landmarks = rng.uniform(0, 30, (T, 478, 2)).astype(np.float32)
    landmarks[2] = np.nan
    return {
        "timestamps": np.array([0, 0.04, 0.1, 0.12]),
        "tracked": np.array([True, True, False, True]),
        "identity": rng.normal(size=K).astype(np.float32),
        "neutral": rng.uniform(-0.1, 0.1, (V, 3)).astype(np.float32),
        "expression": rng.uniform(0, 1, (T, 52)).astype(np.float32),
        "joints": np.zeros((T, 4, 3), np.float32),
        "quats_wxyz": np.tile(np.array([0, 1, 0, 0], np.float32), (T, 1)),
        "translation": np.tile(np.array([0, 0, 0.8], np.float32), (T, 1)),
        "torso": np.zeros((T, 3), np.float32),
        "landmarks_px": landmarks,
        "scores": rng.uniform(0, 1, (T, 52)).astype(np.float32),
        "confidence": np.array([1, 0.9, 0, 1], np.float32),
    }


def info() -> dict:
    return {
        "tool_version": "test",
        "source": {"name": "a.mp4", "sha256": "0" * 64},
        "fps": 25.0,
        "frame_count": T,
        "width": WIDTH,
        "height": HEIGHT,
        "head": {"name": "anny", "content_hash": "abc"},
        "camera": {"fx": 90.0, "fy": 90.0, "cx": 24.0, "cy": 16.0},
        "audio": False,
        "verdict": "ok",
        "warnings": [],
        "metrics": {},
        "config": {},
    }


def small_capture(path: Path) -> Path:
    """Write it."""
    return write_capture(path, tracks(), info())


def write_capture(path: Path, tracks: dict[str, np.ndarray], info: dict) -> Path:
    """A folder with these tracks; its pictures show nothing."""
    (path / "frames").mkdir(parents=True)
    (path / "masks").mkdir()
    for i in range(info["frame_count"]):
        write_picture(frame_path(path, i), picture(i % 8))
        write_mask(mask_path(path, i), np.full((HEIGHT, WIDTH), 10 * (i % 8), np.uint8))
    write_picture(path / "background.png", picture(0))
    write_mask(path / "background_seen.png", np.eye(HEIGHT, WIDTH, dtype=np.uint8) * 255)
    save_tracks(path, **tracks)
    save_info(path, info)
    return path


def speaking_capture(path: Path, seconds: float, speaker: int = 3) -> Path:
    """A studio speaker as a tracker would have him, with his sound: all that a motion prior learns from."""
    take, head = recital(speaker, seconds, text_seed=1), load_head()
    count, turned = len(take.motion), Rotation.from_euler("x", 180, degrees=True)  # towards the camera
    rotation = turned * Rotation.from_quat(take.motion.quats_wxyz, scalar_first=True)
    moved = {
        "timestamps": take.motion.timestamps_seconds,
        "tracked": np.ones(count, bool),
        "neutral": head.template.numpy(),
        "expression": take.motion.expression,
        "joints": take.motion.joints,
        "quats_wxyz": rotation.as_quat(scalar_first=True).astype(np.float32),
        "translation": (turned.apply(take.motion.translation) + (0, 0, 0.8)).astype(np.float32),
        "torso": take.motion.torso,
        "landmarks_px": np.full((count, 478, 2), 20.0, np.float32),
        "scores": take.motion.expression.clip(0, 1),
        "confidence": np.ones(count, np.float32),
    }
    about = {"frame_count": count, "audio": True, "head": {"name": "anny", "content_hash": head.content_hash}}
    write_capture(path, tracks() | moved, info() | about)
    wavfile.write(path / "audio.wav", 16_000, (take.samples_16k * 32767).astype(np.int16))
    return path
