"""The whole of `preprocess.track` on made videos: a capture comes out, or a refusal and nothing else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from make_video import corner_video, corners, head_pictures, rendered_head_video, tone, write_video

from avatar.errors import BadInput
from preprocess import CaptureFolder, PreprocessConfig, track
from preprocess.detection.landmarks import Detector
from preprocess.pipeline import summary
from preprocess.sound.audio import load_features, read_wav
from preprocess.video import frames, probe

FPS = 12.0


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> CaptureFolder:
    """A portrait clip from a phone: stored on its side, with sound."""
    folder = tmp_path_factory.mktemp("plain")
    pictures = [np.rot90(p) for p in head_pictures(36, width=240, height=320, distance=0.7)]
    clip = folder / "télé phone.mp4"
    write_video(clip, pictures, np.arange(36) / FPS, rotation_degrees=-90, audio=tone(3.0, silent_seconds=1.0))
    return track(clip, folder / "my capture", config=PreprocessConfig(long_side=256))


@pytest.fixture(scope="module")
def cut(tmp_path_factory) -> CaptureFolder:
    """Two seconds of a title, then the person; no overlay."""
    folder = tmp_path_factory.mktemp("cut")
    title = [corners(320, 240, i) for i in range(20)]
    count = len(title) + 36
    sound = tone(count / FPS, silent_seconds=20 / FPS + 0.5)
    write_video(folder / "cut.mkv", [*title, *head_pictures(36)], np.arange(count) / FPS, audio=sound)
    return track(folder / "cut.mkv", folder / "capture", config=PreprocessConfig(overlay=False))


def test_capture_of_an_upright_phone_clip(plain):
    assert (plain.camera.width, plain.camera.height) == (192, 256)
    assert len(plain) == 36 and plain.tracked.all()
    assert plain.fps == pytest.approx(FPS, rel=1e-3)
    assert plain.motion.timestamps_seconds[0] == 0
    assert plain.frame(5).shape == (256, 192, 3)
    mask = plain.mask(5)
    inside = plain.landmarks_px[5][[1, 9, 152]].round().astype(int)
    assert (mask[inside[:, 1], inside[:, 0]] > 128).all()
    assert not (plain.path.parent / ".my capture.partial").exists()
    assert plain.head_name == "anny" and plain.neutral.shape[1] == 3


def test_tracked_head_projects_onto_the_detected_landmarks(plain):
    from avatar.head import load_head
    from preprocess.tracking.overlay import project_mesh

    points = project_mesh(load_head("anny"), plain.neutral, plain.motion, plain.camera)
    for mesh, landmarks in zip(points, plain.landmarks_px, strict=True):
        nearest = np.linalg.norm(landmarks[:, None] - mesh[None], axis=-1).min(1)
        assert np.median(nearest) < 2.0


def test_sound_and_features_are_in_step(plain):
    samples = read_wav(plain.audio_path)
    assert len(samples) / 16_000 == pytest.approx(36 / FPS, abs=0.02)
    assert np.argmax(np.abs(samples) > 0.1) / 16_000 == pytest.approx(1.0, abs=0.03)
    at = load_features(plain.path / "audio_features.npz").at(plain.motion.timestamps_seconds)
    assert at.log_mel[5].max() < at.log_mel[20].max() - 5


def test_overlay_shows_every_frame(plain):
    drawn = list(frames(plain.path / "overlay.mp4"))
    assert len(drawn) == 36
    assert probe(plain.path / "overlay.mp4").has_audio
    assert np.abs(drawn[5][2].astype(int)).std() > 0


def test_summary_and_what_the_folder_tells(plain):
    got = summary(plain)
    assert list(got) == [
        "frames", "tracked_fraction", "fps_processed", "reprojection_iod", "jitter_ratio", "peak_rss_mb", "reused",
        "verdict", "warnings",
    ]  # fmt: skip
    assert got["frames"] == 36 and got["tracked_fraction"] == 1.0
    # Three seconds of a made face: the check of a clip says that it is short.
    assert got["verdict"] == "warn" and any("can be used" in warning for warning in got["warnings"])
    assert 0 < got["reprojection_iod"] < 0.05
    json.dumps(got)
    stages = plain.info["stages"]
    assert list(stages) == ["detection", "tracking", "shoulders", "background", "sound", "check", "overlay"]
    assert all(s["seconds"] >= 0 and s["peak_rss_mb"] > 50 and s["reused"] is False for s in stages.values())
    assert got["reused"] == [] and got["peak_rss_mb"] >= max(s["peak_rss_mb"] for s in stages.values())
    assert plain.info["source"]["name"] == "télé phone.mp4" and plain.info["source"]["rotation_degrees"] == 90
    assert plain.info["config"]["long_side"] == 256
    assert str(plain.path.parent) not in (plain.path / "capture.json").read_text()


def test_existing_capture_is_replaced_only_when_asked(plain, tmp_path):
    clip = corner_video(tmp_path / "noface.mp4")
    before = plain.content_hash
    with pytest.raises(BadInput, match="--overwrite"):
        track(clip, plain.path)
    with pytest.raises(BadInput, match="no face"):
        track(clip, plain.path, overwrite=True)
    assert CaptureFolder.load(plain.path).content_hash == before


def test_longest_piece_of_a_cut_clip(cut):
    assert len(cut) == 36 and cut.tracked.all()
    assert cut.info["source"]["used_from_seconds"] == pytest.approx(20 / FPS, abs=0.01)
    assert cut.motion.timestamps_seconds[0] == 0
    assert [w for w in cut.info["warnings"] if "1 cuts" in w]
    assert sorted(p.name for p in (cut.path / "frames").iterdir())[-1] == "000035.jpg"
    np.testing.assert_allclose(cut.frame(0).mean((0, 1)), head_pictures(1)[0].mean((0, 1)), atol=4)
    samples = read_wav(cut.audio_path)
    assert np.argmax(np.abs(samples) > 0.1) / 16_000 == pytest.approx(0.5, abs=0.04)
    assert not (cut.path / "overlay.mp4").exists()


def refused(clip: Path, tmp_path: Path, **options) -> str:
    output = tmp_path / "out"
    with pytest.raises(BadInput) as error:
        track(clip, output, **options)
    assert not output.exists() and not output.with_name(".out.partial").exists()
    return str(error.value)


def test_no_face(tmp_path):
    assert "no face was found anywhere" in refused(corner_video(tmp_path / "a.mp4"), tmp_path)


def test_face_in_too_few_frames(tmp_path):
    walls = [head_pictures(1, x=99.0)[0]] * 26
    clip = write_video(tmp_path / "a.mp4", [*head_pictures(14), *walls], np.arange(40) / FPS)
    assert "only 35% of the frames" in refused(clip, tmp_path)


def test_bad_files(tmp_path):
    assert "does not exist" in refused(tmp_path / "none.mp4", tmp_path)
    assert "is too short" in refused(corner_video(tmp_path / "short.mp4", seconds=1), tmp_path)
    assert "is too short" in refused(
        corner_video(tmp_path / "a.mp4"), tmp_path, config=PreprocessConfig(max_seconds=1.0)
    )
    with pytest.raises(BadInput, match="--long-side"):
        PreprocessConfig(long_side=8)


def test_mute_clip_says_what_will_not_work(tmp_path):
    clip = rendered_head_video(tmp_path / "mute.mp4", seconds=2.5)
    capture = track(clip, tmp_path / "out", config=PreprocessConfig(overlay=False))
    assert capture.audio_path is None and capture.info["verdict"] == "warn"
    assert "lip-sync metrics" in capture.info["warnings"][0]


RUN = """
import resource, sys
from avatar.errors import VisavisError
from preprocess import PreprocessConfig, track
limit = int(sys.argv[3])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    track(sys.argv[1], sys.argv[2], config=PreprocessConfig(overlay=False))
except VisavisError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


