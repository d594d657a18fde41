"""Directions do what they say, in measured angles and actions, and leave everything else alone."""

from __future__ import annotations

import json

import numpy as np
import pytest
from motions import REST, chatter, still_motion

from avatar.errors import BadInput, FormatMismatch
from avatar.head.arkit import ARKIT_INDEX
from avatar.motion.controls.closures import closed
from avatar.motion.controls.direction_text import parse_directions, read_directions, save_directions
from avatar.motion.controls.direction_words import NAMES, canonical
from avatar.motion.controls.directions import Direction, apply_directions, gesture_of
from avatar.motion.controls.emotion import Emotion, apply_emotion
from avatar.motion.controls.gestures import GESTURES
from avatar.motion.controls.pose import angles, places
from avatar.motion.eye_angles import eye_angles
from avatar.motion.groups import GROUPS
from avatar.types import MOTION_FIELDS

YAW, PITCH, ROLL = range(3)


def acted(text: str, motion=None):
    return apply_directions(motion or still_motion(), parse_directions(text), REST)


def extremes(track):
    return track.min(), track.max()


def test_every_direction_begins_and_ends_at_nothing():
    motion = chatter(8.0)
    before = motion.timestamps_seconds < 1
    for name in NAMES:
        gesture = gesture_of(name)
        out = apply_directions(motion, [Direction(name, 1.0, 1.0 + gesture.seconds)], REST)
        outside = before | (motion.timestamps_seconds > 1 + gesture.seconds)
        for field in MOTION_FIELDS:
            assert (getattr(out, field)[outside] == getattr(motion, field)[outside]).all(), (name, field)
        changed = [f for f in MOTION_FIELDS if (getattr(out, f) != getattr(motion, f)).any()]
        assert changed, name
        assert np.isfinite(out.expression).all() and out.expression.min() >= 0 and out.expression.max() <= 1, name


def test_directions_are_smooth():
    """Nothing but eyes and lids moves further in a frame of 1/100 s than a tenth of its way."""
    motion, fast = still_motion(4.0, fps=100.0), (*GROUPS["gaze"], *GROUPS["lids"])
    slow = np.setdiff1d(np.arange(52), fast)
    for name in NAMES:
        out = apply_directions(motion, [Direction(name, 1.0, 1.0 + gesture_of(name).seconds)], REST)
        for track in (out.expression[:, slow], angles(out, REST), 100 * places(out, REST)):
            assert np.abs(np.diff(track, axis=0)).max() <= 0.13 * np.ptp(track, axis=0).max() + 1e-6, name


@pytest.mark.parametrize(
    "text, axis, low, high",
    [
        ("1-2.5 nod", PITCH, 0, 10),
        ("1-2.5 shake head", YAW, -11, 11),
        ("1-3 tilt left", ROLL, -10, 0),
        ("1-3 tilt right", ROLL, 0, 10),
        ("1-3 turn left", YAW, 0, 20),
        ("1-3 turn right 0.5", YAW, -10, 0),
        ("1-3 chin up", PITCH, -9, 0),
        ("1-3 chin down", PITCH, 0, 9),
    ],
)
def test_heads_turn_as_far_as_they_are_told(text, axis, low, high):
    out = acted(text)
    track = angles(out, REST)[:, axis]
    least, most = extremes(track)
    # A swing's ends come one after the other, each weaker; the first is full.
    assert abs(least - low) < 0.15 * max(abs(low), abs(high)) + 0.1
    assert abs(most - high) < 0.15 * max(abs(low), abs(high)) + 0.1
    assert track[0] == track[-1] == 0
    other = np.delete(angles(out, REST), axis, axis=1)
    assert np.abs(other).max() < 1e-3


