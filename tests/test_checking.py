"""The check of a clip: each flaw is found, a sound clip passes, and what it costs is little."""

from __future__ import annotations

import json
import shutil
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from make_capture import T, info, small_capture, tracks
from make_speech import babble, delayed, mouth_landmarks, music
from make_video import corner_video, head_picture, rendered_head_video, tone, write_video

from avatar.assets import find_asset
from avatar.head.arkit import ARKIT_INDEX
from preprocess.capture import CaptureFolder
from preprocess.capture.files import frame_path, mask_path, save_info, save_tracks
from preprocess.checking import watch as watching
from preprocess.checking.evidence import Evidence
from preprocess.checking.judge import judge
from preprocess.checking.page import write_page
from preprocess.checking.person import blinks, clipped_share, head_angles, heard_visemes
from preprocess.checking.pictures import covered_stills, look, room_motion
from preprocess.checking.run import Checked, check_preprocessed, said, shift_sound
from preprocess.detection.landmarks import Detector
from preprocess.sound.audio import clip_samples, extract_audio, load_features, read_wav, save_features, write_samples
from preprocess.video import frames, probe

SECONDS, FPS = 24, 25
COUNT = SECONDS * FPS


@pytest.fixture(scope="module")
def stills():
    """Twelve pictures of a head that turns, in front of a patterned wall, with their landmarks."""
    rng = np.random.default_rng(0)
    wall = np.kron(rng.integers(60, 180, (24, 32, 3)), np.ones((10, 10, 1))).astype(np.uint8)
    pictures, points = [], []
    with Detector(1) as detector:
        for yaw in np.linspace(-12, 12, 12):
            picture = head_picture(yaw, 0.2)
            difference = np.abs(picture.astype(int) - head_picture(x=99)).max(-1, keepdims=True)
            pictures.append(np.where(difference < 3, wall, picture))
            found = detector.detect(picture)
            assert found is not None
            points.append(found.landmarks_px)
    return np.stack(pictures), np.stack(points)


@pytest.fixture(scope="module")
def talk():
    return babble(SECONDS)


@pytest.fixture
def clip(stills, talk) -> Evidence:
    """Nothing to complain about: turns, blinks, speech in step."""
    seconds = np.arange(COUNT) / FPS
    pictures, points = stills
    index = np.linspace(0, COUNT - 1, len(pictures)).round().astype(int)
    landmarks = mouth_landmarks(talk[1], seconds) * np.float32(0.6)
    landmarks[index] = points
    scores = np.zeros((COUNT, 52), np.float32)
    for start in range(40, COUNT, 100):
        for name in ("eyeBlinkLeft", "eyeBlinkRight"):
            scores[start : start + 5, ARKIT_INDEX[name]] = 0.49
    yaw, pitch = np.radians(15 * np.sin(seconds)), np.radians(8 * np.sin(seconds * 1.7))
    forward = np.stack([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)], 1)
    return Evidence(
        "clip", seconds, landmarks, scores, forward, np.ones(COUNT, bool), pictures, index, talk[0]
    )  # fmt: skip


def about(evidence: Evidence) -> set[str]:
    return {finding.about for finding in judge(evidence, [])[0].findings}


def test_a_sound_clip_has_its_measures(clip):
    quality, _ = judge(clip, [])
    # A made face is smoother than a real one, and babble has few consonants: these two may be noted.
    assert {f.about for f in quality.findings} <= {"focus", "mouth"}
    measures = quality.measures
    assert measures["seconds"] == pytest.approx(SECONDS, abs=0.1)
    assert measures["yaw_degrees"] == pytest.approx([-15, 15], abs=1)
    assert measures["blinks"] == 6 and measures["blink_threshold"] == pytest.approx(0.245, abs=0.01)
    assert quality.sync.verdict == "in sync"
    assert json.loads(json.dumps(quality.as_json(), allow_nan=False))["schema"] == "visavis.quality/1"


def test_desync_clipping_and_music_are_found(clip, talk):
    late = judge(replace(clip, samples=delayed(talk[0], 0.24)), [])[0]
    assert late.sync.offset_seconds == pytest.approx(0.24, abs=0.06)
    assert any("--fix-sync" in f.advice for f in late.findings)
    mended = shift_sound(delayed(talk[0], 0.24), -late.sync.offset_seconds)
    assert judge(replace(clip, samples=mended), [])[0].sync.verdict == "in sync"
    assert "sound" in about(replace(clip, samples=np.clip(8 * talk[0], -1, 1)))
    assert "sync" in about(replace(clip, samples=music(SECONDS)))


def test_stiffness_is_found(clip):
    assert "turn" in about(replace(clip, forward=np.tile([0.0, 0.0, 1.0], (COUNT, 1))))
    assert "blinks" in about(replace(clip, scores=np.zeros_like(clip.scores)))
    still = np.repeat(clip.landmarks_px[1:2], COUNT, axis=0)
    assert "mouth" in about(replace(clip, landmarks_px=still))


