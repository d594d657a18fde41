"""Motions as tables: ours exact to float32, Live Link Face's both ways, and what is wrong with a table said by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from synthetic import talking_motion

from avatar.errors import BadInput, FormatMismatch
from avatar.head.arkit import ARKIT_INDEX
from avatar.motion.motion_csv import write_live_link
from avatar.motion.motion_io import load_motion, save_motion
from avatar.types import MOTION_FIELDS, Motion


@pytest.fixture
def motion() -> Motion:
    rng = np.random.default_rng(0)
    base = talking_motion(40, fps=23.976, seed=3)
    joints = rng.normal(size=(40, 4, 3)).astype(np.float32)
    return replace(base, joints=joints, torso=rng.normal(size=(40, 3)).astype(np.float32) * 1e-7)


def test_our_table_gives_every_bit_back(motion: Motion, tmp_path: Path):
    path = tmp_path / "Bewegung ü.csv"
    save_motion(path, motion)
    back = load_motion(path)
    for name in MOTION_FIELDS:
        assert np.array_equal(getattr(back, name), getattr(motion, name)), name
        assert getattr(back, name).dtype == getattr(motion, name).dtype, name


def test_a_table_edited_by_hand(motion: Motion, tmp_path: Path):
    """A spreadsheet moves columns, quotes, adds its mark, uses other line ends and leaves an empty line."""
    save_motion(tmp_path / "a.csv", motion)
    rows = [line.split(",") for line in (tmp_path / "a.csv").read_text().splitlines()]
    column = rows[0].index("jawOpen")
    for row in rows[1:]:
        row[column] = "0.5"
    lines = [",".join([row[0], *(f'"{cell}"' for cell in row[:0:-1])]) for row in rows]
    (tmp_path / "b.csv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join([*lines, "", ",,,"]).encode())
    back = load_motion(tmp_path / "b.csv")
    wanted = motion.expression.copy()
    wanted[:, ARKIT_INDEX["jawOpen"]] = 0.5
    assert np.array_equal(back.expression, wanted) and np.array_equal(back.joints, motion.joints)


def test_live_link_face_there_and_back(motion: Motion, tmp_path: Path):
    write_live_link(tmp_path / "take.csv", motion)
    header, first, *_ = (tmp_path / "take.csv").read_text().splitlines()
    assert header.startswith("Timecode,BlendShapeCount,EyeBlinkLeft,EyeLookDownLeft,EyeLookInLeft")
    assert header.endswith("NoseSneerRight,TongueOut,HeadYaw,HeadPitch,HeadRoll,LeftEyeYaw,LeftEyePitch,LeftEyeRoll,"
                           "RightEyeYaw,RightEyePitch,RightEyeRoll")  # fmt: skip
    assert first.startswith("00:00:00:00.000,61,") and len(first.split(",")) == len(header.split(",")) == 63
    back = load_motion(tmp_path / "take.csv")
    np.testing.assert_allclose(back.timestamps_seconds, motion.timestamps_seconds, atol=1e-5)
    np.testing.assert_allclose(back.expression, motion.expression, atol=1e-7)
    same = np.abs((back.quats_wxyz * motion.quats_wxyz).sum(1))
    np.testing.assert_allclose(same, 1, atol=1e-6)
    assert not back.joints.any() and (back.translation[:, 2] > 0).all()


def test_head_and_eye_angles_have_the_promised_signs(tmp_path: Path):
    still = talking_motion(2)
    half = np.sqrt(0.5).astype(np.float32)
    expression = np.zeros((2, 52), np.float32)
    expression[1, ARKIT_INDEX["eyeLookOutLeft"]] = 1.0
    # Looking into the camera, then turned by 90 degrees towards the subject's left, the camera's +x.
    quats = np.array([[0, 1, 0, 0], [0, half, 0, half]], np.float32)
    write_live_link(tmp_path / "a.csv", replace(still, quats_wxyz=quats, expression=expression))
    names, *rows = [line.split(",") for line in (tmp_path / "a.csv").read_text().splitlines()]
    w, x, y, z = quats[1]
    forward = np.array([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)])
    assert forward == pytest.approx([1, 0, 0], abs=1e-6)
    values = [dict(zip(names, row, strict=True)) for row in rows]
    assert float(values[0]["HeadYaw"]) == pytest.approx(0, abs=1e-6)
    assert float(values[1]["HeadYaw"]) == pytest.approx(np.pi / 2, abs=1e-5)
    assert float(values[1]["LeftEyeYaw"]) == pytest.approx(np.radians(25), abs=1e-6)


LIVE_LINK_HEAD = "Timecode,BlendshapeCount,eyeBlinkRight,EyeBlinkLeft,JawOpen," + ",".join(
    f"Mouth{what}{side}" for what in ("Smile", "Frown", "Dimple", "Stretch") for side in ("Left", "Right")
)


def test_a_take_of_the_app(tmp_path: Path):
    """Other capitals, fewer columns, a repeated timecode, a take over midnight at 30 frames a second."""
    codes = ["23:59:59:28.500", "23:59:59:29.500", "23:59:59:29.500", "00:00:00:00.500", "00:00:00:01.500"]
    rows = [f"{code},61,0.1,0.2,0.{i}," + ",".join(["0"] * 8) for i, code in enumerate(codes)]
    (tmp_path / "take.csv").write_text("\n".join([LIVE_LINK_HEAD, *rows]))
    back = load_motion(tmp_path / "take.csv")
    np.testing.assert_allclose(back.timestamps_seconds, np.arange(4) / 30, atol=1e-9)
    assert back.expression[:, ARKIT_INDEX["jawOpen"]] == pytest.approx([0, 0.1, 0.3, 0.4])
    assert back.expression[0, ARKIT_INDEX["eyeBlinkRight"]] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no motion"),
        ("a,b\n1,2\n", "no motion"),
        ("timestamp_seconds,jawOpen\n0,0\n", "lacks columns"),
        ("Timecode,Other\n00:00:00:00,1\n", "no ARKit actions"),
        (LIVE_LINK_HEAD + "\n00:00:00:00,61,0,0,wide,0,0,0,0,0,0,0,0\n", "frame 1 is not all numbers"),
        (LIVE_LINK_HEAD + "\n00:00:00:00,61,0,0\n", "frame 1 is not all numbers"),
        (LIVE_LINK_HEAD + "\nnoon,61" + ",0" * 11 + "\n", "odd Timecode"),
        (LIVE_LINK_HEAD + "\n00:00:00:00,61" + ",nan" * 11 + "\n", "not finite"),
        (LIVE_LINK_HEAD + "\n", "timestamps_seconds"),
    ],
)
def test_nonsense_is_explained(tmp_path: Path, text: str, said: str):
    path = tmp_path / "take.csv"
    path.write_text(text)
    with pytest.raises(FormatMismatch, match=said):
        load_motion(path)


def test_other_files_are_explained(tmp_path: Path):
    with pytest.raises(BadInput, match="cannot read"):
        load_motion(tmp_path / "none.csv")
    (tmp_path / "picture.csv").write_bytes(bytes(range(256)))
    with pytest.raises(FormatMismatch, match="no table"):
        load_motion(tmp_path / "picture.csv")
