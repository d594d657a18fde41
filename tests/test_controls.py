"""Dials on any motion: they do what they say, and touch nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from motions import REST, SLOW_BLINK, blinks_in, chatter, still_motion

from avatar.errors import BadInput
from avatar.head.arkit import ARKIT_INDEX, ARKIT_NAMES
from avatar.motion.blinks import blink_track, find_blinks, paced_blinks
from avatar.motion.controls.closures import closed
from avatar.motion.controls.dials import Dials, apply_dials
from avatar.motion.controls.gaze import look_at
from avatar.motion.controls.lids import LIDS, with_blink_rate, without_blinks
from avatar.motion.controls.pose import angles, places, turns
from avatar.motion.controls.rest import Rest
from avatar.motion.eye_angles import eye_angles
from avatar.motion.groups import GROUPS
from avatar.types import MOTION_FIELDS


def same(one, other, group):
    if group == "head":
        return (one.quats_wxyz == other.quats_wxyz).all() and (one.translation == other.translation).all()
    return (one.expression[:, GROUPS[group]] == other.expression[:, GROUPS[group]]).all()


def test_the_template_of_rest_is_that_of_the_open_head():
    from avatar.head import load_head
    from avatar.motion.face_geometry import FaceGeometry

    head = load_head("anny")
    geometry = FaceGeometry.of(head)
    assert np.abs(Rest().aperture_basis - geometry.aperture_basis).max() < 3e-4
    assert abs(Rest().aperture_rest - geometry.aperture_rest) < 1e-4
    joints = head.joint_positions(head.template).numpy()
    assert np.abs(joints[2:] - Rest().eyes).max() < 1e-4 and np.abs(joints[0] - Rest().pivot).max() < 1e-4


def test_untouched_dials_change_no_bit():
    motion = chatter()
    out = apply_dials(motion, Dials())
    assert all((getattr(out, f) == getattr(motion, f)).all() for f in MOTION_FIELDS)


@pytest.mark.parametrize(
    "dials, touched",
    [
        (Dials(mouth_gain=1.4), {"lips"}),
        (Dials(brow_gain=0.3), {"upper"}),
        (Dials(blink_rate=12), {"lids"}),
        (Dials(gaze_amplitude=0.5), {"gaze"}),
        (Dials(pose_amplitude=0.5), {"head", "gaze"}),
        (Dials(look_at=(0.3, 0, 1)), {"head", "gaze"}),
        (Dials(composed=True), {"head", "gaze"}),
        (Dials(still=("upper", "lids")), {"upper", "lids"}),
    ],
)
def test_dials_touch_their_groups_alone(dials, touched):
    motion = chatter()
    out = apply_dials(motion, dials, rest=REST)
    assert {g for g in GROUPS if not same(out, motion, g)} == touched


@pytest.mark.parametrize("gain", [0.0, 0.3, 0.7, 1.5, 3.0])
def test_lips_move_as_the_gain_says_and_stay_closed(gain):
    for resting in (0.0, 0.12):  # lips that rest ajar, and a jaw that rests open
        motion = chatter()
        rest = replace(REST, expression=np.eye(52)[ARKIT_INDEX["jawOpen"]] * resting)
        out = apply_dials(motion, Dials(mouth_gain=gain), rest=rest)
        before, after = REST.aperture(motion.expression), REST.aperture(out.expression)
        sealed = closed(before, motion.fps) > 0.999
        assert sealed.sum() > 30 and (after - before)[sealed].max() < 5e-5
        assert (after - before)[sealed].min() > -1e-3
        jaw = ARKIT_INDEX["jawOpen"]
        widest = before > 0.012
        told = (resting + gain * (motion.expression[widest, jaw] - resting)).clip(0, 1)
        assert np.abs(out.expression[widest, jaw] - told).max() < 1e-5


@pytest.mark.parametrize("rate", [5, 10, 17, 25, 40])
def test_the_blink_rate_is_met_over_a_minute(rate, motion):
    sources = (chatter(60.0), chatter(60.0, fps=50.0, seed=3), still_motion(60.0))
    long = replace(motion, **{f: np.tile(getattr(motion, f), (8,) + (1,) * (getattr(motion, f).ndim - 1))[:1500]
                              for f in MOTION_FIELDS[1:]}, timestamps_seconds=np.arange(1500) / 25)  # fmt: skip
    for source in (*sources, long):
        out = with_blink_rate(source, rate, seed=1)
        for lid in LIDS:
            assert abs(blinks_in(out, lid) - rate) <= 0.1 * rate
        rest = [g for g in GROUPS if g != "lids"]
        assert all(same(out, source, g) for g in rest)


def test_no_blinks_at_rate_0_and_lids_as_before_between_them():
    motion = chatter(30.0)
    motion.expression[:, LIDS] = np.maximum(motion.expression[:, LIDS], 0.15)
    out = with_blink_rate(motion, 0, seed=0)
    assert np.abs(out.expression[:, LIDS] - 0.15).max() < 0.04


def test_winks_and_closed_eyes_are_no_blinks():
    lids = np.zeros((200, 2), np.float32)
    lids[20:30, 0] = 1
    lids[80:130] = 1
    assert find_blinks(lids, 25) == []
    lids[150:156] = 0.9
    (blink,) = find_blinks(lids, 25)
    assert (blink.start, blink.stop) == (150, 156) and without_blinks(lids, [blink])[140:].max() == 0


def test_blinks_follow_from_seed_and_time():
    times = np.arange(3000) / 100
    whole = paced_blinks(times, 4, 20)
    assert (paced_blinks(times[700:1500], 4, 20) == whole[700:1500]).all()
    assert (paced_blinks(times, 5, 20) != whole).any()
    gaps = np.diff(times[1:][(np.diff((whole > 0.5).astype(int)) > 0)])
    assert gaps.min() > 0.4 and gaps.std() > 0.2


def test_injected_blinks_have_the_persons_shape():
    def width(motion):
        lids = motion.expression[:, LIDS]
        return np.median([b.stop - b.start for b in find_blinks(lids, motion.fps)]) / motion.fps

    quick, slow = still_motion(60.0, fps=50), still_motion(60.0, fps=50)
    quick.expression[:, LIDS] = blink_track(quick.timestamps_seconds, 0)[:, None]
    slow.expression[:, LIDS] = 0.9 * paced_blinks(slow.timestamps_seconds, 0, 12, SLOW_BLINK)[:, None]
    for motion in (quick, slow):
        out = with_blink_rate(motion, 25, seed=2)
        assert abs(width(out) - width(motion)) < 0.05
    assert abs(with_blink_rate(slow, 25, 2).expression[:, LIDS].max() - 0.9) < 0.02


def test_the_head_moves_less_and_the_eyes_stay_on_their_goal():
    motion = chatter(10.0)
    motion.expression[:, GROUPS["gaze"]] = 0
    out = apply_dials(motion, Dials(pose_amplitude=0.4), rest=REST)
    before, after = turns(motion, REST).magnitude(), turns(out, REST).magnitude()
    assert np.allclose(after, 0.4 * before, atol=1e-5)
    assert np.allclose(places(out, REST), 0.4 * places(motion, REST), atol=1e-6)
    gaze = np.stack([angles(out, REST)[:, 0], -angles(out, REST)[:, 1]], -1) + eye_angles(out.expression).mean(1)
    goal = np.stack([angles(motion, REST)[:, 0], -angles(motion, REST)[:, 1]], -1)
    assert np.abs(gaze - goal).max() < 0.05


def test_gaze_amplitude_leaves_the_counter_rotation():
    motion = chatter(10.0)
    calm = apply_dials(motion, Dials(gaze_amplitude=0.0), rest=REST)
    look = np.stack([angles(calm, REST)[:, 0], -angles(calm, REST)[:, 1]], -1) + eye_angles(calm.expression).mean(1)
    assert np.abs(look).max() < 0.05


def test_any_rest_pose_will_do():
    """A motion before a camera, facing it: dials act about its own mean."""
    from scipy.spatial.transform import Rotation

    motion, about = chatter(10.0), Rotation.from_euler("xyz", (180, 20, 5), degrees=True)
    own = Rotation.from_quat(motion.quats_wxyz, scalar_first=True)
    moved = replace(motion, quats_wxyz=(about * own).as_quat(scalar_first=True).astype(np.float32),
                    translation=motion.translation + np.float32([0.1, 0, 0.6]))  # fmt: skip
    rest = Rest(rotation=about.as_matrix(), translation=np.array([0.1, 0, 0.6]))
    for dials in (Dials(pose_amplitude=0.3), Dials(composed=True), Dials(look_at=(0.2, 0.1, 0.7))):
        here, there = apply_dials(motion, dials, rest=REST), apply_dials(moved, dials, rest=rest)
        assert np.abs(angles(here, REST) - angles(there, rest)).max() < 1e-3
        assert np.abs(here.expression - there.expression).max() < 1e-4
    world = rest.rotation @ [0.2, 0.1, 0.7] + rest.translation
    assert np.allclose(rest.from_world(world), [0.2, 0.1, 0.7])
    estimated = Rest.of(moved)
    assert np.degrees((Rotation.from_matrix(estimated.rotation).inv() * about).magnitude()) < 1


def off_target(motion, rest, target):
    """Degrees by which each eye misses a point; the eye's axis turns as `GAZE_DEGREES` says."""
    eyes = np.radians(eye_angles(motion.expression))
    ahead = np.stack([np.sin(eyes[..., 0]) * np.cos(eyes[..., 1]), np.sin(eyes[..., 1]),
                      np.cos(eyes[..., 0]) * np.cos(eyes[..., 1])], -1)  # fmt: skip
    pose, place = turns(motion, rest), places(motion, rest)
    misses = []
    for eye in range(2):
        way = target - place - pose.apply(rest.eyes[eye])
        cosine = (pose.apply(ahead[:, eye]) * way).sum(1) / np.linalg.norm(way, axis=1)
        misses.append(np.degrees(np.arccos(cosine.clip(-1, 1))))
    return np.stack(misses)