def test_left_is_the_subjects_left_on_the_mesh():
    """Measured on the head itself: X to the subject's left, Y up, Z ahead."""
    from scipy.spatial.transform import Rotation

    crown, nose = np.array([0, 0.12, 0.0]), np.array([0, 0, 0.1])

    def at(text, point):
        out = acted(text)
        return Rotation.from_quat(out.quats_wxyz[50], scalar_first=True).apply(point) - point

    assert at("1-3 tilt left", crown)[0] > 0.015 > -0.015 > at("1-3 tilt right", crown)[0]
    assert at("1-3 turn left", nose)[0] > 0.03 and at("1-3 look right", nose)[0] < -0.01
    assert at("1-3 chin up", nose)[1] > 0.01 and at("1-3 look down", nose)[1] < -0.01


def test_the_skull_stays_on_the_neck():
    out = acted("1-3 turn left; 1-3 chin down")
    from scipy.spatial.transform import Rotation

    joint = Rotation.from_quat(out.quats_wxyz, scalar_first=True).apply(REST.pivot) + out.translation
    assert np.abs(joint - REST.pivot).max() < 1e-6


def test_nods_and_shakes_count_and_keep_the_eyes_on_the_listener():
    for text, axis, sign in (("1 nod", PITCH, 1), ("1 shake head", YAW, -1)):
        out = acted(text)
        turn, eyes = angles(out, REST), eye_angles(out.expression)
        track = turn[:, axis]
        peaks = (track[1:-1] > track[:-2]) & (track[1:-1] >= track[2:]) & (track[1:-1] > 2)
        assert peaks.sum() == 2
        look = eyes[:, :, 0 if axis == YAW else 1] + sign * -track[:, None]
        assert np.abs(look).max() < 0.01
    longer = angles(acted("1-3.2 nod"), REST)[:, PITCH]
    assert ((longer[1:-1] > longer[:-2]) & (longer[1:-1] >= longer[2:]) & (longer[1:-1] > 2)).sum() == 4


@pytest.mark.parametrize(
    "text, axis, goal",
    [("1-3 look left", 0, 24), ("1-3 look right", 0, -24), ("1-3 look up", 1, 20), ("1-3 look down", 1, -22),
     ("1-3 look left 0.5", 0, 12), ("1-3 look away", 0, 22)],
)  # fmt: skip
def test_looking_goes_where_it_is_told_eyes_first(text, axis, goal):
    out = acted(text)
    turn, eyes = angles(out, REST), eye_angles(out.expression).mean(1)
    head = np.stack([turn[:, YAW], -turn[:, PITCH]], -1)[:, axis]
    look = head + eyes[:, axis]
    assert abs(look[50] - goal) < 0.1 and 0.2 * abs(goal) < abs(head[50]) < 0.6 * abs(goal)
    early = 25 + 3  # frames after 0.12 s: the eyes are there, the head is not
    assert abs(look[early]) > 0.7 * abs(goal) and abs(head[early]) < 0.3 * abs(head[50])
    assert np.abs(out.expression[[0, -1]]).max() == 0


def test_look_at_me_brings_eyes_back_to_the_listener():
    motion = chatter(6.0)
    aimed = apply_directions(motion, parse_directions("2-5 look at me"), REST, listener=(0.1, 0.05, 0.6))
    from avatar.motion.controls.gaze import look_at

    whole = look_at(motion, REST, np.array([0.1, 0.05, 0.6]))
    assert np.abs(eye_angles(aimed.expression) - eye_angles(whole.expression))[75:110].max() < 0.01
    assert (aimed.expression[:50] == motion.expression[:50]).all()


@pytest.mark.parametrize("name", [n for n, g in GESTURES.items() if any(v > 0 for v in g.actions.values())])
def test_faces_show_the_actions_of_the_direction(name):
    gesture = GESTURES[name]
    out = acted(f"1-{1 + max(gesture.seconds, 0.8)} {name} 1").expression
    told = {a for a, v in gesture.actions.items() if v > 0}
    for i, action in enumerate(ARKIT_INDEX):
        plain = action.removesuffix("Left").removesuffix("Right")
        value = gesture.actions.get(action, gesture.actions.get(plain, 0.0))
        assert abs(out[:, i].max() - max(value, 0)) < 0.03, action
        assert value <= 0 or action in told or plain in told


