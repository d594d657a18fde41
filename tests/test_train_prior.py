"""`visavis train-prior`: captures in, a prior out; interrupted, repeated, refused."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from make_capture import small_capture, speaking_capture
from scipy.io import wavfile

from avatar.assets import sha256_file
from avatar.cli import execute
from avatar.cli.prior import EvalMotion, TrainPrior
from avatar.cli.talk import Drive
from avatar.motion.prior import config as prior_config
from avatar.motion.prior.checkpoint import Prior
from avatar.motion.prior.config import TrainConfig
from avatar.motion.prior.drive import drive
from preprocess.capture import CaptureFolder
from preprocess.studio.speakers import recital


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return speaking_capture(tmp_path_factory.mktemp("captures") / "me.capture", 16)


def result(command: TrainPrior | EvalMotion | Drive, capsys: pytest.CaptureFixture) -> tuple[int, dict]:
    code = execute(command)
    return code, json.loads(capsys.readouterr().out)


def test_l0_is_learned_in_seconds(spoken: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    output = tmp_path / "me.prior"
    code, said = result(TrainPrior(captures=(spoken,), output=output, preset="l0", json=True), capsys)
    assert code == 0 and said["rung"] == "l0"
    assert said["seconds_of_speech"] == pytest.approx(0.85 * 16 - 1, abs=0.1)  # what is held out is not learned
    prior = Prior.load(output)
    assert prior.about["head"]["name"] == "anny" and len(prior.about["sources"]) == 1
    motion = drive(prior, recital(3, 4, text_seed=9).samples_16k, seed=0, rung="l0")
    assert len(motion) == 100 and motion.expression.std(0).max() > 0.05
    code, said = result(TrainPrior(captures=(spoken,), output=output, preset="l0", json=True), capsys)
    assert code == 2 and "--overwrite" in said["error"]
    folder = TrainPrior(captures=(spoken.parent,), output=output, preset="l0", json=True, overwrite=True)
    assert result(folder, capsys)[0] == 0


def test_a_partner_is_learned_from(spoken: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch):
    """His sound stands beside the capture's, once per capture."""
    monkeypatch.setitem(prior_config.PRESETS, "quick", TrainConfig(steps=20, width=32, blocks=2, batch=8))
    other, output = tmp_path / "other.wav", tmp_path / "me.prior"
    wavfile.write(other, 48_000, (np.repeat(recital(4, 10, text_seed=2).samples_16k, 3) * 32767).astype(np.int16))
    command = TrainPrior(captures=(spoken,), output=output, preset="quick", partner=(str(other),), json=True)
    code, said = result(command, capsys)
    assert code == 0 and said["seconds_with_partner"] == said["seconds_of_speech"], said
    prior = Prior.load(output)
    own, heard = recital(3, 4, text_seed=9).samples_16k, recital(4, 4, text_seed=9).samples_16k
    assert prior.listens and prior.about["partner_seconds"] == said["seconds_with_partner"]
    alone, listening = (drive(prior, own, seed=0, partner_16k=p).quats_wxyz for p in (None, heard))
    assert not np.array_equal(alone, listening)
    both = TrainPrior(
        captures=(spoken, spoken), output=output, preset="l0", partner=("none", str(other)), json=True, overwrite=True
    )
    code, said = result(both, capsys)
    assert code == 0 and said["seconds_with_partner"] == pytest.approx(said["seconds_of_speech"] / 2, abs=0.1)
    wavfile.write(tmp_path / "mute.wav", 16_000, np.zeros(160_000, np.int16))
    for partner, reason in {
        (str(other), str(other)): "every capture needs its own partner",
        (str(tmp_path / "nowhere.wav"),): "does not exist",
        (str(tmp_path / "mute.wav"),): "says nothing",
    }.items():
        refused = TrainPrior(captures=(spoken,), output=tmp_path / "x.prior", preset="l0", partner=partner, json=True)
        code, said = result(refused, capsys)
        assert code == 2 and reason in said["error"], said
    card = EvalMotion(prior=output, captures=(spoken, spoken), partner=("none", str(other)), json=True)
    assert result(card, capsys)[0] == 0


