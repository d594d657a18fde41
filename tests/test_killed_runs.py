"""Whatever stage a run is killed in, the same command goes on from there; a changed one takes over what it can."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from make_video import head_pictures, tone, write_video

from preprocess import CaptureFolder, PreprocessConfig, track
from preprocess.checking.report import Quality
from preprocess.checking.run import check_preprocessed
from preprocess.sound.audio import RATE, read_wav
from preprocess.stages import steps
from preprocess.stages.records import FILES
from preprocess.tracking import PhotometricConfig, TrackConfig

FPS = 12.0
SMALL = PreprocessConfig(long_side=128)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "me.mp4"
    return write_video(path, head_pictures(30), np.arange(30) / FPS, audio=tone(2.5, silent_seconds=1.0))


@pytest.fixture(scope="module")
def whole(clip) -> CaptureFolder:
    """Made in one run, on one processor."""
    return track(clip, clip.with_name("whole"), config=SMALL, jobs=1)


def reused(capture: CaptureFolder) -> list[str]:
    return [name for name, stage in capture.info["stages"].items() if stage["reused"]]


def same_files(a: Path, b: Path) -> bool:
    """All that a capture is read from, to the byte; capture.json tells how long things took."""
    names = {str(p.relative_to(a)) for p in a.rglob("*") if p.is_file()} - {"capture.json", ".stages/records.json"}
    encoded_by_threads = {"overlay.mp4"}
    return names >= {"tracks.npz", "frames/000000.jpg", "quality.json"} and all(
        (a / name).read_bytes() == (b / name).read_bytes() for name in names - encoded_by_threads
    )


def test_runs_killed_in_every_stage(clip, whole, tmp_path):
    output = tmp_path / "out"
    script = Path(__file__).with_name("killed_runs.py")
    done = subprocess.run([sys.executable, script, clip, output], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *stopped, last = [json.loads(line) for line in done.stdout.splitlines()]
    stages = list(FILES)
    assert [run["stage"] for run in stopped] == stages
    for before, run in enumerate(stopped):
        # The run before wrote all files of the stage it was killed in, but did not vouch for them.
        assert run["reused"] == stages[: max(0, before - 1)], run
        assert run["status"] == (-signal.SIGKILL if run["signal"] == "SIGKILL" else 3) and not run["output"], run
    assert (last["status"], last["reused"], last["output"]) == (0, stages[:-1], True)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    capture = CaptureFolder.load(output)
    assert capture.content_hash == whole.content_hash and same_files(whole.path, output)
    assert sorted(p.name for p in (output / ".stages").iterdir()) == sorted(
        p.name for p in (whole.path / ".stages").iterdir()
    )


def test_only_what_an_option_changes_is_done_again(clip, whole):
    before = whole.content_hash
    frame = os.stat(whole.path / "frames" / "000003.jpg")
    again = track(clip, whole.path, config=SMALL, overwrite=True)
    assert reused(again) == list(FILES) and again.content_hash == before
    # The time of what was taken over counts: a run that did nothing did not process a thousand frames per second.
    took = sum(stage["seconds"] for stage in again.info["stages"].values())
    assert len(again) / again.info["metrics"]["fps_processed"] >= took
    plain = track(clip, whole.path, config=PreprocessConfig(long_side=128, overlay=False), overwrite=True)
    assert reused(plain) == [name for name in FILES if name != "overlay"]
    assert not (plain.path / "overlay.mp4").exists()
    landmarks_only = TrackConfig(photometric=PhotometricConfig(rounds=0))
    config = PreprocessConfig(long_side=128, overlay=False, tracking=landmarks_only)
    retracked = track(clip, whole.path, config=config, overwrite=True)
    assert reused(retracked) == ["detection", "background", "sound"]
    assert retracked.content_hash != before
    assert os.stat(retracked.path / "frames" / "000003.jpg").st_ino == frame.st_ino
    assert track(clip, whole.path, config=SMALL, overwrite=True).content_hash == before


def begin_seconds(capture: CaptureFolder) -> float:
    assert capture.audio_path is not None
    return float(np.argmax(np.abs(read_wav(capture.audio_path)) > 0.1) / RATE)


def test_shifted_sound_is_not_taken_for_the_clips_own(clip, whole, monkeypatch):
    """The sync meter needs 10 s of speech: here somebody else says whether the sound comes late."""

    def judged(folder: Path) -> Quality:
        quality = check_preprocessed(folder)
        late = begin_seconds(CaptureFolder.load(folder)) > 0.9
        return replace(quality, sync=replace(quality.sync, verdict="off by", offset_seconds=0.25)) if late else quality

    monkeypatch.setattr(steps, "check_preprocessed", judged)
    config = replace(SMALL, fix_sync=True)
    (whole.path / "quality.json").write_text("{}")  # not what the check wrote: it is made again
    for options, begin, made in ((config, 0.75, 1), (config, 0.75, 0), (SMALL, 1.0, 1), (config, 0.75, 1)):
        capture = track(clip, whole.path, config=options, overwrite=True)
        assert begin_seconds(capture) == pytest.approx(begin, abs=0.03)
        assert capture.info.get("audio_shift_seconds", 0.0) == pytest.approx(begin - 1.0)
        again = {"sound", "check", "overlay"} if made else set()
        assert set(reused(capture)) == set(FILES) - again
