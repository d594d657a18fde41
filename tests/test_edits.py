"""Several drivers at once, and edits that survive a motion's being made anew."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from motions import REST, chatter, still_motion

from avatar.errors import BadInput, FormatMismatch
from avatar.head.arkit import ARKIT_INDEX
from avatar.motion.controls.channels import CHANNELS, LOOKS, PLACES, TURNS, group_of, read_channel
from avatar.motion.controls.closures import closed
from avatar.motion.controls.drivers import combine, fitted, parse_sources
from avatar.motion.controls.edits import Edits, Key, Lock, Offset, apply_edits, bend
from avatar.motion.controls.edits_file import read_edits, write_edits
from avatar.motion.controls.pose import angles, turns
from avatar.motion.groups import GROUP_NAMES, GROUPS
from avatar.motion.motion_io import save_motion
from avatar.types import MOTION_FIELDS


def differing(one, other):
    """Groups in which two motions are not the same to the bit."""
    found = {g for g in GROUPS if (one.expression[:, GROUPS[g]] != other.expression[:, GROUPS[g]]).any()}
    heads = ((getattr(one, f) != getattr(other, f)).any() for f in ("quats_wxyz", "translation"))
    return found | ({"head"} if any(heads) else set())


@pytest.mark.parametrize("group", GROUP_NAMES)
def test_each_group_can_come_from_another_motion(group):
    one, other = chatter(), chatter(seed=5)
    other.translation[:] = np.sin(np.arange(len(other)))[:, None] / 100
    other.quats_wxyz[:] = np.roll(other.quats_wxyz, 7, axis=0)
    other.expression[:, GROUPS["lips"]] = np.roll(other.expression[:, GROUPS["lips"]], 3, axis=0)
    other.joints[:] = 0.1
    out = combine(one, {group: other})
    assert differing(out, one) == {group} and group not in differing(out, other)
    joints = {"head": [0], "lips": [1], "gaze": [2, 3]}.get(group, [])
    assert (out.joints[:, joints] == np.float32(0.1)).all() and not np.delete(out.joints, joints, axis=1).any()


def test_other_rates_and_lengths_are_fitted():
    base, other = chatter(6.0), chatter(6.0, fps=60.0, seed=5)
    other = replace(other, timestamps_seconds=other.timestamps_seconds + 3)  # its clock does not matter
    out = combine(base, {"head": other})
    exact = chatter(6.0, seed=5)  # the same course, sampled at the base's moments
    assert np.degrees((turns(out, REST).inv() * turns(exact, REST)).magnitude()).max() < 0.05
    short = fitted(other[:120], base)
    assert len(short) == len(base) and (short.timestamps_seconds == base.timestamps_seconds).all()
    length = 119 / 60
    there, back = (int(round(t * 25)) for t in (0.4, 2 * length - 0.4))
    assert np.abs(short.expression[there] - short.expression[back]).max() < 0.1
    one = fitted(other[:1], base)
    assert (one.expression == other.expression[0]).all()


def test_sources_are_read_and_told():
    assert parse_sources(["lips=audio", "eyes=a b.capture"]) == {
        "lips": "audio", "lids": "a b.capture", "gaze": "a b.capture"
    }  # fmt: skip
    for text in ("nose=audio", "lips=", "lips"):
        with pytest.raises(BadInput, match="GROUP=MOTION"):
            parse_sources([text])
    with pytest.raises(BadInput, match="two motions for gaze"):
        parse_sources(["eyes=a", "gaze=b"])
    with pytest.raises(BadInput, match="no group 'ears'"):
        combine(chatter(1.0), {"ears": chatter(1.0)})


def test_a_yaw_curve_of_keyframes_is_reproduced():
    motion = chatter(8.0)
    seconds = motion.timestamps_seconds
    wanted = 18 * np.sin(2 * np.pi * 0.4 * seconds) + 5
    keys = [Key(float(seconds[i]), {"head.yaw": float(wanted[i])}) for i in range(0, len(motion), 8)]
    yaw = angles(apply_edits(motion, Edits(keys=tuple(keys)), REST), REST)[:, 0]
    last = (len(motion) - 1) // 8 * 8 + 1
    assert np.sqrt(np.mean((yaw - wanted)[:last] ** 2)) < 0.5
    assert np.abs(yaw - wanted)[::8].max() < 1e-3


@pytest.mark.parametrize(
    "values",
    [{"head.yaw": 12.0, "head.pitch": -5.0, "head.roll": 4.0},
     {"head.left": 0.02, "head.up": -0.01, "head.forward": 0.1}, {"gaze.left": -14.0, "gaze.up": 6.0},
     {"jawOpen": 0.55, "browInnerUp": 0.9, "eyeBlinkLeft": 1.0}],
)  # fmt: skip
def test_keyframes_are_met_and_touch_their_neighbourhood_alone(values):
    motion = chatter(6.0)
    out = apply_edits(motion, Edits(keys=(Key(3.0, values, reach_seconds=0.4),)), REST)
    for channel, value in values.items():
        error = abs(read_channel(out, REST, channel)[75] - value)
        assert error < (1e-6 if channel in ARKIT_INDEX else 1e-3)
        track = read_channel(out, REST, channel) - read_channel(motion, REST, channel)
        assert np.abs(np.diff(track)).max() < 0.3 * np.abs(track).max() + 1e-6
    far = np.abs(motion.timestamps_seconds - 3) > 0.41
    for name in MOTION_FIELDS:
        assert (getattr(out, name)[far] == getattr(motion, name)[far]).all()
    assert differing(out, motion) == {group_of(channel) for channel in values}


def test_keys_survive_a_motion_made_anew():
    edits = Edits(keys=(Key(2.0, {"head.yaw": 15.0}), Key(2.6, {"head.yaw": -15.0, "jawOpen": 0.4})))
    for seed in (0, 7):
        out = apply_edits(chatter(seed=seed), edits, REST)
        assert abs(angles(out, REST)[50, 0] - 15) < 1e-3 and abs(angles(out, REST)[65, 0] + 15) < 1e-3
        again = apply_edits(out, edits, REST)
        assert np.abs(again.quats_wxyz - out.quats_wxyz).max() < 1e-5


def test_bends_are_smooth_and_end():
    seconds = np.arange(0, 10, 0.01)
    track = bend(seconds, np.array([2.0, 2.5, 7.0]), np.array([1.0, -1.0, 2.0]), np.array([0.5, 0.5, 0.3]))
    assert np.allclose(track[[200, 250, 700]], [1, -1, 2])
    quiet = (seconds < 1.5) | ((seconds > 3.0) & (seconds < 6.7)) | (seconds > 7.3)
    assert not track[quiet].any()
    assert np.abs(np.diff(track)).max() < 0.15 and np.abs(track).max() <= 2


def test_keys_in_conflict_are_refused():
    with pytest.raises(BadInput, match="two keys want different things of head.yaw at 2 s"):
        apply_edits(chatter(), Edits(keys=(Key(2.0, {"head.yaw": 5}), Key(2.001, {"head.yaw": 6}))), REST)
    apply_edits(chatter(), Edits(keys=(Key(2.0, {"head.yaw": 5}), Key(2.001, {"head.yaw": 5}))), REST)
    lock = Lock(1, 3, ("head",))
    with pytest.raises(BadInput, match="where head is locked"):
        apply_edits(chatter(), Edits(locks=(lock,), keys=(Key(2.0, {"head.yaw": 5}),)), REST)
    with pytest.raises(BadInput, match="two locks hold head at once"):
        apply_edits(chatter(), Edits(locks=(lock, Lock(2, 4, ("gaze", "head")))), REST)
    with pytest.raises(BadInput, match="outside of the motion"):
        apply_edits(chatter(), Edits(keys=(Key(60.0, {"head.yaw": 5}),)), REST)


def test_offsets_come_and_go():
    motion = chatter(6.0)
    out = apply_edits(motion, Edits(offsets=(Offset(1, 3, {"head.pitch": -6, "browInnerUp": 0.3}),)), REST)
    added = angles(out, REST)[:, 1] - angles(motion, REST)[:, 1]
    assert np.allclose(added[35:65], -6, atol=1e-3) and not added[:25].any() and not added[76:].any()
    assert differing(out, motion) == {"head", "upper"}


def test_offsets_of_the_mouth_keep_closures():
    motion = chatter(6.0)
    out = apply_edits(motion, Edits(offsets=(Offset(1, 5, {"jawOpen": 0.3}),)), REST)
    before = REST.aperture(motion.expression)
    sealed = closed(before, motion.fps) > 0.999
    assert (REST.aperture(out.expression) - before)[sealed].max() < 5e-5
    jaw = ARKIT_INDEX["jawOpen"]
    assert (out.expression - motion.expression)[30:120, jaw].max() > 0.29


def test_locks_hold_groups():
    motion, kept = chatter(6.0), chatter(6.0, seed=9)
    out = apply_edits(motion, Edits(locks=(Lock(2, 4, ("gaze", "upper"), kept),)), REST)
    columns = [*GROUPS["gaze"], *GROUPS["upper"]]
    assert (out.expression[50:101, columns] == kept.expression[50:101, columns]).all()
    outside = np.r_[0:45, 106:150]
    assert (out.expression[outside] == motion.expression[outside]).all()
    assert differing(out, motion) == {"gaze", "upper"}
    still = apply_edits(motion, Edits(locks=(Lock(2, 4, ("head", "lips")),)), REST)
    assert (still.quats_wxyz[50:101] == motion.quats_wxyz[50]).all()
    assert (still.expression[50:101, GROUPS["lips"]] == motion.expression[50, GROUPS["lips"]]).all()


def test_edits_live_in_a_file(tmp_path):
    save_motion(tmp_path / "kept.npz", chatter(6.0, seed=9))
    edits = Edits(
        offsets=(Offset(1, 3, {"head.pitch": -6.0}),),
        locks=(Lock(4, 5, ("gaze",), chatter(6.0, seed=9), "kept.npz"), Lock(2, 3, ("lids",))),
        keys=(Key(0.5, {"jawOpen": 0.2}, 0.3),),
    )
    write_edits(tmp_path / "motion.edits.json", edits)
    again = read_edits(tmp_path / "motion.edits.json")
    assert again.offsets == edits.offsets and again.keys == edits.keys and again.locks[1] == edits.locks[1]
    one, two = (apply_edits(chatter(6.0), e, REST) for e in (edits, again))
    assert differing(one, two) == set() and differing(one, chatter(6.0)) == {"head", "gaze", "lids", "lips"}
    with pytest.raises(BadInput, match="is in no file"):
        write_edits(tmp_path / "x.json", Edits(locks=(Lock(1, 2, ("gaze",), chatter(1.0)),)))


@pytest.mark.parametrize(
    "content, error, told",
    [({"keys": [{"at": 1, "set": {"head.yow": 3}}]}, BadInput, "did you mean head.yaw"),
     ({"keys": [{"at": 1, "set": {"eyeLookUpLeft": 0.3}}]}, BadInput, "did you mean gaze.left or gaze.up"),
     ({"keys": [{"at": 1, "set": {"jawOpen": 3}}]}, BadInput, "jawOpen can't be 3"),
     ({"keys": [{"set": {"jawOpen": 0.3}}]}, FormatMismatch, "one of the keys can't be read"),
     ({"offsets": [{"start": 2, "end": 1, "add": {}}]}, BadInput, "impossible times"),
     ({"offsets": [{"start": 1, "end": 2, "ramp": -1, "add": {}}]}, BadInput, "can't be negative"),
     ({"locks": [{"start": 1, "end": 2, "groups": ["ears"]}]}, BadInput, "no group 'ears'"),
     ({"locks": [{"start": 1, "end": 2, "groups": ["head"], "motion": "gone.npz"}]}, BadInput, "gone.npz"),
     ({"hides": []}, FormatMismatch, "unknown edits"), ({"schema": "visavis.edits/9"}, FormatMismatch, "schema")],
)  # fmt: skip
def test_edits_that_can_not_be_meant_are_told(tmp_path, content, error, told):
    path = tmp_path / "motion.edits.json"
    path.write_text(json.dumps({"schema": "visavis.edits/1"} | content), encoding="utf-8")
    with pytest.raises(error, match=told):
        read_edits(path)


def test_every_channel_can_be_keyed():
    for channel in CHANNELS:
        value = 0.02 if channel in PLACES else 3.0 if channel in (*TURNS, *LOOKS) else 0.5
        out = apply_edits(still_motion(), Edits(keys=(Key(2.0, {channel: value}),)), REST)
        assert abs(read_channel(out, REST, channel)[50] - value) < 1e-3
        assert not np.delete(out.expression, [ARKIT_INDEX.get(channel, 0), *GROUPS["gaze"]], axis=1).any()