@pytest.mark.parametrize(
    "target", [(0, 0.03, 10), (0.3, 0.1, 0.6), (-0.8, -0.3, 0.7), (0.02, 0, 0.25), (0.5, 0.4, 0.5), (-2.0, 0, 1.0)]
)
def test_eyes_and_head_point_at_the_target(target):
    motion = chatter(8.0)
    out = look_at(motion, REST, np.array(target))
    assert off_target(out, REST, np.array(target)).max() < 1
    yaw = angles(out, REST)[:, 0].mean() - angles(motion, REST)[:, 0].mean()
    assert 0.2 < (yaw / np.degrees(np.arctan2(target[0], target[2])) if target[0] else 0.4) < 0.95


def test_near_targets_make_the_eyes_converge_and_far_ones_do_not():
    for distance, least, most in ((0.25, 12, 18), (10.0, 0, 0.5)):
        eyes = eye_angles(look_at(still_motion(), REST, np.array([0, 0.03, distance])).expression)
        assert least <= eyes[0, 1, 0] - eyes[0, 0, 0] <= most


def test_what_lies_behind_is_looked_at_as_nearly_as_can_be():
    out = look_at(still_motion(), REST, np.array([0.5, 0, -1.0]))
    assert abs(angles(out, REST)[0, 0] - 55) < 0.1 and abs(eye_angles(out.expression)[0, :, 0].mean() - 25) < 0.1
    with pytest.raises(BadInput, match="can't look there"):
        look_at(still_motion(), REST, np.array([0, 0.03, 0.03]))