def command(clip: Path, output: Path, limit: int = 0) -> list[str]:
    return [sys.executable, "-c", RUN, str(clip), str(output), str(limit)]


def test_disk_that_fills_up(tmp_path):
    clip = rendered_head_video(tmp_path / "a.mp4", seconds=2.5)
    done = subprocess.run(command(clip, tmp_path / "out", 60_000), capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "is full" in done.stderr and "free some space" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def wait_for(condition, process: subprocess.Popen, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "ended before it could be stopped"
        assert time.monotonic() < end
        time.sleep(0.02)


def test_interrupted_run_goes_on_where_it_was(tmp_path):
    clip = rendered_head_video(tmp_path / "long.mp4", seconds=12)  # 144 frames: a block and a rest
    output, partial = tmp_path / "out", tmp_path / ".out.partial"
    process = subprocess.Popen(command(clip, output), stderr=subprocess.PIPE, text=True)
    wait_for((partial / ".stages" / "pass" / "000000.npz").is_file, process)
    process.send_signal(signal.SIGINT)
    _, text = process.communicate(timeout=60)
    assert process.returncode == 3, text
    assert "the same command goes on from there" in text and not output.exists()
    kept = os.stat(partial / ".stages" / "pass" / "frames" / "000000.jpg")
    capture = track(clip, output, config=PreprocessConfig(overlay=False))
    assert len(capture) == 144 and capture.tracked.all() and not partial.exists()
    same = os.stat(output / "frames" / "000000.jpg")
    assert (same.st_mtime_ns, same.st_ino) == (kept.st_mtime_ns, kept.st_ino)
    # The frames after the break are the right ones.
    with Detector() as detector:
        for index, _, rgb in frames(clip, skip=110):
            np.testing.assert_allclose(detector.detect(rgb).landmarks_px, capture.landmarks_px[index], atol=0.5)
            if index >= 114:
                break


@pytest.mark.slow
def test_a_real_clip(tmp_path):
    """Six seconds of another person than in test_real_clip.py."""
    from avatar.assets import find_asset
    from avatar.errors import MissingAsset

    try:
        clip = find_asset("pexels.mp4", fetch=False)
    except MissingAsset as missing:
        pytest.skip(missing.what)
    capture = track(clip, tmp_path / "out", config=PreprocessConfig(max_seconds=6.0, overlay=False))
    assert len(capture) == 144 and capture.tracked.mean() > 0.98
    assert capture.info["metrics"]["reprojection_iod"] < 0.02
