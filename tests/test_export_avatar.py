"""Drivers, exporters and the viewer's stage on a real, if tiny, fitted avatar."""

from dataclasses import replace

import av
import numpy as np
import pytest
import torch

from avatar.export import multiview
from avatar.export.cameras import front, orbit, ring
from avatar.export.clip import ClipOptions, duration_seconds, render_clip
from avatar.export.multiview import export_multiview
from avatar.export.splats import read_ply, write_ply
from avatar.export.stereo import export_stereo
from avatar.head.arkit import ARKIT_INDEX
from avatar.motion.rules import drive
from avatar.playback import Player
from viewer.face import Face, face_to_params, params_to_face
from viewer.stage import Stage


@pytest.fixture(scope="module")
def talk(tiny_avatar):
    """Half a second of noise bursts, as this avatar would say it."""
    t = np.arange(8000) / 16000
    samples = np.random.default_rng(0).normal(0, 0.2, 8000) * (np.sin(2 * np.pi * 4 * t) > 0)
    motion = drive(samples, seed=2, neutral=tiny_avatar.driving.rest_expression.numpy())
    return tiny_avatar.prepare(motion, foreign=True, expression_is_relative=False)


def pictures(path):
    with av.open(str(path)) as clip:
        return np.stack([f.to_ndarray(format="rgb24") for f in clip.decode(video=0)]).astype(int)


def test_driven_clip_shows_the_avatar(tiny_avatar, talk, tmp_path):
    camera_at = orbit(tiny_avatar.camera, tiny_avatar.head_center, seconds=duration_seconds(talk))
    assert render_clip(tiny_avatar, talk, camera_at, tmp_path / "talk.mp4") == len(talk)
    clip = pictures(tmp_path / "talk.mp4")
    wanted = tiny_avatar.frame(talk, 0, tiny_avatar.camera).astype(int)
    assert np.abs(clip[0] - wanted).mean() < 4  # what was rendered, up to the codec
    assert np.abs(clip[-1] - clip[0]).mean() > 0.3  # and it moves


def test_eyes_see_different_pictures_of_one_head(tiny_avatar, talk, tmp_path):
    path = export_stereo(
        tiny_avatar, talk, front(tiny_avatar.camera), tiny_avatar.head_center, tmp_path / "s.mp4",
        options=ClipOptions(background=(0.0, 1.0, 0.0)),
    )  # fmt: skip
    picture, width = pictures(path)[0], tiny_avatar.camera.width
    assert picture.shape[1] == 2 * width
    left, right = picture[:, :width], picture[:, width:]
    assert np.abs(left - right).mean() > 1
    masks = [(p[..., 1] - np.maximum(p[..., 0], p[..., 2]) < 60) for p in (left, right)]
    columns = [np.nonzero(m)[1].mean() for m in masks]
    assert abs(columns[0] - columns[1]) < 0.05 * width  # converged on the head


def test_ring_of_views(tiny_avatar, talk, tmp_path):
    cameras = ring(tiny_avatar.camera, tiny_avatar.head_center, 3, 60)
    options = ClipOptions(long_side=64, background="none")
    clips = [pictures(p) for p in export_multiview(tiny_avatar, talk, cameras, tmp_path, options=options)]
    assert {len(c) for c in clips} == {len(talk)}
    assert all(c[0].max() > 60 for c in clips)  # the head is in every view
    assert np.abs(clips[0][0] - clips[2][0]).mean() > 2


def test_views_that_share_a_pass_are_what_they_are_alone(tiny_avatar, talk, tmp_path):
    options = ClipOptions(long_side=64)
    small = tiny_avatar.camera.with_long_side(64)
    cameras = [*ring(tiny_avatar.camera, tiny_avatar.head_center, 2, 60), replace(small, model="orthographic")]
    together = export_multiview(tiny_avatar, talk, cameras, tmp_path / "ring", options=options)
    for i, (camera, path) in enumerate(zip(cameras, together, strict=True)):
        alone = tmp_path / f"{i}.mp4"
        render_clip(tiny_avatar, talk, front(camera), alone, options=options)
        assert alone.read_bytes() == path.read_bytes()


def test_the_head_is_posed_once_per_time(tiny_avatar, talk, tmp_path, monkeypatch):
    calls, frames = [], Player.frames

    def counted(player, driven, index, cameras, background="plate"):
        calls.append(len(cameras))
        return frames(player, driven, index, cameras, background)

    monkeypatch.setattr(Player, "frames", counted)
    options = ClipOptions(long_side=48)
    export_stereo(
        tiny_avatar, talk, front(tiny_avatar.camera), tiny_avatar.head_center, tmp_path / "s.mp4", options=options
    )
    assert calls == [2] * len(talk)
    calls.clear()
    cameras = ring(tiny_avatar.camera, tiny_avatar.head_center, 5, 60)
    export_multiview(tiny_avatar, talk, cameras, tmp_path / "ring", options=options)
    assert calls == [5] * len(talk)
    calls.clear()
    monkeypatch.setattr(multiview, "PIXELS_AT_ONCE", 2 * 48 * 48)  # memory is bounded: more views take more passes
    export_multiview(tiny_avatar, talk, cameras, tmp_path / "batches", options=options)
    assert calls == [2] * len(talk) + [2] * len(talk) + [1] * len(talk)
    for i in range(5):
        assert (tmp_path / f"ring/view_0{i}.mp4").read_bytes() == (tmp_path / f"batches/view_0{i}.mp4").read_bytes()


def test_splats_hold_the_whole_frame(tiny_avatar, talk, tmp_path):
    gaussians = tiny_avatar.gaussians(talk, 3)
    write_ply(tmp_path / "f.ply", gaussians)
    back = read_ply(tmp_path / "f.ply")
    assert len(back) == len(gaussians)
    assert torch.allclose(back.means, gaussians.means, atol=1e-5)
    assert torch.allclose(back.opacities, gaussians.opacities.clamp(1e-6, 1 - 1e-6), atol=1e-4)


def test_sliders_move_the_real_face(tiny_avatar):
    stage = Stage(tiny_avatar)
    face = params_to_face(stage.rest, stage.rest)
    changes = {
        "jaw": replace(face, actions=face.actions | {"jawOpen": 0.8}),
        "turn": replace(face, head=(10.0, 0.0, 0.0)),
        "same": Face(face.actions, face.gaze, face.head, face.offset),
    }
    pixels = {}
    for name, changed in {"rest": face, **changes}.items():
        stage.show_face(face_to_params(changed, stage.rest))
        shot = stage.shot()
        pixels[name] = tiny_avatar.frame(shot.prepared, shot.index, tiny_avatar.camera).astype(int)
    assert np.abs(pixels["jaw"] - pixels["rest"]).max() > 10
    assert np.abs(pixels["turn"] - pixels["rest"]).mean() > 0.5
    assert np.array_equal(pixels["same"], pixels["rest"])
    assert stage.params().expression[ARKIT_INDEX["jawOpen"]] == pytest.approx(face.actions["jawOpen"], abs=1e-6)
