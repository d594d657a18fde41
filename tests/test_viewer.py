import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
from viewer_standin import FACING, PaperAvatar, own_track

from avatar.driving import motion_params
from avatar.errors import BadInput
from avatar.head.arkit import ARKIT_INDEX, ARKIT_NAMES
from viewer.app import Viewer
from viewer.face import Face, action_groups, face_to_params, params_to_face
from viewer.render_loop import MovingSize, to_camera
from viewer.stage import Stage


def test_every_action_has_one_slider():
    names = [n for group in action_groups().values() for n in group]
    assert len(names) == len(set(names))
    assert set(names) == {n for n in ARKIT_NAMES if not n.startswith("eyeLook")}
    assert next(iter(action_groups())) == "Common"


def test_face_and_params_are_inverse():
    rest = PaperAvatar().default_params()
    actions = {n: 0.0 for group in action_groups().values() for n in group} | {"jawOpen": 0.4, "tongueOut": 1.0}
    face = Face(actions, gaze=(12.0, -8.0), head=(20.0, -10.0, 5.0), offset=(0.01, 0.0, -0.02))
    back = params_to_face(face_to_params(face, rest), rest)
    assert back.actions == pytest.approx(actions)
    assert back.gaze == pytest.approx(face.gaze, abs=1e-3)
    assert back.head == pytest.approx(face.head, abs=1e-2)
    assert back.offset == pytest.approx(face.offset, abs=1e-6)


def test_slider_signs():
    """+X is the subject's left, +Z comes out of the face."""
    rest = PaperAvatar().default_params()
    turned = face_to_params(Face({}, head=(20.0, 0.0, 0.0)), rest)
    nose = rest.rotation.T @ turned.rotation @ torch.tensor([0.0, 0.0, 1.0])
    assert nose[0] > 0.3 and abs(nose[1]) < 1e-6
    nodding = face_to_params(Face({}, head=(0.0, 20.0, 0.0)), rest)
    assert (rest.rotation.T @ nodding.rotation @ torch.tensor([0.0, 0.0, 1.0]))[1] < -0.3
    looking = face_to_params(Face({}, gaze=(12.5, 10.0)), rest).expression
    assert looking[ARKIT_INDEX["eyeLookOutLeft"]] == looking[ARKIT_INDEX["eyeLookUpRight"]] == 0.5


def test_own_frames_survive_the_sliders():
    rest, track = PaperAvatar().default_params(), own_track()
    params = motion_params(track, 20)
    again = face_to_params(params_to_face(params, rest), rest)
    assert torch.allclose(again.expression, params.expression, atol=1e-5)
    assert torch.allclose(again.rotation, params.rotation, atol=1e-5)
    assert torch.allclose(again.translation, params.translation, atol=1e-6)


def test_moving_size_follows_the_load():
    size = MovingSize(low=160, high=960, target_seconds=0.04)
    for _ in range(30):  # a machine that needs 0.4 s at 960
        size.measured(size.pixels, 0.4 * (size.pixels / 960) ** 2)
    assert 240 <= size.pixels <= 380
    for _ in range(30):
        size.measured(size.pixels, 0.001)
    assert size.pixels == 960
    for _ in range(60):
        size.measured(size.pixels, 5.0)
    assert size.pixels == 160


def test_camera_mapping():
    """viser's resting camera at the origin is ours; moved and turned, it still sees what lies before it."""
    camera = to_camera(np.array([1.0, 0, 0, 0]), np.zeros(3), np.pi / 2, 200, 100)
    assert np.allclose(camera.T_camera_world, np.eye(4)) and camera.fy == pytest.approx(50)
    half = np.sqrt(0.5)  # a quarter turn about Y looks along +X
    camera = to_camera(np.array([half, 0, half, 0]), np.array([1.0, 2.0, 3.0]), np.pi / 2, 200, 100)
    assert np.allclose(camera.T_camera_world @ [6.0, 2.0, 3.0, 1.0], [0, 0, 5, 1], atol=1e-6)


def test_stage_plays_seeks_and_yields_to_the_hand():
    stage = Stage(PaperAvatar())
    changes = []
    stage.on_change(lambda: changes.append(1))
    assert not stage.on_track and not stage.playing
    stage.seek(1.0)
    assert stage.shot().index == 25 and stage.on_track
    stage.play(True)
    start = stage.position()
    deadline = time.monotonic() + 5
    while stage.position() == start and time.monotonic() < deadline:
        time.sleep(0.01)
    assert stage.position() != start and stage.shot().playing
    stage.play(False)
    assert stage.shot().key == stage.shot().key
    before = stage.shot().key
    stage.show_face(stage.params())
    assert not stage.on_track and stage.shot().key != before
    stage.set_background("none")
    assert stage.shot().background == "none"
    assert len(changes) == 5


def test_viewer_starts_serves_and_leaves_nothing(capsys):
    before = set(threading.enumerate())
    with Viewer(PaperAvatar(), port=8470) as first, Viewer(PaperAvatar(), port=first.port) as second:
        assert second.port != first.port  # a busy port is passed over
        page = urllib.request.urlopen(first.url, timeout=10).read()
        assert b"<html" in page.lower()
    left = [t.name for t in set(threading.enumerate()) - before if t.name.startswith(("render", "timeline"))]
    assert left == []
    assert capsys.readouterr().out == ""


def test_a_foreign_address_is_refused():
    with pytest.raises(BadInput, match="cannot listen on 203.0.113.7"):
        Viewer(PaperAvatar(), host="203.0.113.7")


def test_serve_says_where_and_ends_on_interrupt(tmp_path):
    """A real process, a real Ctrl-C."""
    code = "from viewer_standin import PaperAvatar; from viewer.app import serve; serve(PaperAvatar(), port=8475)"
    here = Path(__file__).parent
    env = os.environ | {"PYTHONPATH": f"{here}:{here.parent}"}
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    )
    try:
        said = [process.stderr.readline(), process.stderr.readline()]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert "http://localhost:84" in said[0] and "ssh -N -L 84" in said[1]
    assert process.returncode == 0 and out == ""
    assert "closed" in err and "Traceback" not in err


def test_facing_is_what_the_mean_pose_finds():
    assert np.allclose(PaperAvatar().driving.mean_rotation.numpy(), FACING, atol=1e-3)