def test_leaning_comes_nearer():
    assert abs(places(acted("1-3 lean in"), REST)[50, 2] - 0.05) < 0.005
    assert abs(places(acted("1-3 leans back"), REST)[50, 2] + 0.05) < 0.005


def test_winks_close_one_eye():
    out = acted("1 wink left").expression
    left, right = (out[:, ARKIT_INDEX[f"eyeBlink{s}"]] for s in ("Left", "Right"))
    assert left.max() > 0.95 and right.max() == 0
    assert acted("1 wink").expression[:, ARKIT_INDEX["eyeBlinkLeft"]].max() > 0.95


def test_a_pause_stills_all_but_lips_and_lids():
    motion = chatter(6.0)
    out = acted("2-5 hold still", motion)
    held = slice(62, 115)
    assert np.abs(np.diff(angles(out, REST)[held], axis=0)).max() < 1e-3
    quiet = [*GROUPS["gaze"], *GROUPS["upper"]]
    assert np.ptp(out.expression[held][:, quiet], axis=0).max() < 1e-6
    spoken = [*GROUPS["lips"], *GROUPS["lids"]]
    assert (out.expression[:, spoken] == motion.expression[:, spoken]).all()


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("pause",)])
def test_lips_that_close_in_speech_stay_closed(name):
    motion = chatter(8.0)
    before = REST.aperture(motion.expression)
    out = apply_directions(motion, [Direction(name, 1.0, 7.0, 1.0)], REST)
    sealed = closed(before, motion.fps) > 0.999
    assert sealed.sum() > 40
    assert (REST.aperture(out.expression) - before)[sealed].max() < 5e-5


def test_a_silent_mouth_may_open():
    assert REST.aperture(acted("1-3 open mouth").expression)[50] > REST.aperture_rest + 0.01


def test_directions_touch_no_other_group():
    motion = chatter(6.0)
    out = acted("1-3 smile; 3.5-5 raise brows", motion)
    for group in ("lids", "gaze"):
        assert (out.expression[:, GROUPS[group]] == motion.expression[:, GROUPS[group]]).all()
    assert (out.quats_wxyz == motion.quats_wxyz).all() and (out.translation == motion.translation).all()
    nodded = acted("1 nod", motion)
    for group in ("lids", "lips", "upper"):
        assert (nodded.expression[:, GROUPS[group]] == motion.expression[:, GROUPS[group]]).all()


def test_directions_add_up_and_the_same_twice_does_not():
    one, two = acted("1-3 smile 0.6").expression, acted("1-3 smile 0.6; 1-3 smile 0.3; 1-3 raise brows").expression
    assert (one[:, GROUPS["lips"]] == two[:, GROUPS["lips"]]).all()
    assert two[50, ARKIT_INDEX["browInnerUp"]] > 0.6


@pytest.mark.parametrize(
    "said, name",
    [("nodding", "nod"), ("Smiles", "smile"), ("looks left", "look left"), ("looking to the left", "look left"),
     ("raises his eyebrows", "raise brows"), ("eyebrows up", "raise brows"), ("eyes closed", "close eyes"),
     ("shaking her head", "shake head"), ("winks with the right eye", "wink right"), ("leans back", "lean out"),
     ("head tilted to the left", "tilt left"), ("hold still", "pause"), ("look at the camera", "look at me"),
     ("squinting", "squint"), ("sadly", "sad")],
)  # fmt: skip
def test_words_are_understood(said, name):
    assert canonical(said) == name


def test_every_name_is_its_own():
    assert all(canonical(name) == name for name in NAMES)


