"""Directions, dials, other drivers and edits on the command line, on a fitted avatar."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tyro
from motions import chatter
from scipy.io import wavfile

from avatar.cli import main
from avatar.cli.acting import Acting
from avatar.cli.talk import Drive
from avatar.errors import BadInput
from avatar.head.arkit import ARKIT_INDEX
from avatar.motion.controls.edits import Edits, Key
from avatar.motion.controls.edits_file import write_edits
from avatar.motion.controls.options import Dials
from avatar.motion.controls.pose import angles
from avatar.motion.controls.rest import Rest
from avatar.motion.eye_angles import eye_angles
from avatar.motion.groups import GROUPS
from avatar.motion.motion_io import save_motion
from avatar.types import MOTION_FIELDS


@pytest.fixture(scope="module")
def spoken(tiny_avatar):
    """Chatter in the avatar's terms, before its camera."""
    return tiny_avatar.driving.retarget(chatter(4.0), expression_is_relative=False)


def test_nothing_asked_nothing_changed(tiny_avatar, spoken):
    out = Acting().act(tiny_avatar, spoken, 0)
    assert all((getattr(out, f) == getattr(spoken, f)).all() for f in MOTION_FIELDS)


def test_options_act_on_the_avatars_own_terms(tiny_avatar, spoken, tmp_path):
    rest = Rest.of_avatar(tiny_avatar)
    out = Acting(direct="1-3 tilt left", emotion="sad", intensity=1.0).act(tiny_avatar, spoken, 0)
    added = angles(out, rest) - angles(spoken, rest)
    assert np.allclose(added[50], [0, 0, -10], atol=1e-2)
    assert out.expression[:, ARKIT_INDEX["browInnerUp"]].min() > 0.7
    write_edits(tmp_path / "a.edits.json", Edits(keys=(Key(2.0, {"head.yaw": 14.0}),)))
    out = Acting(edits=tmp_path / "a.edits.json").act(tiny_avatar, spoken, 0)
    assert abs(angles(out, rest)[50, 0] - 14) < 1e-2


def test_a_composed_host_looks_into_the_camera(tiny_avatar, spoken):
    rest = Rest.of_avatar(tiny_avatar)
    camera = np.array(rest.camera_at(tiny_avatar.camera.T_camera_world))
    assert camera[2] > 0.3
    out = Acting(dials=Dials(composed=True)).act(tiny_avatar, spoken, 0)
    from scipy.spatial.transform import Rotation

    pose = Rotation.from_quat(out.quats_wxyz, scalar_first=True)
    eyes = np.radians(eye_angles(out.expression))
    for eye in range(2):
        side, up = eyes[:, eye].T
        ahead = np.stack([np.sin(side) * np.cos(up), np.sin(up), np.cos(side) * np.cos(up)], -1)
        way = -(pose.apply(rest.eyes[eye]) + out.translation)  # the camera is where the world begins
        cosine = (pose.apply(ahead) * way).sum(1) / np.linalg.norm(way, axis=1)
        assert np.degrees(np.arccos(cosine.clip(-1, 1))).max() < 1


def test_groups_come_from_other_motions(tiny_avatar, spoken, tmp_path):
    save_motion(tmp_path / "eyes.npz", chatter(9.0, seed=4))
    out = Acting(sources=("lips=audio", f"eyes={tmp_path / 'eyes.npz'}")).act(tiny_avatar, spoken, 0)
    changed = {g for g in GROUPS if (out.expression[:, GROUPS[g]] != spoken.expression[:, GROUPS[g]]).any()}
    assert changed == {"lids", "gaze"} and (out.quats_wxyz == spoken.quats_wxyz).all()
    with pytest.raises(BadInput, match="no motion 'nowhere'"):
        Acting(sources=("head=nowhere",)).act(tiny_avatar, spoken, 0)


def test_the_command_line_reads_them_all():
    line = ["me.avatar", "--audio", "a.wav", "-o", "x.mp4", "--direct", "1 nod", "--from", "lips=audio",
            "--from", "eyes=other.capture", "--blink-rate", "12", "--composed", "--look-at", "0", "0.1", "0.6",
            "--still", "head"]  # fmt: skip
    drive = tyro.cli(Drive, args=line)
    assert drive.sources == ("lips=audio", "eyes=other.capture") and drive.direct == "1 nod"
    assert drive.dials == Dials(blink_rate=12, composed=True, look_at=(0, 0.1, 0.6), still=("head",))


@pytest.mark.parametrize(
    "options, told",
    [(("--direct", "1 juggle"), "unknown direction"), (("--emotion", "hapy"), "did you mean happy"),
     (("--mouth-gain", "9"), "--mouth-gain is out of range"), (("--from", "nose=audio"), "GROUP=MOTION"),
     (("--edits", "none.edits.json"), "no such file")],
)  # fmt: skip
def test_mistakes_are_told_before_any_work(tmp_path, capfd, options, told):
    with pytest.raises(SystemExit) as ended:
        main(["drive", "none.avatar", "--audio", "none.wav", "-o", str(tmp_path / "x.mp4"), *options])
    assert ended.value.code == 2 and told in capfd.readouterr().err


def test_a_directed_clip_is_rendered(tiny_avatar, tmp_path, capfd):
    hum = (8000 * np.sin(2 * np.pi * 150 * np.arange(16000) / 16000)).astype(np.int16)
    wavfile.write(tmp_path / "hum.wav", 16000, hum)
    with pytest.raises(SystemExit) as ended:
        main(["drive", str(tiny_avatar.path), "--audio", str(tmp_path / "hum.wav"), "-o", str(tmp_path / "talk.mp4"),
              "--size", "64", "-q", "--json", "--direct", "0.2 nod; 0.3-0.9 smile", "--blink-rate", "20",
              "--emotion", "happy"])  # fmt: skip
    out, err = capfd.readouterr()
    assert ended.value.code == 0, err
    assert json.loads(out)["frames"] == 25 and (tmp_path / "talk.mp4").is_file()
