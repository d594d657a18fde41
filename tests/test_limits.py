"""From where, and doing what, an avatar's person was filmed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from synthetic import talking_motion

from avatar.driving import still_motion
from avatar.driving_maths import rotations
from avatar.export.cameras import turned
from avatar.files import read_json
from avatar.head.model import REGIONS, region_of_faces
from avatar.known import confidence
from avatar.limits import CREDIBLE_DEGREES, Limits, view_degrees
from avatar.stored import AVATAR_SCHEMA
from avatar.types import Camera
from viewer.render_loop import beyond_limits
from viewer.stage import Stage

FACING_US = np.diag([1.0, -1.0, -1.0])


def posed(yaw: float = 0.0, pitch: float = 0.0):
    """A head before the camera, turned about its own axes: yaw to its left, pitch up; degrees."""
    return FACING_US @ Rotation.from_euler("YX", [yaw, -pitch], degrees=True).as_matrix(), np.array([0.0, 0.0, 0.6])


def test_a_head_that_turns_left_shows_its_right():
    yaw, pitch = view_degrees(*posed(yaw=20), np.zeros(3))
    assert (yaw, pitch) == (pytest.approx(-20), pytest.approx(0, abs=1e-6))
    yaw, pitch = view_degrees(*posed(pitch=10), np.zeros(3))
    assert (yaw, pitch) == (pytest.approx(0, abs=1e-6), pytest.approx(-10))  # face up: we see it from below


def test_limits_are_the_views_of_the_training():
    motion = talking_motion(400)  # sways by 0.2 and nods by 0.08
    limits = Limits.of(motion)
    assert limits.yaw_degrees == (pytest.approx(-11.4, abs=1.5), pytest.approx(11.4, abs=1.5))
    assert limits.pitch_degrees == (pytest.approx(-4.6, abs=1.5), pytest.approx(4.6, abs=1.5))
    assert "tongueOut" in limits.never_seen and "jawOpen" not in limits.never_seen


def test_what_was_never_done_is_told():
    motion = talking_motion(100)
    assert len(Limits.of(replace(motion, expression=0 * motion.expression)).never_seen) == 52


def test_views_beyond_are_named():
    limits = Limits((-10.0, 20.0), (-5.0, 5.0), ())
    camera, center = Camera(100, 100, 200, 200, 50, 50), np.array([0.0, 0.0, 0.6])
    assert limits.beyond(*posed(), camera) == ""
    assert limits.beyond(*posed(yaw=10 + CREDIBLE_DEGREES - 1), camera) == ""
    assert "from the subject's right" in limits.beyond(*posed(yaw=40), camera)
    beyond = {limits.beyond(*posed(), turned(camera, center, yaw)) for yaw in (-70, 70)}
    assert beyond == {f"{60 if side == 'right' else 50}° further from the subject's {side} than was filmed"
                      for side in ("right", "left")}  # fmt: skip
    assert "from below" in limits.beyond(*posed(pitch=40), camera)


def test_what_faces_the_camera_is_known_and_the_rest_is_not(capture):
    head, neutral = capture.head, torch.from_numpy(capture.neutral)
    motion = capture.motion
    known = confidence(head, neutral, motion, capture.camera)
    regions = region_of_faces(head)
    mean = {name: float(known[torch.from_numpy(regions == REGIONS.index(name))].mean()) for name in REGIONS}
    assert mean["face"] > 0.6 and mean["lips"] > 0.6 and mean["scalp"] < 0.4
    depth, scalp = neutral[head.faces.long()].mean(1)[:, 2], torch.from_numpy(regions == REGIONS.index("scalp"))
    behind = scalp & (depth < depth[scalp].median())
    assert known[behind].max() == 0
    # Turned away by a half turn it shows the back of the head instead.
    half_turn = (rotations(motion) * Rotation.from_euler("Y", np.pi)).as_quat(scalar_first=True).astype(np.float32)
    known = confidence(head, neutral, replace(motion, quats_wxyz=half_turn), capture.camera)
    assert known[behind].mean() > 0.4 and known[torch.from_numpy(regions == REGIONS.index("lips"))].max() < 0.1


def test_an_avatar_tells_its_limits(tiny_avatar):
    content = read_json(tiny_avatar.path / "avatar.json", AVATAR_SCHEMA, "an avatar")["limits"]
    assert content["yaw_degrees"] == list(tiny_avatar.limits.yaw_degrees)
    assert content["seen"]["face"] > content["seen"]["scalp"]
    assert len(tiny_avatar.known) == len(tiny_avatar.layers.head.means)
    assert 0 <= tiny_avatar.known.min() and tiny_avatar.known.max() == 1


def test_the_viewer_notes_views_that_were_not_filmed(tiny_avatar):
    stage, camera = Stage(tiny_avatar), tiny_avatar.camera
    rest = tiny_avatar.prepare(still_motion(tiny_avatar.default_params()))
    shot = replace(stage.shot(), prepared=rest)
    assert beyond_limits(tiny_avatar.limits, shot, camera) == ""
    aside = turned(camera, tiny_avatar.head_center, 70)
    assert beyond_limits(tiny_avatar.limits, shot, aside).startswith("*a guess: seen ")
