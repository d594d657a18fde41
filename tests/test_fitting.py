"""Fitting on the synthetic person: it learns, it is reproducible, it survives being killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic import SyntheticCapture

from avatar.errors import BadInput, FormatMismatch, Interrupted
from avatar.evaluation.metrics import psnr
from avatar.files import partial_folder
from avatar.fitting import FitConfig, fit
from avatar.fitting.config import SplitConfig
from avatar.fitting.frames import split_frames
from avatar.fitting.run import _make_trainer
from avatar.fitting.stages import HELD
from avatar.fitting.steps import TorchStep
from avatar.fitting.trainer import Trainer
from avatar.model import load

TESTS = Path(__file__).parent


def test_split_never_lets_training_near_the_test_frames(capture):
    split = split_frames(capture.motion, capture.tracked, SplitConfig())
    t = capture.motion.timestamps_seconds
    assert t[split.test[0]] - t[max(split.train[-1], split.validation[-1])] >= 1.0
    assert len(split.test) == pytest.approx(0.15 * len(t), abs=2)
    assert not set(split.train) & set(split.validation)


def test_too_short_clips_are_refused(capture):
    with pytest.raises(BadInput, match="at least 20 frames"):
        split_frames(capture.motion[:30], capture.tracked[:30], SplitConfig())


def from_uint8(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).float() / 255


def test_the_fit_beats_the_mean_frame_on_held_out_frames(capture, tiny_avatar):
    avatar = tiny_avatar
    prepared = avatar.prepare(capture.motion)
    first, last = avatar.info["split"]["test"]
    train = np.mean([capture.frame(i) for i in range(0, avatar.info["split"]["train"][1], 4)], 0).astype(np.uint8)
    fitted, mean = [], []
    for index in range(first, last + 1, 3):
        truth = from_uint8(capture.frame(index))
        fitted.append(psnr(from_uint8(avatar.frame(prepared, index, avatar.camera)), truth))
        mean.append(psnr(from_uint8(train), truth))
    assert np.mean(fitted) > np.mean(mean) + 3


def test_native_and_torch_steps_fit_alike(capture, small_config):
    """Through all stages: rough, maps and motion, covered pixels, random backdrops, constraints."""
    native = _make_trainer(capture, replace(small_config, steps=60))
    torch_ = Trainer(native.avatar, native.prepared, native.frames, native.split, native.config, step=TorchStep)
    for _ in range(60):
        native.train_step()
        torch_.train_step()
    assert native.loss == pytest.approx(torch_.loss, rel=1e-3)
    assert native.train_psnr == pytest.approx(torch_.train_psnr, abs=0.05)
    assert native.validation.score(native.average) == pytest.approx(torch_.validation.score(torch_.average), abs=0.1)
    moved = torch_.refiner.delta.norm()
    assert float((native.refiner.delta - torch_.refiner.delta).norm() / moved) < 0.2
    assert float((native.gradient_sum - torch_.gradient_sum).norm() / torch_.gradient_sum.norm()) < 0.02
    for name, tensor in native.layers.tensors().items():
        # Adam's step is as long for a gradient of rounding errors as for any other.
        other = torch_.layers.tensors()[name]
        assert float((tensor - other).detach().float().norm() / other.detach().float().norm().clamp(min=1e-9)) < 0.05, (
            name
        )


def test_the_mouth_follows_the_jaw(tiny_avatar):
    """Opening the jaw changes the lower face far more than the forehead."""
    from avatar.driving import still_motion
    from avatar.head.arkit import ARKIT_NAMES

    rest = tiny_avatar.default_params()
    expression = rest.expression.clone()
    expression[ARKIT_NAMES.index("jawOpen")] += 0.5
    pictures = [
        tiny_avatar.frame(tiny_avatar.prepare(still_motion(p)), 0, tiny_avatar.camera).astype(int)
        for p in (rest, replace(rest, expression=expression))
    ]
    change = np.abs(pictures[0] - pictures[1]).mean(2)
    upper, lower = change[: int(0.4 * len(change))].mean(), change[int(0.4 * len(change)) :].mean()
    assert lower > 3 * upper


def test_an_avatar_survives_saving(tiny_avatar):
    again = load(tiny_avatar.path)
    prepared = tiny_avatar.prepare(tiny_avatar.own_motion)
    for name, tensor in tiny_avatar.layers.tensors().items():
        assert torch.equal(tensor, again.layers.tensors()[name]), name
    a = tiny_avatar.frame(prepared, 3, tiny_avatar.camera)
    np.testing.assert_array_equal(a, again.frame(again.prepare(again.own_motion), 3, again.camera))


def test_damaged_avatars_are_named(tiny_avatar, tmp_path):
    with pytest.raises(BadInput, match="is not an avatar"):
        load(tmp_path)
    (tmp_path / "avatar.json").write_text("{broken")
    with pytest.raises(FormatMismatch, match="not valid JSON"):
        load(tmp_path)
    content = json.loads((tiny_avatar.path / "avatar.json").read_text())
    (tmp_path / "avatar.json").write_text(json.dumps(content | {"schema": "visavis.avatar/99"}))
    with pytest.raises(FormatMismatch, match="another schema"):
        load(tmp_path)
    (tmp_path / "avatar.json").write_text(json.dumps(content))
    (tmp_path / "avatar.safetensors").write_bytes((tiny_avatar.path / "avatar.safetensors").read_bytes()[:1000])
    with pytest.raises(FormatMismatch, match="can't read"):
        load(tmp_path)


def test_outputs_are_never_clobbered(capture, small_config, tiny_avatar, tmp_path):
    (tmp_path / "holiday.jpg").write_text("precious")
    with pytest.raises(BadInput, match="not a result of this command"):
        fit(capture, tmp_path, small_config, overwrite=True)
    with pytest.raises(BadInput, match="--overwrite"):
        fit(capture, tiny_avatar.path, small_config)
    assert (tmp_path / "holiday.jpg").read_text() == "precious"


def test_budgets_out_of_range_are_refused(capture, tmp_path):
    with pytest.raises(BadInput, match="budget"):
        fit(capture, tmp_path / "a", FitConfig(minutes=0))


ENDLESS = FitConfig(
    steps=100_000,
    long_side=64,
    head_gaussians=1500,
    core_gaussians=150,
    hair_gaussians=100,
    torso_gaussians=200,
    checkpoint_seconds=0.5,
)
SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from synthetic import SyntheticCapture
from test_fitting import ENDLESS
from avatar.errors import Interrupted
from avatar.fitting import fit
try:
    fit(SyntheticCapture(80, (64, 64)), sys.argv[2], ENDLESS)
except Interrupted as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


def start_fit(output: Path) -> subprocess.Popen:
    command = [sys.executable, "-c", SCRIPT, str(TESTS), str(output)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=TESTS.parent)


def wait_for_checkpoint(output: Path, process: subprocess.Popen) -> None:
    checkpoint, deadline = partial_folder(output) / "checkpoint.safetensors", time.monotonic() + 120
    while not checkpoint.exists():
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
def test_a_killed_fit_goes_on_where_it_was(tmp_path, capsys, monkeypatch, how):
    output = tmp_path / "avatar"
    first = start_fit(output)
    wait_for_checkpoint(output, first)
    os.kill(first.pid, how)
    _, errors = first.communicate(timeout=60)
    assert first.returncode == (-signal.SIGKILL if how == signal.SIGKILL else 3), errors
    if how == signal.SIGINT:
        assert "run the same command again" in errors
    assert not output.exists()

    def stop(self):
        raise KeyboardInterrupt

    small = SyntheticCapture(80, (64, 64))
    with monkeypatch.context() as patch, pytest.raises(Interrupted, match=r"interrupted at step [1-9]"):
        patch.setattr(Trainer, "train_step", stop)
        fit(small, output, ENDLESS)
    assert "resuming at step" in capsys.readouterr().err
    # Another budget is another job: it starts afresh when that may be, and finishes.
    done = fit(small, output, replace(ENDLESS, steps=30), overwrite=True)
    assert "discarded" in capsys.readouterr().err and done.info["fit"]["steps"] == 30
    assert not partial_folder(output).exists()


SHORT = FitConfig(steps=60, long_side=64, head_gaussians=800, core_gaussians=80, hair_gaussians=50, torso_gaussians=100)


def test_what_lies_under_the_skin_learns_only_its_color(capture):
    trainer = _make_trainer(capture, SHORT)
    seeded = trainer.layers.copy().head
    for _ in range(60):
        trainer.train_step()
    for name in HELD:
        moved = (getattr(trainer.layers.head, name) - getattr(seeded, name)).detach()
        assert moved[trainer.core].abs().max() < 1e-6, f"the core's {name} are not learned"
        assert moved[: trainer.core.start].abs().max() > 1e-4


def test_an_interrupted_fit_ends_as_an_uninterrupted_one(capture, tmp_path, monkeypatch):
    """The checkpoint holds everything: weights, moments, queue, random state."""
    config = replace(SHORT, precision="float32")
    whole = fit(capture, tmp_path / "whole", config)
    train_step = Trainer.train_step

    def interrupted(self):
        if self.step == 31 and not (partial_folder(tmp_path / "parts") / "checkpoint.safetensors").exists():
            raise KeyboardInterrupt
        train_step(self)

    monkeypatch.setattr(Trainer, "train_step", interrupted)
    with pytest.raises(Interrupted):
        fit(capture, tmp_path / "parts", config)
    parts = fit(capture, tmp_path / "parts", config)
    for name, tensor in whole.layers.tensors().items():
        assert torch.equal(tensor, parts.layers.tensors()[name]), name
