"""The sync meter finds planted offsets and knows when nothing is said."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from make_speech import babble, delayed, mouth_landmarks, music, noise

from avatar.assets import find_asset
from preprocess.sound.sync import Sync, measure_sync

GRID = Path(os.environ.get("VISAVIS_TEST_DATA", "data")) / "grid"
"""Clips of the GRID corpus, where a developer has them."""
OFFSETS = (-8, -5, -2, 0, 3, 6, 8)
FPS = 25


@pytest.fixture(scope="module")
def talk():
    return babble(16)


def faces(talk, fps: float) -> tuple[np.ndarray, np.ndarray]:
    seconds = np.arange(int(16 * fps)) / fps
    return seconds, mouth_landmarks(talk[1], seconds)


@pytest.mark.parametrize("frames", OFFSETS)
def test_planted_offsets_are_found(talk, frames):
    got = measure_sync(delayed(talk[0], frames / FPS), *faces(talk, FPS))
    assert got.offset_frames == pytest.approx(frames, abs=1.5)
    assert got.offset_seconds == pytest.approx(got.offset_frames / FPS, abs=1e-2)
    assert got.verdict == ("in sync" if abs(frames) < 3 else "off by") or abs(frames) == 3
    assert got.confidence > 0.4


@pytest.mark.parametrize("fps", [12.5, 23.976, 30, 59.94])
def test_any_frame_rate(talk, fps):
    got = measure_sync(delayed(talk[0], 0.24), *faces(talk, fps))
    assert got.offset_seconds == pytest.approx(0.24, abs=0.06)
    assert got.offset_frames == pytest.approx(got.offset_seconds * fps, abs=0.1)


def test_variable_frame_rate_and_lost_faces(talk):
    rng = np.random.default_rng(0)
    seconds = np.cumsum(rng.choice([0.02, 0.04, 0.07], 360))
    seconds = seconds[seconds < 15.5]
    points = mouth_landmarks(talk[1], seconds)
    points[100:130] = np.nan
    assert measure_sync(talk[0], seconds, points).verdict == "in sync"


@pytest.mark.parametrize("sound", [music, noise])
@pytest.mark.parametrize("seed", range(4))
def test_music_and_noise_are_no_speech(talk, sound, seed):
    assert measure_sync(sound(16, seed), *faces(talk, FPS)).verdict == "no speech"


def test_silence_and_other_speech_are_no_speech(talk):
    assert measure_sync(np.zeros(16 * 16_000, np.float32), *faces(talk, FPS)).verdict == "no speech"
    assert measure_sync(babble(16, seed=9)[0], *faces(talk, FPS)).verdict == "no speech"


def test_too_short(talk):
    seconds, points = faces(talk, FPS)
    assert measure_sync(talk[0], seconds[:200], points[:200]).verdict == "too short"
    assert measure_sync(talk[0][: 9 * 16_000], seconds, points).verdict == "too short"
    assert measure_sync(talk[0], seconds, np.full_like(points, np.nan)).verdict == "too short"
    assert measure_sync(talk[0], seconds[:0], points[:0]).verdict == "too short"
    hidden = points.copy()
    hidden[150:] = np.nan
    assert measure_sync(talk[0], seconds, hidden).verdict == "too short"


def test_verdicts_read_well():
    assert Sync("off by", 0.24, 6.0, 0.6, 0.5).text() == "off by +6 frames (the sound is 0.24 s late)"
    assert Sync("off by", -0.2, -5.0, 0.6, 0.5).text().endswith("0.20 s early)")
    assert Sync("no speech", 0.0, 0.0, 0.0, 0.1).text() == "no speech"


def watched(videos: list[Path]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Landmarks and sound of clips played one after the other."""
    from preprocess.detection.landmarks import Detector
    from preprocess.sound.audio import clip_samples
    from preprocess.video import frames

    points, sounds = [], []
    for video in videos:
        with Detector(1) as detector:
            found = [detector.detect(rgb) for _, _, rgb in frames(video)]
        points += [np.full((478, 2), np.nan) if f is None else f.landmarks_px for f in found]
        sounds.append(clip_samples(video, 0.0, len(found) / FPS))
    return np.arange(len(points)) / FPS, np.stack(points), np.concatenate(sounds)


def assert_found(seconds, points, sound, own_offset: float, within: float) -> None:
    for frames in range(-8, 9, 2):
        got = measure_sync(delayed(sound, frames / FPS), seconds, points)
        assert got.offset_frames == pytest.approx(frames + own_offset, abs=within)
        assert got.verdict in ("in sync", "off by")
    for seed in range(2):
        for other in (music, noise):
            assert measure_sync(other(seconds[-1], seed), seconds, points).verdict == "no speech"


@pytest.mark.slow
def test_a_real_speaker():
    seconds, points, sound = watched([find_asset("speaking.avi")])
    own = measure_sync(sound, seconds, points)
    assert own.verdict == "in sync"
    # SyncNet's authors measure 3 frames on this clip, which is theirs (github.com/joonson/syncnet_python, README).
    assert own.offset_frames == pytest.approx(-3, abs=1)
    assert_found(seconds, points, sound, own.offset_frames, within=1)


@pytest.mark.slow
@pytest.mark.skipif(not GRID.is_dir(), reason="the GRID clips are not here")
def test_real_speakers_one_after_the_other():
    assert_found(*watched(sorted(GRID.glob("*.mpg"))[:5]), own_offset=0, within=2)
