"""Deformation fields: each can be fitted, saved, baked and played; what they see and hear is what they should."""

from __future__ import annotations

import wave
from dataclasses import replace
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch
from make_speech import RATE, babble
from synthetic import SyntheticCapture

from avatar.cli.build import Fit
from avatar.driving import DrivingSpace, windows_around
from avatar.errors import BadInput, FormatMismatch, Interrupted
from avatar.evaluation.metrics import psnr
from avatar.fields.bake import bake
from avatar.fields.bound import BoundField
from avatar.fields.presets import PRESETS, preset_named
from avatar.fields.protocol import Controls, Field, Offsets, Points, Rest, Sizes
from avatar.files import partial_folder
from avatar.fitting import FitConfig, fit
from avatar.fitting.run import _make_trainer
from avatar.fitting.stages import relocate
from avatar.fitting.trainer import Trainer
from avatar.head.arkit import ARKIT_INDEX
from avatar.model import load
from avatar.motion.audio_windows import attention_windows, audio_windows, cepstra
from avatar.playback import load_player

CONFIG = FitConfig(
    steps=40, long_side=64, head_gaussians=600, core_gaussians=60, hair_gaussians=60, torso_gaussians=100,
    checkpoint_seconds=60,
)  # fmt: skip


@pytest.fixture(scope="module")
def talking(tmp_path_factory) -> SyntheticCapture:
    """A capture with sound."""
    capture = SyntheticCapture(80, (64, 64))
    sound, _ = babble(80 / 25)
    capture.audio_path = Path(tmp_path_factory.mktemp("sound")) / "audio.wav"
    with wave.open(str(capture.audio_path), "wb") as out:
        out.setparams((1, 2, RATE, len(sound), "NONE", ""))
        out.writeframes((sound / np.abs(sound).max() * 30000).astype("<i2").tobytes())
    return capture


@pytest.fixture(scope="module")
def speech(talking):
    from avatar.motion.audio import load_audio

    return cepstra(load_audio(talking.audio_path))


@pytest.mark.parametrize("name", PRESETS)
def test_every_design_fits_and_plays(talking, tmp_path, name):
    """Baked, exactly, and without torch: the pictures agree as far as the record says."""
    avatar = fit(talking, tmp_path / "a", replace(CONFIG, field=name))
    player, exact = load_player(tmp_path / "a"), load(tmp_path / "a", exact=True)
    driven = player.prepare(player.own_motion, audio=tmp_path / "a" / "audio.wav")
    for index in (3, 40):
        picture = avatar.frame(avatar.own, index, avatar.camera)
        assert np.abs(picture.astype(int) - player.frame(driven, index)).max() <= 1
        assert psnr(*(from_uint8(p) for p in (picture, talking.frame(index)))) > 14
    assert bool(exact.layers.field) == bool(PRESETS[name].network)
    if exact.layers.field:
        baking = avatar.info["bake"]
        assert baking["missed_mm"] < baking["moved_mm"]
        assert abs(baking["field_psnr"] - baking["baked_psnr"]) < 1
        at_once = exact.frame(exact.own, 40, exact.camera)
        assert psnr(from_uint8(at_once), from_uint8(avatar.frame(avatar.own, 40, avatar.camera))) > 25


def from_uint8(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(image)).float() / 255


def test_the_command_offers_every_design():
    assert set(get_args(get_type_hints(Fit)["field"])) == set(PRESETS)


def test_unknown_designs_and_missing_sound_are_refused(tmp_path):
    with pytest.raises(BadInput, match="no field is called 'nerf'"):
        preset_named("nerf")
    mute = SyntheticCapture(80, (64, 64))
    with pytest.raises(BadInput, match="has no sound, and the field egstalker is driven by speech"):
        fit(mute, tmp_path / "a", replace(CONFIG, field="egstalker"))
    assert not (tmp_path / "a").exists() and not partial_folder(tmp_path / "a").exists()
    deaf = fit(mute, tmp_path / "b", replace(CONFIG, field="embedding", steps=3))
    assert deaf.driving.speech_basis.shape[1] == 0


def test_designs_of_speech_do_not_see_the_mouth(talking):
    """Neither through the mesh nor in their features: an open jaw changes nothing of them, a blink does."""
    trainer = _make_trainer(talking, replace(CONFIG, field="talking_gaussian"))
    driving, motion = trainer.avatar.driving, talking.motion[:1]

    def seen(action: str) -> float:
        expression = motion.expression.copy()
        expression[:, ARKIT_INDEX[action]] += 0.5
        a, b = driving.prepare(motion), driving.prepare(replace(motion, expression=expression))
        np.testing.assert_array_equal(a.motion.expression, b.motion.expression)
        return float((a.features - b.features).abs().max())

    assert seen("jawOpen") == 0 and seen("eyeBlinkLeft") > 0.1
    trainer.step = 1000  # in the stage that refines motion
    for _ in range(3):
        trainer.train_step()
    assert trainer.refiner.delta[:, :6].abs().max() > 0 and trainer.refiner.delta[:, 6:].abs().max() == 0


