"""What an avatar knows: support of motions by its training."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from synthetic import talking_motion
from viewer_standin import PaperAvatar

from avatar.cli import main
from avatar.driving import still_motion
from avatar.driving_maths import rotations
from avatar.files import read_json
from avatar.head.arkit import ARKIT_INDEX, ARKIT_NAMES
from avatar.motion.motion_io import save_motion
from avatar.renderer import render
from avatar.rig import posed_vertices
from avatar.support import LOW
from avatar.types import Gaussians
from viewer.face import Face, face_to_params
from viewer.render_loop import supported
from viewer.stage import Stage

FARTHEST_M = 0.05
"""Of a Gaussian of the face from its place on the mesh, driven by whatever it is."""


def extreme_take(frames: int = 40) -> np.ndarray:
    """All actions at random between nothing and full, held for some frames."""
    take = np.random.default_rng(3).integers(0, 2, (frames // 5, 52)).repeat(5, 0)
    return take.astype(np.float32)


def test_training_motion_is_supported(space, motion):
    support = space.prepare(motion).support
    assert support.lowest.mean() > 0.95 and (support.lowest > LOW).all()
    assert support.warning(motion.timestamps_seconds) is None


def test_each_part_falls_by_itself(space, motion):
    expression = motion.expression.copy()
    expression[100:, ARKIT_INDEX["cheekPuff"]] = 1
    support = space.prepare(replace(motion, expression=expression)).support
    assert (support.expression[100:] < LOW).all() and (support.expression[:100] > LOW).all()
    assert support.turn.min() > LOW and support.place.min() > LOW
    warning = support.warning(motion.timestamps_seconds)
    assert warning and "expressions never seen (50% of the frames, first at 4.0 s)" in warning
    assert "turned" not in warning

    turn = Rotation.from_euler("Y", 0.8)
    turned = (rotations(motion) * turn).as_quat(scalar_first=True).astype(np.float32)
    support = space.prepare(replace(motion, quats_wxyz=turned)).support
    assert support.turn.mean() < LOW and support.expression.min() > LOW
    assert "turned further" in (support.warning(motion.timestamps_seconds) or "")
    support = space.prepare(replace(motion, translation=motion.translation + np.array([0, 0, 0.5], np.float32))).support
    assert support.place.max() < LOW and support.turn.min() > LOW


def test_more_of_an_unseen_expression_is_less_supported(space):
    def support(value: float) -> float:
        params = space.params_at_rest()
        params.expression[ARKIT_INDEX["mouthLeft"]] += value
        return float(space.prepare(still_motion(params)).support.lowest[0])

    values = [support(v) for v in (0.0, 0.3, 0.6, 1.0)]
    assert values[0] == pytest.approx(1, abs=0.2) and values == sorted(values, reverse=True) and values[-1] < LOW


def test_the_player_without_torch_says_the_same(tiny_avatar):
    driven = tiny_avatar._player.prepare(talking_motion(30, seed=4), foreign=True)
    prepared = tiny_avatar.prepare(talking_motion(30, seed=4), foreign=True)
    np.testing.assert_array_equal(driven.support.lowest, prepared.support.lowest)


def whole(avatar, prepared, index: int) -> None:
    """The face is in one piece, and each of its Gaussians near its place."""
    gaussians = avatar.gaussians(prepared, index)
    for part in (gaussians.means, gaussians.scales, gaussians.opacities):
        assert np.isfinite(part.numpy()).all()
    head = avatar.layers.head
    vertices = posed_vertices(avatar.head, avatar.neutral, prepared.frame(index).params)
    corners = vertices[avatar.head.faces.long()[head.triangles.long()]]
    place = (corners * head.barycentrics[..., None]).sum(1)
    skin = head.means.norm(dim=1) < FARTHEST_M / 2
    assert (gaussians.means[: len(place)] - place)[skin].norm(dim=1).max() < FARTHEST_M
    only_head = Gaussians(*(getattr(gaussians, f.name)[: len(place)] for f in fields(Gaussians)))
    alpha = render(only_head, avatar.camera.with_long_side(128)).alpha
    _, _, stats, _ = cv2.connectedComponentsWithStats((alpha.numpy() > 0.5).astype(np.uint8))
    areas = np.sort(stats[1:, cv2.CC_STAT_AREA])[::-1]
    assert areas[0] > 500 and areas[1:].sum() < 0.02 * areas[0]


def test_an_extreme_take_of_somebody_else_leaves_the_face_whole(tiny_avatar):
    _, last = tiny_avatar.info["split"]["train"]
    assert tiny_avatar.own.support.lowest[: last + 1].mean() > 0.95
    other = talking_motion(40, seed=9)
    wild = replace(other, expression=extreme_take())
    prepared = tiny_avatar.prepare(wild, foreign=True)
    assert prepared.support.summary()["expression"]["low_share"] > 0.9
    for index in range(0, 40, 5):
        whole(tiny_avatar, prepared, index)


def test_sliders_at_their_ends_leave_the_face_whole(tiny_avatar):
    rest = tiny_avatar.default_params()
    actions = [n for n in ARKIT_NAMES if not n.startswith("eyeLook")]
    faces = [Face({n: 1.0 for n in actions}), Face({"jawOpen": 1.0}, head=(30.0, 30.0, 30.0), gaze=(25.0, 25.0))]
    for face in faces:
        prepared = tiny_avatar.prepare(still_motion(face_to_params(face, rest)))
        assert prepared.support.lowest[0] < LOW
        whole(tiny_avatar, prepared, 0)


def test_the_viewer_says_what_was_never_seen():
    stage = Stage(PaperAvatar())  # type: ignore[arg-type]
    assert "supported by the training" in supported(stage.shot()) and "never" not in supported(stage.shot())
    stage.show_face(face_to_params(Face({"cheekPuff": 1.0}), stage.rest))
    assert "expressions never seen" in supported(stage.shot())


def test_render_tells_the_support_everywhere(tiny_avatar, tmp_path, capfd):
    clip, wild = tmp_path / "wild.mp4", replace(talking_motion(40, seed=9), expression=extreme_take())
    save_motion(tmp_path / "wild.npz", wild)
    command = ["render", str(tiny_avatar.path), "--motion", str(tmp_path / "wild.npz"), "-o", str(clip)]
    with pytest.raises(SystemExit) as ended:
        main([*command, "--size", "64", "--json"])
    assert ended.value.code == 0
    said = capfd.readouterr()
    assert "lie outside of what this avatar was fitted on: expressions never seen (" in said.err
    assert '"support": {"mean": 0' in said.out
    record = read_json(Path(f"{clip}.provenance.json"), "visavis.provenance/1", "a mark")
    assert record["support"]["low_share"] > 0.5 and set(record["support"]["pose"]) == {"mean", "low_share"}