def test_what_cannot_be_learned_from_is_refused(spoken: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    mute, short, silent = (tmp_path / name for name in ("mute", "short", "silent"))
    small_capture(mute)
    speaking_capture(short, 3)
    speaking_capture(silent, 12)
    wav = silent / "audio.wav"
    wav.write_bytes(wav.read_bytes()[:44] + bytes(wav.stat().st_size - 44))
    other = speaking_capture(tmp_path / "other", 3)
    about = json.loads((other / "capture.json").read_text(encoding="utf-8"))
    about["head"]["content_hash"] = "of another version"
    (other / "capture.json").write_text(json.dumps(about), encoding="utf-8")
    cases = {
        (mute,): "has no sound",
        (short,): "too little to learn from",
        (silent,): "says nothing",
        (tmp_path / "nowhere",): "is no capture",
        (other,): "another version of the head model",
        (spoken, other): "different head models",
    }
    for captures, reason in cases.items():
        command = TrainPrior(captures=captures, output=tmp_path / "x.prior", preset="l0", json=True)
        code, said = result(command, capsys)
        assert code == 2 and reason in said["error"], said
    assert not (tmp_path / "x.prior").exists()


def test_ctrl_c_leaves_what_the_next_run_goes_on_from(spoken: Path, tmp_path: Path):
    output = tmp_path / "me.prior"
    command = [
        sys.executable, "-m", "avatar.cli", "train-prior", str(spoken), "-o", str(output), "--preset", "quick",
        "--json",
    ]  # fmt: skip
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stderr is not None and running.stdout is not None
    for line in running.stderr:
        if line.startswith("training the motion prior"):
            break
    running.send_signal(signal.SIGINT)
    printed, errors = running.communicate(timeout=120)
    assert running.returncode == 3, errors
    assert "run the same command again" in json.loads(printed)["error"]
    state = tmp_path / ".me.prior.partial"
    assert state.is_file() and not output.exists()
    again = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert again.stderr is not None
    deadline = time.monotonic() + 120
    for line in again.stderr:
        if line.startswith("going on at step") or time.monotonic() > deadline:
            break
    again.kill()
    again.communicate()
    assert line.startswith("going on at step") and line.endswith("of 600\n")


def test_a_network_is_trained_and_drives(
    spoken: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    small = TrainConfig(steps=40, width=32, blocks=2, batch=8)
    monkeypatch.setitem(prior_config.PRESETS, "quick", small)
    first, second = tmp_path / "me.prior", tmp_path / "mine.prior"
    code, said = result(TrainPrior(captures=(spoken,), output=first, preset="quick", json=True), capsys)
    assert code == 0 and said["rung"] == "flow" and said["steps"] == 40
    monkeypatch.setitem(prior_config.PRESETS, "default", TrainConfig(steps=10, width=48, blocks=3, batch=4))
    code, _ = result(TrainPrior(captures=(spoken,), output=second, personalise=first, json=True), capsys)
    assert code == 0
    before, after = Prior.load(first), Prior.load(second)
    np.testing.assert_array_equal(before.space.lips_basis, after.space.lips_basis)
    np.testing.assert_array_equal(before.style_deviation, after.style_deviation)
    samples = recital(3, 4, text_seed=9).samples_16k
    assert len(drive(after, samples, seed=0)) == 100
    assert (after.about["config"]["width"], after.about["config"]["blocks"]) == (32, 2)
    assert CaptureFolder.load(spoken).content_hash in after.about["sources"]
    assert after.about["personalised_from"] == {"name": "me.prior", "sha256": sha256_file(first)}
    for rung in ("flow", "l0", "stream"):
        assert len(drive(after, samples, seed=0, rung=rung)) == 100


def test_a_prior_of_another_head_is_not_personalised(spoken: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    shared, mine = tmp_path / "shared.prior", tmp_path / "mine.prior"
    assert execute(TrainPrior(captures=(spoken,), output=shared, preset="l0")) == 0
    capsys.readouterr()
    personalise = TrainPrior(captures=(spoken,), output=mine, preset="l0", personalise=shared, json=True)
    assert execute(personalise) == 0
    assert "shared.prior has no flow network" in capsys.readouterr().err
    prior = Prior.load(shared)
    replace(prior, about=prior.about | {"head": {"name": "flame", "hash": "another"}}).save(shared)
    code, said = result(replace(personalise, overwrite=True), capsys)
    own = CaptureFolder.load(spoken).head_hash
    assert code == 2 and "different head models" in said["error"]
    assert "expected: flame, version another" in said["error"] and f"got: anny, version {own}" in said["error"]
    assert "--personalise" in said["error"]


def test_the_rungs_are_scored_on_what_was_held_out(spoken: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    prior = tmp_path / "me.prior"
    assert execute(TrainPrior(captures=(spoken,), output=prior, preset="l0")) == 0
    capsys.readouterr()
    code, said = result(EvalMotion(prior=prior, captures=(spoken,), json=True), capsys)
    rows = {row["name"]: row for row in said["rows"]}
    assert code == 0 and set(rows) == {"truth", "mean_pose", "shuffled_audio", "rules", "l0"}
    assert rows["truth"]["lip_vertex_error_mm"] == 0 < rows["l0"]["lip_vertex_error_mm"]
    assert rows["l0"]["lip_vertex_error_mm"] < rows["rules"]["lip_vertex_error_mm"]
    assert "silence_zeros_motion" in rows["l0"] and (tmp_path / "me.html").is_file()
    code, said = result(EvalMotion(prior=prior, captures=(spoken,), json=True), capsys)
    assert code == 2 and "--overwrite" in said["error"]


def test_an_avatar_talks_by_a_prior(spoken: Path, tiny_avatar, tmp_path: Path, capsys: pytest.CaptureFixture):
    prior, sound = tmp_path / "me.prior", tmp_path / "speech.wav"
    assert execute(TrainPrior(captures=(spoken,), output=prior, preset="l0")) == 0
    capsys.readouterr()
    wavfile.write(sound, 16_000, (recital(3, 2, text_seed=9).samples_16k * 32767).astype(np.int16))
    common = {"avatar": tiny_avatar.path, "audio": sound, "size": 64, "json": True}
    code, said = result(Drive(output=tmp_path / "a.mp4", prior=prior, **common), capsys)
    assert code == 0 and said["frames"] == 50 and said["driver"] == "prior me.prior", said
    record = json.loads((tmp_path / "a.mp4.provenance.json").read_text(encoding="utf-8"))
    assert record["source"] == "speech.wav, moved by prior me.prior"
    refused = {
        "no flow network": {"prior": prior, "rung": "flow"},
        "belong to a prior": {"stream": True},
        "only the flow network streams": {"prior": prior, "stream": True, "rung": "l0"},
    }
    for reason, options in refused.items():
        code, said = result(Drive(output=tmp_path / "b.mp4", **options, **common), capsys)
        assert code == 2 and reason in said["error"], said