def test_timelines_are_read():
    found = parse_directions(
        "0.5 nod; 2-4 smile 0.6; 1:03 to 1:05.5: looks left 50% # and so on\n\n# nothing\n6s blink"
    )
    assert found == (
        Direction("nod", 0.5, 1.6), Direction("smile", 2, 4, 0.6), Direction("blink", 6, 6.3),
        Direction("look left", 63, 65.5, 0.5),
    )  # fmt: skip


def test_an_end_that_nobody_said_gives_way():
    first, second = parse_directions("3 look left; 4 look right")
    assert (first.end_seconds, second.end_seconds) == (4, 6)
    with pytest.raises(BadInput, match="'look left' and 'look right' contradict each other"):
        parse_directions("3-5 look left; 4 look right")
    with pytest.raises(BadInput, match="contradict"):
        parse_directions("1-3 happy; 2-4 sad")


@pytest.mark.parametrize(
    "text, told",
    [("1 smlie", "did you mean smile"), ("1 juggle", "look left, look right"), ("nod", "is no direction"),
     ("3-2 nod", "impossible times"), ("1 nod 7", "impossible strength"), ("  ;", "there are no directions")],
)  # fmt: skip
def test_what_is_not_understood_is_told(text, told):
    with pytest.raises(BadInput, match=told):
        parse_directions(text)


def test_directions_beyond_the_end_are_refused():
    with pytest.raises(BadInput, match="begins after the end"):
        acted("9 nod")


def test_directions_live_in_files(tmp_path):
    directions = parse_directions("0.5 nod; 2-4 smile 0.6")
    save_directions(tmp_path / "scene.json", directions)
    assert read_directions(str(tmp_path / "scene.json")) == directions
    (tmp_path / "scene.txt").write_text("0.5 nod\n2-4 smile 0.6\n", encoding="utf-8")
    assert read_directions(str(tmp_path / "scene.txt")) == directions
    content = json.loads((tmp_path / "scene.json").read_text(encoding="utf-8"))
    content["directions"][0] = {"do": "nod"}
    (tmp_path / "scene.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(FormatMismatch, match="something that is no direction"):
        read_directions(str(tmp_path / "scene.json"))
    with pytest.raises(BadInput, match="cannot read the directions"):
        read_directions(str(tmp_path / "none.txt"))


def test_moods_leave_the_mouth_to_the_words():
    motion = chatter(6.0)
    smile = ARKIT_INDEX["mouthSmileLeft"]
    speaking = apply_emotion(motion, Emotion("happy", 0.9), REST).expression[30:120, smile].max()
    silent = apply_emotion(still_motion(), Emotion("happy", 0.9), REST).expression[50, smile]
    assert abs(silent - 0.54) < 0.01 and 0.25 * silent < speaking < 0.4 * silent
    sneer = ARKIT_INDEX["browInnerUp"]
    assert apply_emotion(motion, Emotion("sad", 1.0), REST).expression[:, sneer].min() > 0.7


def test_moods_keep_closures_and_are_checked():
    motion = chatter(6.0)
    before = REST.aperture(motion.expression)
    sealed = closed(before, motion.fps) > 0.999
    out = apply_emotion(motion, Emotion("surprised", 1.0), REST)
    assert (REST.aperture(out.expression) - before)[sealed].max() < 5e-5
    with pytest.raises(BadInput, match="did you mean happy"):
        apply_emotion(motion, Emotion("hapy"), REST)
    with pytest.raises(BadInput, match="0 to 1"):
        apply_emotion(motion, Emotion("happy", 2.0), REST)


def test_a_persons_own_take_overrides():
    vector = np.zeros(52)
    vector[ARKIT_INDEX["jawLeft"]] = 0.4
    out = apply_emotion(still_motion(), Emotion("happy", 0.5), REST, takes={"happy": vector})
    assert abs(out.expression[50, ARKIT_INDEX["jawLeft"]] - 0.2) < 1e-6
    assert out.expression[:, ARKIT_INDEX["mouthSmileLeft"]].max() == 0