def test_light_and_focus(clip):
    import cv2

    assert "light" in about(replace(clip, stills=(clip.stills * 0.2).astype(np.uint8)))
    assert "light" in about(replace(clip, stills=np.clip(clip.stills.astype(int) * 3, 0, 255).astype(np.uint8)))
    soft = np.stack([cv2.GaussianBlur(s, (0, 0), 4) for s in clip.stills])
    assert np.nanmedian(look(replace(clip, stills=soft)).sharpness) < np.nanmedian(look(clip).sharpness) / 2
    assert "focus" in about(replace(clip, stills=soft))


def test_a_hand_over_the_mouth_is_seen(stills):
    pictures, points = stills
    assert not covered_stills(pictures, points).any()
    hidden = pictures.copy()
    for i in (3, 7, 8):
        left, top = points[i].min(0).astype(int)
        right, bottom = points[i].max(0).astype(int)
        hidden[i, (top + bottom) // 2 : bottom, left:right] = (60, 110, 60)
    assert np.flatnonzero(covered_stills(hidden, points)).tolist() == [3, 7, 8]


def test_a_camera_that_moves(stills):
    pictures, points = stills
    assert np.nanmax(room_motion(pictures, points)) < 0.002
    moved = pictures.copy()
    moved[9:] = np.roll(pictures[9:], 8, axis=2)
    motion = room_motion(moved, points)
    assert motion[9:] == pytest.approx(8 / 320, abs=0.005) and np.nanmax(motion[:9]) < 0.002


def test_blinks_of_people_whose_lids_hardly_close():
    seconds = np.arange(250) / 25
    scores = np.zeros((250, 52), np.float32)
    lids = [ARKIT_INDEX["eyeBlinkLeft"], ARKIT_INDEX["eyeBlinkRight"]]
    assert blinks(seconds, scores) == ([], 0.0)
    assert blinks(seconds[:1], scores[:1])[0] == []
    scores[:, lids] = 0.2
    for start, length in ((50, 4), (150, 5), (200, 40)):
        scores[start : start + length, lids[0]] = scores[start : start + length, lids[1]] = 0.45
    at, threshold = blinks(seconds, scores)
    assert at == pytest.approx([2.0, 6.0]) and 0.2 < threshold < 0.45  # lids that stay down are no blink


def test_small_measures():
    forward = np.array([[0, 0, 1.0], [np.sin(0.3), 0, np.cos(0.3)], [0, np.sin(0.2), np.cos(0.2)]])
    yaw, pitch = head_angles(forward)
    np.testing.assert_allclose(yaw, np.degrees([0, 0.3, 0]), atol=1e-6)
    np.testing.assert_allclose(pitch, np.degrees([0, 0, 0.2]), atol=1e-6)
    assert clipped_share(tone(1.0)) == 0 and clipped_share(np.ones(100, np.float32)) == 1
    assert clipped_share(np.zeros(1, np.float32)) == 0
    assert not any(heard_visemes(np.zeros(16_000, np.float32)).values())
    np.testing.assert_array_equal(shift_sound(np.arange(5.0), 2 / 16_000), [0, 0, 0, 1, 2])
    np.testing.assert_array_equal(shift_sound(np.arange(5.0), -2 / 16_000), [2, 3, 4, 0, 0])
    assert not shift_sound(np.ones(5), 9).any()


def test_the_page_opens_offline(clip, tmp_path):
    quality, looks = judge(replace(clip, name="<b>me & you"), ["two people are in 5% of the frames"])
    write_page(tmp_path / "new" / "index.html", Checked(quality, clip, looks, 0.1), "../overlay.mp4")
    page = (tmp_path / "new" / "index.html").read_text()
    assert "two people" in page and "<svg" in page and "data:image/jpeg" in page and 'href="../overlay.mp4"' in page
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "") and "https://" not in page


def run(capsys, *arguments: str) -> tuple[int, dict]:
    from avatar.cli import main

    with pytest.raises(SystemExit) as end:
        main(["check", *arguments, "--json", "-q"])
    return int(end.value.code or 0), json.loads(capsys.readouterr().out)


def test_a_video_is_checked_without_a_capture(tmp_path, capsys):
    video = rendered_head_video(tmp_path / "me.mp4", audio=tone(3.0))
    code, result = run(capsys, str(video), "-o", str(tmp_path / "page"))
    assert code == 0 and result["verdict"] == "warn" and result["sync"]["verdict"] == "too short"
    assert result["measures"]["face_share"] == 1.0
    assert json.loads((tmp_path / "page" / "quality.json").read_text())["verdict"] == "warn"
    assert "me.mp4" in (tmp_path / "page" / "index.html").read_text()
    code, result = run(capsys, str(video), "-o", str(tmp_path / "page"))
    assert code == 2 and "--overwrite" in result["error"]
    code, result = run(capsys, str(video), "--fix-sync")
    assert code == 2 and "visavis preprocess" in result["error"]