def test_the_mesh_of_the_eyes_looks_at_the_target():
    """On the open head's own vertices: the eyeball turns with the actions."""
    import torch

    from avatar.head import load_head
    from avatar.head.model import REGIONS

    head, target = load_head("anny"), np.array([0.25, 0.1, 0.8])
    out = look_at(still_motion(1.0), REST, target)
    vertices = [
        head.vertices(head.template, torch.from_numpy(e)).numpy() for e in (0 * out.expression[0], out.expression[0])
    ]
    eyes = head.regions.numpy() == REGIONS.index("eyes")
    for eye, side in enumerate((1, -1)):
        ball = eyes & (side * head.template.numpy()[:, 0] > 0)
        before, after = (v[ball].astype(np.float64) - v[ball].mean(0) for v in vertices)
        u, _, vt = np.linalg.svd(after.T @ before)
        axis = (u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt) @ [0, 0, 1]
        pose, place = turns(out, REST)[0], places(out, REST)[0]
        way = target - place - pose.apply(REST.eyes[eye])
        assert np.degrees(np.arccos(pose.apply(axis) @ way / np.linalg.norm(way))) < 1.5


def test_a_composed_host_keeps_still_and_looks_at_you():
    motion = chatter(10.0)
    out = apply_dials(motion, Dials(composed=True), rest=REST)
    assert np.ptp(angles(out, REST), axis=0).max() < 0.4 * np.ptp(angles(motion, REST), axis=0).max()
    assert off_target(out, REST, np.array([0, 0.03, 10.0])).max() < 1
    assert same(out, motion, "lips") and same(out, motion, "lids")


def test_a_frozen_head_keeps_living_eyes_and_blinks():
    motion = chatter(10.0)
    out = apply_dials(motion, Dials(still=("head",), blink_rate=20), rest=REST)
    assert turns(out, REST).magnitude().max() < 1e-6
    assert np.ptp(eye_angles(out.expression), axis=0).max() > 1 and out.expression[:, LIDS].max() > 0.9
    still = apply_dials(motion, Dials(still=("lips", "gaze", "lids")), rest=REST)
    columns = [*GROUPS["lips"], *GROUPS["gaze"], *GROUPS["lids"]]
    assert (still.expression[:, columns] == 0).all()


@pytest.mark.parametrize(
    "dials", [Dials(mouth_gain=4), Dials(blink_rate=-1), Dials(blink_rate=90), Dials(pose_amplitude=float("nan"))]
)
def test_impossible_dials_are_refused(dials):
    with pytest.raises(BadInput, match="is out of range"):
        apply_dials(chatter(1.0), dials)


def test_all_actions_have_a_group():
    assert sorted(i for group in GROUPS.values() for i in group) == list(range(len(ARKIT_NAMES)))


def test_controls_need_no_torch():
    import subprocess
    import sys

    code = "import sys, pkgutil, importlib, avatar.motion.controls as c\n"
    code += "[importlib.import_module(f'{c.__name__}.{m.name}') for m in pkgutil.iter_modules(c.__path__)]\n"
    code += "assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
