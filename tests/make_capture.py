"""A capture folder of four tiny frames, whole and sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from preprocess.capture.files import frame_path, mask_path, save_info, save_tracks
from preprocess.capture.pictures import write_mask, write_picture

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
    (path / "frames").mkdir(parents=True)
    (path / "masks").mkdir()
    for i in range(T):
        write_picture(frame_path(path, i), picture(i))
        write_mask(mask_path(path, i), np.full((HEIGHT, WIDTH), 10 * i, np.uint8))
    write_picture(path / "background.png", picture(0))
    write_mask(path / "background_seen.png", np.eye(HEIGHT, WIDTH, dtype=np.uint8) * 255)
    save_tracks(path, **tracks())
    save_info(path, info())
    return path