@pytest.fixture
def late_capture(tmp_path, talk) -> Path:
    """A capture of sixteen seconds whose sound is 0.24 s late."""
    capture, count = small_capture(tmp_path / "me.capture"), 16 * FPS
    for i in range(T, count):
        shutil.copy(frame_path(capture, 0), frame_path(capture, i))
        shutil.copy(mask_path(capture, 0), mask_path(capture, i))
    arrays = tracks()
    for name in arrays.keys() - {"identity", "neutral"}:
        arrays[name] = np.resize(arrays[name], (count, *arrays[name].shape[1:]))
    arrays["timestamps"] = np.arange(count) / FPS
    arrays["tracked"] = np.ones(count, bool)
    arrays["landmarks_px"] = mouth_landmarks(talk[1], arrays["timestamps"])
    save_tracks(capture, **arrays)
    sound = wav_of(tmp_path / "late.wav", delayed(talk[0], 0.24))
    assert extract_audio(sound, capture / "audio.wav", 0.0, 16.0)
    save_features(capture / "audio.wav", capture / "audio_features.npz")
    save_info(capture, info() | {"frame_count": count, "audio": True, "warnings": ["two people"]})
    corner_video(capture / "overlay.mp4", seconds=16, fps=5, audio=tone(16.0, silent_seconds=1.0))
    return capture


def wav_of(path: Path, samples: np.ndarray) -> Path:
    with wave.open(str(path), "wb") as out:
        out.setparams((1, 2, 16_000, len(samples), "NONE", ""))
        write_samples(out, samples)
    return path


def test_sound_of_a_capture_is_put_back_in_its_place(late_capture, capsys):
    before = CaptureFolder.load(late_capture).content_hash
    code, result = run(capsys, str(late_capture))
    assert code == 0 and result["sync"]["verdict"] == "off by" and result["page"].endswith("quality.html")
    assert CaptureFolder.load(late_capture).content_hash == before
    code, result = run(capsys, str(late_capture), "--fix-sync")
    assert code == 0 and result["sync"]["verdict"] == "in sync"
    assert result["sound_shifted_seconds"] == pytest.approx(-0.24, abs=0.06)
    capture = CaptureFolder.load(late_capture)
    assert capture.info["audio_shift_seconds"] == result["sound_shifted_seconds"]
    assert capture.content_hash != before
    samples = read_wav(late_capture / "audio.wav")
    assert len(samples) == 16 * 16_000
    assert probe(late_capture / "overlay.mp4").duration_seconds == pytest.approx(80 / FPS, abs=0.1)
    features_seconds = load_features(late_capture / "audio_features.npz").timestamps_seconds
    assert features_seconds[-1] == pytest.approx(16, abs=0.05)
    code, result = run(capsys, str(late_capture), "--fix-sync")
    assert result["sound_shifted_seconds"] == 0 and not list(late_capture.glob("*partial*"))


def test_preprocessing_writes_the_quality_beside_the_tracks(late_capture):
    quality = check_preprocessed(late_capture)
    stored = json.loads((late_capture / "quality.json").read_text())
    assert stored["verdict"] == quality.verdict == "warn" and stored["sync"]["verdict"] == "off by"
    assert said(quality)[0] == "two people" and any("--fix-sync" in text for text in said(quality))


def test_long_clips_are_looked_at_now_and_then(tmp_path, monkeypatch):
    monkeypatch.setattr(watching, "SKIP_SECONDS", 0.5)
    monkeypatch.setattr(watching, "DENSE_SECONDS", 1.0)
    monkeypatch.setattr(watching, "STILLS", 4)
    video = rendered_head_video(tmp_path / "me.mp4", seconds=4.0)
    looks = []
    monkeypatch.setattr(Detector, "_look", lambda self, rgb, look=Detector._look: looks.append(1) or look(self, rgb))
    evidence, seen = watching.watch(video, probe(video))
    assert len(evidence.seconds) == 48 and evidence.has_face.all() and len(seen.thumbnails) == 48
    assert len(looks) < 30 and evidence.dense.sum() == 12
    moved = np.linalg.norm(np.diff(evidence.landmarks_px[:, 1], axis=0), axis=-1)
    assert moved.max() < 25 and (moved > 0).mean() > 0.8  # the face glides from look to look


@pytest.mark.slow
def test_late_sound_that_no_header_tells_of(tmp_path, capsys):
    video = find_asset("speaking.avi")
    shown = list(frames(video))
    sound = np.repeat(delayed(clip_samples(video, 0.0, 12.68), 0.24), 3)  # 48 kHz
    late = write_video(tmp_path / "late.mp4", [rgb for _, _, rgb in shown], [t for _, t, _ in shown], audio=sound)
    own, found = run(capsys, str(video))[1]["sync"], run(capsys, str(late))[1]["sync"]
    assert own["verdict"] == "in sync" and found["verdict"] == "off by"
    assert found["offset_seconds"] - own["offset_seconds"] == pytest.approx(0.24, abs=0.08)


def test_a_clip_without_a_face_is_refused(tmp_path, capsys):
    code, result = run(capsys, str(corner_video(tmp_path / "wall.mp4", seconds=3)), "-o", str(tmp_path / "page"))
    assert code == 2 and result["verdict"] == "refuse" and "no face" in result["findings"][0]["text"]
    assert "refuse" in (tmp_path / "page" / "index.html").read_text()
