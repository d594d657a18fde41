"""The synthetic subject: repeatable, complete, true to itself; a face to the detector; lips shut where they must."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
import wave
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from avatar.cli import main
from avatar.errors import BadInput, FormatMismatch
from avatar.export.cameras import turned
from avatar.geometry import quat_to_matrix
from avatar.head import load_head
from avatar.head.calibration import calibrate
from avatar.head.landmarks import lip_opening
from avatar.head.model import landmarks_on
from avatar.motion.phones import Phone, articulation
from avatar.rig import head_silhouette
from preprocess.capture import CaptureFolder
from preprocess.detection.landmarks import Detector
from preprocess.pipeline import PreprocessConfig, track
from preprocess.studio import StudioConfig, StudioFolder, record
from preprocess.studio.acting import perform
from preprocess.studio.alignment import blink_f1, lag_frames
from preprocess.studio.atlas import LABELS
from preprocess.studio.bench import run
from preprocess.studio.filming import yaw_of
from preprocess.studio.measures import lid_closure
from preprocess.studio.occlusion import openness
from preprocess.studio.person import make_person
from preprocess.studio.speech import make_speech
from preprocess.studio.truth import Seen, compare, score, shape_floor
from preprocess.studio.voice import nonsense

SMALL = StudioConfig(seconds=2.4, seed=7, long_side=160, fps=12.5, views=(-45.0,))


@pytest.fixture(scope="module")
def studio(tmp_path_factory) -> StudioFolder:
    return record(tmp_path_factory.mktemp("studio") / "subject", SMALL)


def checksums(folder: Path) -> dict[str, str]:
    files = [p for p in folder.rglob("*") if p.is_file() and not p.name.endswith(".provenance.json")]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_the_same_seed_gives_the_same_bytes(studio, tmp_path):
    assert checksums(record(tmp_path / "again", SMALL).path) == checksums(studio.path)
    other = record(tmp_path / "other", replace(SMALL, seed=8, seconds=0.4, views=()))
    assert not np.allclose(other.neutral, studio.neutral, atol=1e-4)


def test_the_clip_has_all_frames_sound_and_a_mark(studio):
    assert len(studio) == 30 and studio.info["synthetic"] is True
    with av.open(str(studio.video_path)) as clip:
        assert sum(1 for _ in clip.decode(video=0)) == 30 and clip.streams.audio
        assert "Synthetic media" in clip.metadata["comment"]
    with wave.open(str(studio.path / "speech.wav")) as sound:
        assert sound.getnframes() == round(2.4 * 16000)
    provenance = json.loads((studio.path / "video.mp4.provenance.json").read_text())
    assert provenance["synthetic"] and provenance["seed"] == 7


def test_vertices_follow_from_the_head_parameters(studio):
    head, motion = load_head(), studio.motion
    local = head.vertices(torch.from_numpy(studio.neutral), torch.from_numpy(motion.expression)).numpy()
    rotation = quat_to_matrix(torch.from_numpy(motion.quats_wxyz)).numpy()
    world = np.einsum("tij,tvj->tvi", rotation, local) + motion.translation[:, None]
    np.testing.assert_allclose(studio.vertices, world, atol=2e-6)


def test_the_head_is_outside_of_what_the_tracker_can_solve(studio):
    head = load_head()
    assert studio.info["person"]["residual_rms_mm"] == pytest.approx(1.0, abs=0.1)
    face, lips = shape_floor(head, studio.neutral)
    assert 0.6 < face < 1.1 and 0.3 < lips < 1.3


def test_labels_and_depth_agree_with_the_mesh(studio):
    labels, depth, camera = studio.labels(4), studio.depth(4), studio.camera(4)
    assert ((labels > 0) == (depth > 0)).all()
    seen = {LABELS[k] for k in np.unique(labels)}
    assert {"background", "face_skin", "lips", "eyes", "brows", "hair", "neck", "torso"} <= seen
    vertices = torch.from_numpy(np.array(studio.vertices[4]))
    mesh = head_silhouette(vertices, load_head().faces, camera)
    face = np.isin(labels, [LABELS.index(name) for name in ("face_skin", "lips", "eyes", "brows")])
    assert (face & mesh).sum() > 0.99 * face.sum()
    # The tip of the nose is nearest to the camera of all the head in a frontal frame; the depth picture says how near.
    frontal = int(np.abs(studio.motion.quats_wxyz[:, 2:]).sum(1).argmin())
    tip = studio.tracks["landmarks"][frontal, 4]
    column, row = studio.camera(frontal).project(tip[None])[0].astype(int)
    assert abs(studio.depth(frontal)[row, column] - tip[2]) < 3e-3


def test_landmarks_are_where_the_detector_sees_them(studio):
    camera = studio.camera(0)
    with Detector() as detector:
        for index in range(0, len(studio), 5):
            found = detector.detect(studio.render(index, camera.scaled(384, 384)).rgb)
            assert found is not None
            error = np.linalg.norm(found.landmarks_px / 2.4 - studio.tracks["landmarks_px"][index], axis=1)
            iod = np.linalg.norm(np.subtract(*studio.tracks["landmarks_px"][index][[33, 263]]))
            assert np.median(error) < 0.06 * iod


def test_light_does_not_reach_into_hollows():
    import trimesh

    ball = trimesh.creation.icosphere(subdivisions=3, radius=0.1)
    points, faces, normals = np.array(ball.vertices), np.array(ball.faces), np.array(ball.vertices) / 0.1
    assert openness(points, faces, normals).min() > 0.97
    shade = trimesh.creation.box((0.4, 0.02, 0.4), transform=trimesh.transformations.translation_matrix([0, 0.13, 0]))
    both = np.concatenate([points, shade.vertices]), np.concatenate([faces, shade.faces + len(points)])
    left = openness(*both, np.concatenate([normals, np.array(shade.vertex_normals)]))
    top, bottom = points[:, 1].argmax(), points[:, 1].argmin()
    assert left[top] < 0.15 and left[bottom] > 0.97


def test_other_cameras_see_the_same_moment(studio):
    camera = studio.views[-45.0]
    again = studio.render(3, camera).rgb.astype(int)
    with av.open(str(studio.view_path(-45.0))) as clip:
        recorded = [f.to_ndarray(format="rgb24") for f in clip.decode(video=0)][3].astype(int)
    assert np.abs(again - recorded).mean() < 4
    straight = studio.render(3, turned(studio.camera(3), np.array([0, 0, 1.0]), 0.0))
    np.testing.assert_array_equal(straight.labels, studio.labels(3))


def test_scores_know_the_truth_from_an_error(studio):
    head = load_head()
    table, frames, motion = calibrate(head), np.arange(len(studio)), studio.motion
    rotation = quat_to_matrix(torch.from_numpy(motion.quats_wxyz)).numpy()
    vertices = np.array(studio.vertices, np.float64)

    def seen(camera, vertices, turn, expression) -> Seen:
        return Seen(
            camera, vertices, expression, turn @ rotation, studio.tracks["gaze"] @ turn.T,
            landmarks_on(vertices, head, table),
        )  # fmt: skip

    true = seen(studio.camera(), vertices, np.eye(3), motion.expression)
    same = score(true, true, head.regions.numpy())
    assert same.frames == len(frames) and max(same.rotation_degrees, same.face_mm, same.gaze_degrees) < 0.05
    assert same.aperture_r > 0.999 and same.jitter_head == same.jitter_lips == 1 and same.blink_f1 == 1

    turn = Rotation.from_rotvec([0, np.radians(3), 0]).as_matrix()
    noise = np.random.default_rng(0).normal(0, 1e-3, vertices.shape)
    camera = replace(studio.camera(), fx=1.2 * studio.camera().fx)
    late = np.roll(motion.expression, 2, axis=0)
    off = score(seen(camera, 1.1 * (vertices + noise), turn, late), true, head.regions.numpy())
    assert off.rotation_degrees == pytest.approx(3, abs=0.01) and off.gaze_degrees == pytest.approx(3, abs=0.1)
    assert off.focal_percent == pytest.approx(20, abs=0.01)
    assert off.face_mm == pytest.approx(np.sqrt(3), rel=0.05)  # the scale is free
    assert off.jitter_head > 1.5


def test_lag_and_blinks_are_counted():
    true = np.sin(np.arange(200) / 5.0) + np.sin(np.arange(200) / 3.1)
    assert lag_frames(np.roll(true, 3), true) == 3 and lag_frames(true, true) == 0
    lids = np.zeros(100)
    lids[[20, 21, 22, 60, 61, 62]] = 1
    assert blink_f1(0.4 * lids, lids) == 1  # the threshold is the person's own
    assert blink_f1(np.where(np.arange(100) < 40, lids, 0), lids) == pytest.approx(2 / 3)
    assert blink_f1(np.zeros(100), lids) == 0 and blink_f1(np.zeros(100), np.zeros(100)) == 1


@pytest.mark.slow
def test_bench_scores_the_tracker(tmp_path):
    result = run([90], 2.0, keep=tmp_path)
    row = result["rows"][0]
    assert row["frames"] == 50 and row["rotation_degrees"] < 10 and row["head_px"] < 5 and row["face_mm"] < 10
    assert {line["quantity"] for line in result["summary"]} >= {"gaze_degrees", "lips_mm"}
    layers = result["layers"][0]
    assert layers["iou_skin"] > 0.85 and layers["iou_hair"] > 0.7 and layers["mask_iou"] > 0.95
    assert layers["plate_precision"] > 0.99 and layers["plate_psnr"] > 38
    before = (tmp_path / "seed-90" / "video.mp4").stat().st_mtime
    assert run([90], 2.0, keep=tmp_path)["rows"] == result["rows"]
    assert (tmp_path / "seed-90" / "video.mp4").stat().st_mtime == before
    other = record(tmp_path / "other", StudioConfig(seconds=0.4, long_side=64, supersample=1))
    capture = tmp_path / "seed-90.capture"
    track(tmp_path / "seed-90" / "video.mp4", capture, config=PreprocessConfig(overlay=False))
    with pytest.raises(BadInput, match="was not made of"):
        compare(CaptureFolder.load(capture), other)


def test_lips_are_shut_on_p_b_m_and_in_silence():
    phones = [Phone("pau", 0, 0.5), Phone("aa", 0.5, 0.7), Phone("m", 0.7, 0.79), Phone("iy", 0.79, 1.0)]
    strengths, seal = articulation(phones, 100)
    assert seal[74] == 1 and seal[60] == 0 and strengths["open_back"][60] == 1 and strengths["open_back"][10] == 0


def played(seed: int, seconds: float, fps: float = 25.0, wobble_mm: float = 0.0):
    """Speech and performance without a picture."""
    speech, pivot = make_speech(StudioConfig(seconds=seconds, seed=seed)), np.array([0, -0.06, -0.06])
    return speech, perform(speech, pivot, seed=seed, seconds=seconds, fps=fps, size=512, wobble_mm=wobble_mm)


def test_lips_close_on_the_mesh():
    head, (speech, performance) = load_head(), played(1, 4, fps=30)
    neutral = torch.from_numpy(make_person(head, 1).neutral)
    vertices = head.vertices(neutral, torch.from_numpy(performance.motion.expression)).numpy()
    opening = lip_opening(landmarks_on(vertices, head, calibrate(head)))

    def during(names: set[str]) -> np.ndarray:
        middles = [(p.start_seconds + p.end_seconds) / 2 for p in speech.phones if p.name in names]
        return opening[[min(round(middle * 30), len(opening) - 1) for middle in middles]]

    vowels = np.median(during({"aa", "ae", "ah", "ao", "eh"}))
    assert np.median(during({"p", "b", "m"})) < 0.45 * vowels
    assert np.median(during({"pau"})) < 0.45 * vowels


def test_heads_turn_and_eyes_blink():
    for seed in (0, 1, 2):
        motion = played(seed, 10)[1].motion
        yaw = np.degrees(yaw_of(motion.quats_wxyz))
        assert np.abs(yaw).max() > 20 and np.abs(yaw).min() < 5
        assert (np.diff((lid_closure(motion.expression) > 0.5).astype(int)) == 1).sum() >= 1
        assert not motion.torso[0].any() and np.ptp(motion.torso[:, 0]) > 1e-3


def test_a_hand_held_camera_starts_the_world():
    poses = played(2, 1, wobble_mm=5)[1].T_camera_world
    np.testing.assert_allclose(poses[0], np.eye(4), atol=1e-6)
    assert 1e-4 < np.abs(poses[-1, :3, 3]).max() < 0.02
    np.testing.assert_array_equal(played(2, 1)[1].T_camera_world[-1], np.eye(4))


def test_a_recording_is_spoken(tmp_path):
    tone = np.sin(2 * np.pi * 150 * np.arange(8000) / 16000) * 9000
    with wave.open(str(tmp_path / "voice.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(tone.astype("<i2").tobytes())
    speech = make_speech(StudioConfig(seconds=1, audio=tmp_path / "voice.wav"))
    assert len(speech.samples_16k) == 16000 and speech.phones is None and not speech.samples_16k[9000:].any()


def test_phones_fill_the_time():
    phones = nonsense(5, 3)
    assert phones[0].start_seconds == 0 and phones[-1].end_seconds == 5
    assert all(a.end_seconds == b.start_seconds for a, b in zip(phones[:-1], phones[1:], strict=True))


@pytest.mark.parametrize("wrong", [{"seconds": 0}, {"fps": 1000}, {"long_side": 8}, {"seed": -1}, {"views": (120.0,)}])
def test_what_cannot_be_filmed_is_refused(wrong):
    with pytest.raises(BadInput, match="out of range"):
        StudioConfig(**wrong)


def test_damaged_folders_are_named(studio, tmp_path):
    with pytest.raises(BadInput, match="is not a studio folder"):
        StudioFolder.load(tmp_path)
    with pytest.raises(BadInput, match="exists"):
        record(studio.path, SMALL)
    copy = tmp_path / "copy"
    shutil.copytree(studio.path, copy)
    (copy / "depth" / "000003.png").write_bytes(b"no")
    with pytest.raises(FormatMismatch, match="000003.png"):
        StudioFolder.load(copy).depth(3)
    arrays = dict(np.load(copy / "tracks.npz"))
    np.savez(copy / "tracks.npz", **(arrays | {"gaze": arrays["gaze"][:3]}))
    with pytest.raises(FormatMismatch, match="gaze"):
        StudioFolder.load(copy)


def test_the_commands(tmp_path, capfd):
    def visavis(*arguments: str) -> tuple[int, dict]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--json", "-q"])
        return int(ended.value.code or 0), json.loads(capfd.readouterr().out)

    folder = str(tmp_path / "a subject")
    film = ("studio", "-o", folder, "--seconds", "0.3", "--long-side", "64", "--views", "-30,30")
    code, said = visavis(*film)
    assert code == 0 and said["frames"] == 8 and Path(said["video"]).is_file()
    assert sorted(p.name for p in (tmp_path / "a subject" / "views").glob("*.mp4")) == ["yaw_+30.mp4", "yaw_-30.mp4"]
    assert visavis("info", folder)[1]["kind"] == "studio"
    assert visavis(*film)[0] == 2 and visavis(*film, "--overwrite", "--seed", "3")[0] == 0
    assert StudioFolder.load(folder).info["config"]["seed"] == 3
    for wrong in (("studio", "-o", folder, "--views", "x"), ("bench", "studio", "--seeds", "1.5")):
        code, said = visavis(*wrong)
        assert code == 2 and "list of" in said["error"]


@pytest.mark.slow
def test_ctrl_c_leaves_nothing(tmp_path):
    command = [sys.executable, "-m", "avatar.cli", "studio", "-o", str(tmp_path / "s"), "--seconds", "60", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (tmp_path / ".s.partial" / "labels" / "000002.png").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 3 and json.loads(out)["exit_code"] == 3
    assert not list(tmp_path.iterdir())
