"""Style, guidance and temperature of a motion prior: what a user can ask for, what comes of it, what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from make_capture import small_capture, speaking_capture
from scipy.io import wavfile
from small_prior import speaking

from avatar.cli import execute
from avatar.cli.manner import by_group
from avatar.cli.talk import Drive
from avatar.errors import BadInput
from avatar.motion.eyes import EyeHabits
from avatar.motion.groups import GROUP_NAMES, GROUPS
from avatar.motion.prior.borrowed_style import BorrowedStyle
from avatar.motion.prior.checkpoint import Prior
from avatar.motion.prior.drive import drive
from avatar.tracks import MOTION_FIELDS, Motion
from preprocess.capture import CaptureFolder
from preprocess.studio.speakers import recital

CALM = EyeHabits(20.0, 0.9, 4.0, 1.0, 0.5, 2.0, -1.0, 0.9)


@pytest.fixture(scope="module")
def files(small_prior: Prior, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prior, a sound, captures to borrow a style from: whole, short, too short."""
    folder = tmp_path_factory.mktemp("files")
    small_prior.save(folder / "me.prior")
    replace(small_prior, weights=None).save(folder / "l0.prior")
    sound = (recital(3, 2, text_seed=9).samples_16k * 32767).astype(np.int16)
    wavfile.write(folder / "speech.wav", 16_000, sound)
    (folder / "speech.raw").write_bytes(sound.tobytes())
    speaking_capture(folder / "other.capture", 12, speaker=5)
    speaking_capture(folder / "short.capture", 5)
    small_capture(folder / "too_short.capture")
    return folder


def same(a: Motion, b: Motion) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in MOTION_FIELDS)


def test_the_training_has_the_style_of_its_own_take(small_prior: Prior):
    take = speaking(14, 1)
    own = BorrowedStyle.of_motion(small_prior, take.motion, take.confidence > 0)
    np.testing.assert_allclose(own.code, small_prior.style, atol=1e-3)
    for name, array in own.eyes.arrays().items():
        np.testing.assert_allclose(array, small_prior.eyes.arrays()[name], rtol=1e-5, atol=1e-5)
    assert own.seconds == pytest.approx(14, abs=0.1)


def test_an_amount_of_a_style(small_prior: Prior, files: Path):
    style = BorrowedStyle.of_capture(small_prior, CaptureFolder.load(files / "other.capture"))
    sound = recital(3, 4, text_seed=9).samples_16k
    plain = drive(small_prior, sound, seed=1)
    assert same(plain, drive(style.onto(small_prior, 0), sound, seed=1))
    whole, overdone = style.onto(small_prior, 1), style.onto(small_prior, 3)
    np.testing.assert_allclose(whole.style, style.code.clip(-3, 3), rtol=1e-5, atol=1e-5)
    assert np.abs(overdone.style).max() <= 3
    moved = drive(whole, sound, seed=1)
    for group in ("lips", "lids", "gaze"):
        index = list(GROUPS[group])
        assert not np.array_equal(moved.expression[:, index], plain.expression[:, index]), group
    assert not np.array_equal(moved.quats_wxyz, plain.quats_wxyz)
    for amount in (-0.1, 3.1, float("nan")):
        with pytest.raises(BadInput, match="amount of style"):
            style.onto(small_prior, amount)


def test_habits_of_eyes_are_mixed_and_overdone_within_what_eyes_do(small_prior: Prior):
    own = small_prior.eyes
    for amount, expected in ((0, own), (1, CALM)):
        for name, value in own.toward(CALM, amount).arrays().items():
            np.testing.assert_allclose(value, expected.arrays()[name], rtol=1e-5, err_msg=name)
    between = own.toward(CALM, 0.5)
    assert between.blink_every_seconds == pytest.approx(np.sqrt(own.blink_every_seconds * 20))
    far = own.toward(CALM, 3)
    assert far.blink_every_seconds == 30 and 0.4 <= far.fixation_seconds <= 10 and far.reach_pitch_degrees >= 0.2