def test_speech_is_heard_at_its_time(talking, speech):
    """Speech features follow the clip's clock, and another level of the sound changes nothing."""
    space = DrivingSpace.of(talking.motion, 4, speech, 6)
    features = space.prepare(talking.motion, speech).features[:, space.speech_columns]
    assert features.shape == (80, 6) and 0.5 < features.std() < 2
    late = space.prepare(talking.motion[20:40], speech).features[:, space.speech_columns]
    torch.testing.assert_close(late, features[20:40])
    assert (space.prepare(talking.motion).features[:, space.speech_columns] == 0).all()
    windows = torch.from_numpy(audio_windows(speech, talking.motion.timestamps_seconds))
    whole = attention_windows(windows.numpy())
    for index in (0, 2, 40, 77, 79):
        np.testing.assert_array_equal(windows_around(windows, index), whole[index])
    from avatar.motion.audio import load_audio

    quiet = cepstra(0.5 * load_audio(talking.audio_path))
    assert np.abs(quiet.rows - speech.rows)[20:].mean() < 0.05 * np.abs(speech.rows).mean()


class Swing(Field):
    """A field that is linear in what drives it, with all that baking has to keep."""

    def forward(self, points: Points, controls: Controls) -> Offsets:
        push = 1e-3 * (controls.expression[0] + 0.5 * controls.pose[1])
        means = points.unit * push + torch.tensor([0.0, 0.0, 2e-3])
        return Offsets(means, (controls.expression[1] - 0.2).expand(len(means)))


def test_baking_a_linear_field_loses_nothing(capture, tiny_avatar):
    head, neutral = tiny_avatar.head, tiny_avatar.neutral
    layers = tiny_avatar.layers
    sizes = Sizes(len(layers.head.means), tiny_avatar.driving.basis.shape[1], 13)
    swinging = replace(layers, field=BoundField(Swing(), Rest(head, neutral), sizes))
    prepared = tiny_avatar.own
    baked = bake(swinging, (prepared.frame(i) for i in range(0, 60)))
    assert baked.missed_mm < 0.06 * baked.moved_mm and baked.layers.field is None
    for index in (5, 70):
        a, b = (x.gaussians(head, neutral, prepared.frame(index)) for x in (swinging, baked.layers))
        assert (a.means - b.means).norm(dim=1).max() < 5e-4
        assert (a.opacities - b.opacities).abs().max() < 0.05
    still = layers.gaussians(head, neutral, prepared.frame(5))
    assert (a.means[: len(layers.head.means)] - still.means[: len(layers.head.means)]).norm(dim=1).median() > 1e-3
    with pytest.raises(ValueError, match="a field that can be baked"):
        bake(layers, [prepared.frame(0)])
    with pytest.raises(ValueError, match="at least one"):
        bake(swinging, [])


def test_codes_move_along_with_their_gaussians(talking):
    trainer = _make_trainer(talking, replace(CONFIG, field="embedding"))
    head, codes = trainer.layers.head, trainer.layers.per_gaussian()[0]
    with torch.no_grad():
        head.opacity_logits[7] = -6.0
    before = head.triangles.clone()
    trainer.gradient_sum[:] = 0
    trainer.gradient_sum[11] = 1
    relocate(trainer)
    assert head.triangles[7] == before[11] and torch.equal(codes[7], codes[11])


def test_an_interrupted_field_ends_as_an_uninterrupted_one(talking, tmp_path, monkeypatch):
    config = replace(CONFIG, field="embedding")
    whole = load(fit(talking, tmp_path / "whole", config).path, exact=True)
    train_step = Trainer.train_step

    def interrupted(self):
        if self.step == 23 and not (partial_folder(tmp_path / "parts") / "checkpoint.safetensors").exists():
            raise KeyboardInterrupt
        train_step(self)

    monkeypatch.setattr(Trainer, "train_step", interrupted)
    with pytest.raises(Interrupted):
        fit(talking, tmp_path / "parts", config)
    parts = load(fit(talking, tmp_path / "parts", config).path, exact=True)
    for name, tensor in whole.layers.tensors().items():
        assert torch.equal(tensor, parts.layers.tensors()[name]), name


def test_a_damaged_field_is_named(talking, tmp_path):
    avatar = fit(talking, tmp_path / "a", replace(CONFIG, field="hash_triplane", steps=3))
    file = tmp_path / "a" / "field.safetensors"
    file.write_bytes((tmp_path / "a" / "avatar.safetensors").read_bytes())
    assert load(avatar.path).path == avatar.path
    with pytest.raises(FormatMismatch, match=r"field\.safetensors does not hold this avatar's field"):
        load(avatar.path, exact=True)


def test_face_and_mouth_learn_apart(talking):
    """In the mouth's turn only what lies behind the lips learns, from the pixels between them; then they are fused."""
    trainer = _make_trainer(talking, replace(CONFIG, field="talking_gaussian", steps=400))
    apart, head = trainer.apart, trainer.layers.head
    assert apart and apart.turn(3) == "mouth" and apart.turn(4) == "face"
    inside, outside = apart.others("face", 0), apart.others("mouth", 0)
    assert (inside ^ outside).all()
    trainer.step = 60
    surface = torch.arange(len(head.means)) < CONFIG.head_gaussians

    def moved(names: tuple[str, ...], steps: int) -> dict[str, torch.Tensor]:
        before = {name: getattr(head, name).detach().clone() for name in names}
        for _ in range(steps):
            trainer.train_step()
        return {name: (getattr(head, name) - t).detach().abs().flatten(1).amax(1) for name, t in before.items()}

    opening = apart.frame(0.0, trainer.generator)
    assert opening in trainer.split.train
    change = moved(("means",), 1)["means"]  # the step with number 60 is the mouth's
    in_mouth = trainer.layers.field.rest.in_mouth(head.triangles)
    assert change[in_mouth].max() > 1e-5 and change[surface & ~in_mouth].max() < 1e-9
    trainer.step = 390
    change = moved(("means", "colors"), 3)
    assert change["means"][surface].max() < 1e-9 < change["colors"].max()
