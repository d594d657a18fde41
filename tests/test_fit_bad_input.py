"""Fits that go wrong, clips that lack something, unfinished fits that are damaged or of another mind."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic import SyntheticCapture

from avatar.cli.build import Fit
from avatar.errors import BadInput, Interrupted, VisavisError
from avatar.files import partial_folder, save_tensors
from avatar.fitting import FitConfig, fit
from avatar.fitting.config import RateConfig
from avatar.fitting.run import _make_trainer
from avatar.fitting.trainer import Trainer
from avatar.head.arkit import ARKIT_INDEX
from avatar.head.landmarks import LEFT_EYE, RIGHT_EYE
from avatar.model import load
from avatar.types import Motion

CONFIG = FitConfig(
    steps=30, long_side=64, head_gaussians=800, core_gaussians=80, hair_gaussians=50, torso_gaussians=100
)


@pytest.fixture(scope="module")
def short() -> SyntheticCapture:
    return SyntheticCapture(75, (64, 64))


def interrupted_fit(capture, output: Path, config: FitConfig, at: int = 15) -> None:
    """Ctrl-C after so many steps."""
    step = Trainer.train_step

    def stopping(self: Trainer) -> None:
        if self.step == at:
            raise KeyboardInterrupt
        step(self)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(Trainer, "train_step", stopping)
        fit(capture, output, config)


WILD = replace(CONFIG, rates=RateConfig(log_scales=20.0, after_rollback=0.01))


def test_a_fit_that_runs_away_goes_back_and_on_at_lower_rates(short, tmp_path, capsys):
    """And an interruption changes nothing of that."""
    whole = fit(short, tmp_path / "whole", WILD)
    assert whole.info["fit"]["rollbacks"] == 1 and whole.info["fit"]["steps"] == CONFIG.steps
    assert "ran away after step" in capsys.readouterr().err
    assert whole.info["fit"]["validation_psnr"] > 20
    interrupted_fit(short, tmp_path / "parts", WILD)
    parts = fit(short, tmp_path / "parts", WILD)
    assert parts.info["fit"]["rollbacks"] == 1
    for name, tensor in whole.layers.tensors().items():
        assert torch.isfinite(tensor).all() and torch.equal(tensor, parts.layers.tensors()[name]), name
    steps = [[point["step"] for point in avatar.info["curve"]] for avatar in (whole, parts)]
    assert steps[0] == steps[1] == [CONFIG.steps]


def test_a_field_that_runs_away_goes_back_too(short, tmp_path):
    avatar = fit(short, tmp_path / "a", replace(WILD, field="embedding", steps=20))
    assert avatar.info["fit"]["rollbacks"] == 1
    assert all(torch.isfinite(tensor).all() for tensor in avatar.layers.tensors().values())


def test_rates_that_no_lowering_helps_end_in_a_clear_error(short, tmp_path):
    with pytest.raises(VisavisError, match=r"ran away 5 times(.|\n)*visavis check synthetic"):
        fit(short, tmp_path / "a", replace(CONFIG, rates=RateConfig(log_scales=1e9)))
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("frames", [1, 2, 9])
def test_a_handful_of_frames_is_refused(frames, tmp_path):
    with pytest.raises(BadInput, match="at least 20 frames with a face"):
        fit(SyntheticCapture(frames, (64, 64)), tmp_path / "a", CONFIG)
    assert not list(tmp_path.iterdir())


def test_a_field_that_would_listen_says_that_it_hears_nothing(short, capsys):
    trainer = _make_trainer(short, replace(CONFIG, field="visavis_speech"))
    assert trainer.avatar.driving.speech_basis.shape[1] == 0
    assert "has no sound: visavis_speech learns from expression and pose alone" in capsys.readouterr().err


class Sleeper(SyntheticCapture):
    """Somebody who never opens eyes or mouth, with landmarks where a detector has them."""

    def __init__(self, *, awake: bool = False) -> None:
        super().__init__(75, (64, 64))
        expression = self.motion.expression.copy()
        for name, value in (("jawOpen", 0.0), ("mouthFunnel", 0.0), ("eyeBlinkLeft", 1.0), ("eyeBlinkRight", 1.0)):
            if not awake:
                expression[:, ARKIT_INDEX[name]] = value
        self.motion: Motion = replace(self.motion, expression=expression)
        self.landmarks_px = np.stack([self._detected(i, awake) for i in range(75)])

    def _detected(self, index: int, awake: bool) -> np.ndarray:
        points = np.tile(self.landmarks_px[index].mean(0), (478, 1))
        for first, outline in ((20.0, RIGHT_EYE), (36.0, LEFT_EYE)):
            angles = np.arange(16) / 16 * 2 * np.pi
            height = 3.0 if awake else 0.2
            points[list(outline)] = np.stack([first + 4 - 4 * np.cos(angles), 24 + height * np.sin(angles)], -1)
        points[14] = points[13] + (0.0, 4.0 if awake else 0.1)
        return points


def test_what_was_never_seen_is_said(tmp_path, capsys):
    sleeping = fit(Sleeper(), tmp_path / "asleep", replace(CONFIG, steps=3))
    assert sleeping.info["fit"]["never_seen"] == ["open eyes", "teeth"]
    assert "never show open eyes and teeth" in capsys.readouterr().err
    assert np.isfinite(sleeping.frame(sleeping.own, 0, sleeping.camera).astype(float)).all()
    awake = fit(Sleeper(awake=True), tmp_path / "awake", replace(CONFIG, steps=3))
    assert awake.info["fit"]["never_seen"] == [] and "never show" not in capsys.readouterr().err


def test_an_unfinished_fit_with_other_options_is_not_lost_by_mistake(short, tmp_path, capsys):
    output = tmp_path / "a"
    interrupted_fit(short, output, CONFIG)
    other = replace(CONFIG, steps=4, rates=RateConfig(means=1e-4))
    with pytest.raises(BadInput) as refused:
        fit(short, output, other)
    assert "steps 30, means 0.00015" in str(refused.value) and "steps 4, means 0.0001" in str(refused.value)
    assert "--overwrite to start afresh" in str(refused.value)
    assert fit(short, output, CONFIG).info["fit"]["validation_psnr"] > 15, "three seconds are enough"
    assert "resuming at step 15" in capsys.readouterr().err
    interrupted_fit(short, tmp_path / "b", CONFIG)
    assert fit(short, tmp_path / "b", other, overwrite=True).info["fit"]["steps"] == 4
    assert "is discarded" in capsys.readouterr().err


def test_an_unfinished_fit_of_another_edition_is_not_lost_by_mistake(short, tmp_path):
    interrupted_fit(short, tmp_path / "a", CONFIG)
    file = partial_folder(tmp_path / "a") / "job.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"schema": "visavis.fit-job/99", "wings": 2}))
    with pytest.raises(BadInput, match=r"schema visavis\.fit-job/99, wings 2"):
        fit(short, tmp_path / "a", CONFIG)


@pytest.mark.parametrize("damage", ["cut off", "other content"])
def test_a_damaged_checkpoint_is_told_and_the_fit_starts_afresh(short, tmp_path, capsys, damage):
    output = tmp_path / "a"
    interrupted_fit(short, output, CONFIG)
    checkpoint = partial_folder(output) / "checkpoint.safetensors"
    if damage == "cut off":
        checkpoint.write_bytes(checkpoint.read_bytes()[:-1000])
    else:
        save_tensors(checkpoint, {"neutral": torch.zeros(3)})
    avatar = fit(short, output, CONFIG)
    assert "starts afresh" in capsys.readouterr().err
    assert avatar.info["fit"]["steps"] == CONFIG.steps and load(output).path == output
    assert not partial_folder(output).exists()


def test_more_minutes_fit_finer_pictures():
    def fitted(**options) -> int:
        return Fit(capture=Path("c"), output=Path("a"), **options)._long_side

    assert [fitted(minutes=m) for m in (2.0, 5.0, 15.0, 60.0)] == [256, 256, 512, 512]
    assert fitted(minutes=60.0, long_side=384) == 384 and fitted(minutes=60.0, steps=10) == 256