def test_a_short_clip_tells_no_style(small_prior: Prior, files: Path):
    with pytest.raises(BadInput, match="too short to tell a style") as refused:
        BorrowedStyle.of_capture(small_prior, CaptureFolder.load(files / "too_short.capture"))
    assert "3 s with a tracked face" in str(refused.value)


@pytest.mark.parametrize(
    "text, expected",
    [
        (None, {}),
        ("1.5", dict.fromkeys(GROUP_NAMES, 1.5)),
        ("head=1.5, upper=2", {"head": 1.5, "upper": 2.0}),
    ],
)
def test_numbers_by_group(text: str | None, expected: dict):
    assert by_group("--guidance", text) == expected


@pytest.mark.parametrize("text", ["", "much", "1,2", "head=", "=1", "head=1,head=2", "head=1,2"])
def test_what_is_no_number_by_group(text: str):
    with pytest.raises(BadInput, match="--guidance can't be read"):
        by_group("--guidance", text)


def test_an_avatar_talks_in_a_style(files: Path, tiny_avatar, tmp_path: Path, capsys: pytest.CaptureFixture):
    common = {"avatar": tiny_avatar.path, "audio": files / "speech.wav", "size": 64, "json": True}
    options = {"prior": files / "me.prior", "style": files / "short.capture", "style_amount": 1.5}
    options |= {"guidance": "2", "temperature": "head=1.5,upper=0.5"}
    code = execute(Drive(output=tmp_path / "a.mp4", **options, **common))
    out, err = capsys.readouterr()
    said = json.loads(out)
    told = "prior me.prior, in the style of short.capture (amount 1.5), guidance 2, temperature head=1.5,upper=0.5"
    assert code == 0 and said["driver"] == told, said
    record = json.loads((tmp_path / "a.mp4.provenance.json").read_text(encoding="utf-8"))
    assert record["source"] == f"speech.wav, moved by {told}"
    for note in ("another head model", "warning: 5.0 s tell little", "knows few speakers"):
        assert note in err
    me, other = {"prior": files / "me.prior"}, {"style": files / "other.capture"}
    refused = {
        "belong to the flow network": [other, {"guidance": "2"}, {"temperature": "2"}, other | me | {"rung": "l0"},
                                       other | {"prior": files / "l0.prior"}],
        "--style-amount of what": [me | {"style_amount": 0.5}],
        "amount of style is out of range": [me | other | {"style_amount": 4.0}],
        "unknown group 'nose'": [me | {"guidance": "nose=1"}],
        "guidance of lips is out of range": [me | {"guidance": "5.5"}],
        "temperature of head is out of range": [me | {"temperature": "head=nan"}],
        "--temperature can't be read": [me | {"temperature": "warm"}],
        "is no capture": [me | {"style": tmp_path}],
        "too short to tell a style": [me | {"style": files / "too_short.capture"}],
    }  # fmt: skip
    for reason, cases in refused.items():
        for case in cases:
            code = execute(Drive(output=tmp_path / "b.mp4", **case, **common))
            said = json.loads(capsys.readouterr().out)
            assert code == 2 and reason in said["error"], (case, said)
    assert not (tmp_path / "b.mp4").exists()


def test_a_stream_in_a_style(files: Path):
    def lines(*options: object) -> bytes:
        command = [sys.executable, "-m", "avatar.cli", "stream", "--prior", str(files / "me.prior"), "--quiet"]
        with (files / "speech.raw").open("rb") as sound:
            done = subprocess.run([*command, *map(str, options)], stdin=sound, capture_output=True, check=True)
        return done.stdout

    plain = lines()
    assert plain == lines("--style", files / "other.capture", "--style-amount", 0)
    styled = lines("--style", files / "other.capture", "--temperature", "head=0.5")
    assert len(styled.splitlines()) == len(plain.splitlines()) == 50 and styled != plain
