"""The motion prior: its space, its hearing, its network in torch and in numpy, training, sampling, streaming, files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_prior import SMALL, geometry, speaking

from avatar.errors import BadInput, FormatMismatch
from avatar.files import load_tensors, save_tensors
from avatar.head import load_head
from avatar.head.arkit import ARKIT_INDEX
from avatar.motion.eye_angles import gaze_degrees, with_gaze
from avatar.motion.face_geometry import FaceGeometry
from avatar.motion.groups import GROUP_NAMES, GROUPS
from avatar.motion.hearing import FPS, WIDTH, Hearing, frames_of, hear
from avatar.motion.prior import network as torch_network
from avatar.motion.prior.checkpoint import Prior
from avatar.motion.prior.data import Material, material_of, split_take
from avatar.motion.prior.drive import drive, redo
from avatar.motion.prior.forward import Given
from avatar.motion.prior.noise import noise, slow_of
from avatar.motion.prior.rolling import Rolling
from avatar.motion.prior.sampling import Sampling
from avatar.motion.prior.schedule import Schedule, advanced, mix_of
from avatar.motion.prior.training import Trainer, job_of, train


@pytest.fixture(scope="module")
def material() -> Material:
    torch.set_num_threads(1)
    return material_of([speaking(14, 1)], geometry())


@pytest.fixture(scope="module")
def prior(material: Material, tmp_path_factory: pytest.TempPathFactory) -> Prior:
    return train(material, SMALL, tmp_path_factory.mktemp("prior") / "state", "test")


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return speaking(6, 2).samples_16k


def test_a_motion_survives_its_space(material: Material):
    take, space = speaking(5, 4), material.prior.space
    back = space.decode(space.encode(take.motion), take.motion.timestamps_seconds)
    assert np.abs(back.quats_wxyz - take.motion.quats_wxyz).max() < 1e-4
    others = [i for name in ("lids", "gaze") for i in GROUPS[name]]
    assert np.abs(back.expression[:, others] - take.motion.expression[:, others]).max() < 1e-3
    lips = geometry().lips(back.expression) - geometry().lips(take.motion.expression)
    moved = geometry().lips(take.motion.expression) - geometry().lips(take.motion.expression.mean(0, keepdims=True))
    assert (lips**2).mean() < 0.02 * (moved**2).mean()


def test_gaze_reads_what_it_set():
    gaze = np.array([[10.0, 5.0, 2.0], [-12.0, -8.0, 0.0], [0.0, 0.0, 6.0]])
    expression = with_gaze(np.zeros((3, 52)), gaze)
    np.testing.assert_allclose(gaze_degrees(expression), gaze, atol=1e-9)
    assert (expression >= 0).all()
    np.testing.assert_array_equal(
        with_gaze(0 * expression, gaze[:, :2])[0], with_gaze(0 * expression, gaze * (1, 1, 0))[0]
    )


def test_another_rest_moves_the_same_way(material: Material):
    space, rest = material.prior.space, np.full(52, 0.1, np.float32)
    x = space.encode(speaking(5, 4).motion)
    own, other = (space.decode(x, np.arange(len(x)) / FPS, r) for r in (None, rest))
    lips = list(GROUPS["lips"])
    moved = other.expression[:, lips] - own.expression[:, lips]
    np.testing.assert_allclose(moved, np.broadcast_to((rest - space.rest_expression)[lips], moved.shape), atol=1e-5)


@pytest.mark.parametrize("chunks", [(1, 2, 3), (160,), (777, 5000), (1_000_000,)])
def test_sound_in_pieces_is_heard_as_at_once(speech: np.ndarray, chunks: tuple[int, ...]):
    samples = speech[: 16_000 if min(chunks) < 10 else None]
    hearing, rows, place, turn = Hearing(), [], 0, 0
    while place < len(samples):
        size = chunks[turn % len(chunks)]
        rows.append(hearing.feed(samples[place : place + size]))
        place, turn = place + size, turn + 1
    rows.append(hearing.finish())
    whole = hear(samples)
    assert whole.shape == (frames_of(len(samples)), WIDTH)
    assert (np.concatenate(rows) == whole).all()


@pytest.mark.parametrize("samples", [np.zeros(160), np.zeros(1), np.zeros(16_000 * 2), np.ones(4000)])
def test_any_sound_has_finite_rows(samples: np.ndarray):
    rows = hear(samples)
    assert rows.shape == (frames_of(len(samples)), WIDTH) and np.isfinite(rows).all()


def test_gain_hardly_changes_what_is_heard(speech: np.ndarray):
    loud, soft = hear(speech), hear(0.25 * speech)
    later = slice(50, None)  # once the running mean has settled
    assert np.abs(loud - soft)[later].mean() < 0.5 * np.abs(hear(speech[::-1].copy()) - loud)[later].mean()


def test_numpy_and_torch_agree(prior: Prior):
    rng = np.random.default_rng(1)
    t, d = 20, prior.space.size
    sound, partner = rng.standard_normal((2, t, WIDTH)).astype(np.float32)
    heard = (np.arange(t) < 12).astype(np.float32)
    given = Given(sound, heard, partner, heard, prior.style, 1.0)
    levels = rng.random((t, len(GROUP_NAMES))).astype(np.float32)
    x = rng.standard_normal((t, d)).astype(np.float32)
    mine = prior.network()(x, levels, given)
    shape = torch_network.NetworkShape(tuple(prior.space.group.tolist()), SMALL.width, SMALL.blocks)
    network = torch_network.PriorNetwork(shape).eval()
    assert prior.weights is not None
    network.load_state_dict({k: torch.from_numpy(v) for k, v in prior.weights.items()})
    batch = [torch.from_numpy(a)[None] for a in (sound, heard, partner, heard, prior.style)]
    conditions = torch_network.Conditions(*batch, torch.ones(1))
    with torch.no_grad():
        theirs = network(torch.from_numpy(x)[None], torch.from_numpy(levels)[None], conditions)[0].numpy()
    np.testing.assert_allclose(mine, theirs, atol=2e-5)


def test_training_learns_and_goes_on_where_it_was(material: Material, prior: Prior, tmp_path: Path):
    state, trainer = tmp_path / "state", Trainer(material, SMALL)
    for _ in range(11):
        trainer.advance()
    trainer.save(state, job_of(SMALL, "test"))
    resumed = train(material, SMALL, state, "test")
    assert prior.weights is not None and resumed.weights is not None
    for name, weights in prior.weights.items():
        np.testing.assert_array_equal(weights, resumed.weights[name], err_msg=name)
    longer = Trainer(material, replace(SMALL, steps=80))
    losses = [longer.advance() for _ in range(80)]
    assert np.mean(losses[-15:]) < 0.75 * np.mean(losses[:15])


def test_a_personalised_prior_keeps_the_space_and_rests_as_its_person(prior: Prior):
    other = speaking(14, 7)
    lifted = other.motion.expression.copy()
    lifted[:, GROUPS["upper"][0]] += 0.2
    other = replace(other, motion=replace(other.motion, expression=lifted))
    theirs = material_of([other], geometry(), prior)
    larger = replace(SMALL, steps=2, width=48, blocks=3)
    mine = train(theirs, larger, start=prior)
    assert prior.weights is not None and mine.weights is not None
    assert {k: w.shape for k, w in mine.weights.items()} == {k: w.shape for k, w in prior.weights.items()}
    assert (mine.about["config"]["width"], mine.about["config"]["blocks"]) == (SMALL.width, SMALL.blocks)
    np.testing.assert_array_equal(mine.space.rest_expression, other.face_at_rest)
    assert np.abs(mine.space.rest_expression - prior.space.rest_expression).max() > 0.15
    kept = {k: a for k, a in prior.space.arrays().items() if k != "space.rest_expression"}
    for name, array in kept.items():
        np.testing.assert_array_equal(mine.space.arrays()[name], array, err_msg=name)
    anew = train(theirs, larger, start=replace(prior, weights=None))  # only L0 was shared
    assert anew.weights is not None and len(anew.weights["enter.weight"]) == larger.width


def test_a_file_holds_the_whole_prior(prior: Prior, speech: np.ndarray, tmp_path: Path):
    prior.save(tmp_path / "me.prior")
    again = Prior.load(tmp_path / "me.prior")
    for rung in ("l0", "flow"):
        one, two = (drive(p, speech, seed=3, rung=rung) for p in (prior, again))
        np.testing.assert_allclose(one.expression, two.expression, atol=1e-6)
    assert again.about["seconds"] == 14.0


def test_damaged_priors_are_refused(prior: Prior, tmp_path: Path):
    path = tmp_path / "me.prior"
    with pytest.raises(BadInput, match="no prior"):
        Prior.load(path)
    path.write_bytes(b"something else")
    with pytest.raises(FormatMismatch, match="can't read"):
        Prior.load(path)
    replace(prior, space=replace(prior.space, deviation=0 * prior.space.deviation)).save(path)
    with pytest.raises(FormatMismatch, match="deviation of 0"):
        Prior.load(path)
    replace(prior, style=np.full_like(prior.style, np.nan)).save(path)
    with pytest.raises(FormatMismatch, match="not finite"):
        Prior.load(path)
    prior.save(path)
    tensors, about = load_tensors(path, "it")
    save_tensors(path, tensors | {"style.own": torch.zeros(5)}, about)
    with pytest.raises(FormatMismatch, match=r"style\.own"):
        Prior.load(path)
    save_tensors(path, tensors, about | {"schema": "visavis.prior/0"})
    with pytest.raises(FormatMismatch, match="this version reads"):
        Prior.load(path)


def test_the_same_seed_moves_the_same_way(prior: Prior, speech: np.ndarray):
    one, two, other = (drive(prior, speech, seed=s) for s in (1, 1, 2))
    assert (one.expression == two.expression).all() and (one.quats_wxyz == two.quats_wxyz).all()
    assert (one.quats_wxyz != other.quats_wxyz).any()
    assert len(one) == frames_of(len(speech)) and len(drive(prior, speech, seed=1, fps=30)) == 180


def test_noise_belongs_to_its_frame_and_is_as_slow_as_the_motion():
    slow = np.array([True, True, False])
    drawn = noise(1, -7, 4000, slow)
    np.testing.assert_array_equal(drawn[10:50], noise(1, 3, 40, slow))
    assert drawn.std(0) == pytest.approx(1, abs=0.15) and (noise(2, -7, 50, slow) != drawn[:50]).all()
    assert np.diff(drawn, axis=0).std(0) == pytest.approx([0.088, 0.088, 1.41], rel=0.1)


@pytest.mark.parametrize("schedule", ["flow", "ddpm"])
def test_a_way_begins_with_noise_and_ends_with_motion(schedule: Schedule):
    levels = np.linspace(0, 1, 11, dtype=np.float32)
    motion, noises = mix_of(levels, schedule)
    assert (motion[0], noises[0], motion[-1], noises[-1]) == (0, 1, 1, 0)
    assert (np.diff(motion) > 0).all() and (np.diff(noises) < 0).all()
    if schedule == "ddpm":
        np.testing.assert_allclose(motion**2 + noises**2, 1, atol=1e-6)
        np.testing.assert_allclose(motion**2, np.sin(np.pi / 2 * levels) ** 2, atol=0.011)
    x, true = np.random.default_rng(0).standard_normal((2, 50))
    for level, after in zip(levels[:-1], levels[1:], strict=True):
        noisy = motion[levels == level] * true + noises[levels == level] * x
        there = advanced(noisy, true, level, after - level, schedule)
        np.testing.assert_allclose(there, motion[levels == after] * true + noises[levels == after] * x, atol=1e-5)


def test_the_ddpm_schedule_trains_and_drives(material: Material, prior: Prior, speech: np.ndarray, tmp_path: Path):
    other = train(material, replace(SMALL, schedule="ddpm"))
    assert (other.schedule, prior.schedule) == ("ddpm", "flow")
    other.save(tmp_path / "ddpm.prior")
    assert Prior.load(tmp_path / "ddpm.prior").schedule == "ddpm"
    one, two = drive(other, speech, seed=1), drive(prior, speech, seed=1)
    assert np.isfinite(one.expression).all() and (one.expression != two.expression).any()


def test_what_is_nearly_there_hardly_depends_on_the_network(prior: Prior):
    """Of slow numbers the network tells the rest of the way; what is known stays as it is."""
    network, space = prior.network(), prior.space
    x = np.random.default_rng(0).standard_normal((30, space.size)).astype(np.float32)
    nothing = np.zeros((30, WIDTH), np.float32)
    given = Given(nothing, np.zeros(30, np.float32), nothing, np.zeros(30, np.float32), prior.style, 1.0)
    slow = slow_of(space.group)
    for level, most in ((1.0, 1e-6), (0.99, 0.1)):
        found = network(x, np.full((30, len(GROUP_NAMES)), level, np.float32), given)
        assert np.abs(found - x)[:, slow].max() < most
    assert slow[space.slices["head"]].all() and not slow[space.slices["lips"]].any()


def test_guidance_makes_the_sound_count_more(prior: Prior, speech: np.ndarray):
    plain, strong, deaf = (
        drive(prior, speech, seed=1, sampling=Sampling(guidance=dict.fromkeys(GROUP_NAMES, w))) for w in (1.0, 3.0, 0.0)
    )
    other = drive(prior, speech[::-1].copy(), seed=1, sampling=Sampling(guidance=dict.fromkeys(GROUP_NAMES, 0.0)))
    np.testing.assert_array_equal(deaf.expression, other.expression)
    lips = list(GROUPS["lips"])
    one, three = (np.abs(m.expression - deaf.expression)[:, lips].mean() for m in (plain, strong))
    assert three > 1.5 * one > 0


def test_long_speech_has_no_seams(prior: Prior):
    samples = speaking(14, 6).samples_16k
    motion = drive(prior, samples, seed=0)
    assert len(motion) == 350 and np.isfinite(motion.expression).all()
    assert (motion.expression >= -0.15).all() and (motion.expression <= 1.15).all()


def test_what_is_not_redone_stays_to_the_bit(prior: Prior, speech: np.ndarray):
    motion = drive(prior, speech, seed=1)
    redone = redo(prior, motion, speech, groups=["head"], seed=9)
    assert (redone.expression == motion.expression).all() and (redone.quats_wxyz != motion.quats_wxyz).any()
    part = redo(prior, motion, speech, groups=["lips"], spans_seconds=[(1.0, 2.0)], seed=9)
    inside = (motion.timestamps_seconds >= 1) & (motion.timestamps_seconds < 2)
    assert (part.expression[~inside] == motion.expression[~inside]).all()
    assert (part.quats_wxyz == motion.quats_wxyz).all()
    others = [i for name in ("upper", "lids", "gaze") for i in GROUPS[name]]
    assert (part.expression[:, others] == motion.expression[:, others]).all()
    assert (part.expression[inside] != motion.expression[inside]).any()


def test_impossible_wishes_are_refused(prior: Prior, material: Material, speech: np.ndarray):
    motion = drive(prior, speech, seed=1)
    with pytest.raises(BadInput, match="unknown group 'ears'"):
        redo(prior, motion, speech, groups=["ears"], seed=0)
    with pytest.raises(BadInput, match="ends before it begins"):
        redo(prior, motion, speech, spans_seconds=[(2, 1)], seed=0)
    with pytest.raises(BadInput, match="unknown group"):
        Sampling(guidance={"ears": 1.0})
    with pytest.raises(BadInput, match="out of range"):
        Sampling(temperature={"lips": 7.0})
    with pytest.raises(BadInput, match="cannot talk"):
        drive(prior, np.full(100, np.nan), seed=0)
    with pytest.raises(BadInput, match="no flow network"):
        drive(material.prior, speech, seed=0)
    with pytest.raises(BadInput, match="too little to learn"):
        material_of([speaking(4, 1)], geometry())


@pytest.mark.parametrize("sizes", [(1_000_000,), (333, 4000)])
def test_a_stream_is_the_same_in_any_pieces(prior: Prior, speech: np.ndarray, sizes: tuple[int, ...]):
    def streamed(chunks: list[np.ndarray]) -> np.ndarray:
        hearing, rolling, out = Hearing(prior.level), Rolling(prior, seed=4, lookahead=3), []
        for chunk in chunks:
            rolling.feed(hearing.feed(chunk))
            out += [rolling.take() for _ in range(rolling.ready)]
        rolling.feed(hearing.finish())
        rolling.finish()
        return np.stack(out + [rolling.take() for _ in range(rolling.ready)])

    whole, place, pieces = streamed([speech]), 0, []
    while place < len(speech):
        pieces.append(speech[place : place + sizes[len(pieces) % len(sizes)]])
        place += len(pieces[-1])
    assert len(whole) == frames_of(len(speech))
    assert (streamed(pieces) == whole).all()


def test_a_take_is_split_in_time(speech: np.ndarray):
    take = speaking(14, 1)
    train_part, test_part = split_take(take)
    assert train_part.motion.timestamps_seconds[-1] < 0.85 * 14 - 0.9
    assert test_part.motion.timestamps_seconds[0] == 0
    assert abs(len(test_part.samples_16k) / 16_000 - 0.15 * 14) < 0.1
    np.testing.assert_array_equal(test_part.motion.expression[-1], take.motion.expression[-1])
    np.testing.assert_array_equal(test_part.samples_16k[-100:], take.samples_16k[-100:])


def test_real_heads_open_their_lips_with_the_jaw():
    face = FaceGeometry.of(load_head())
    expression = np.zeros((3, 52), np.float32)
    expression[1, ARKIT_INDEX["jawOpen"]], expression[2, ARKIT_INDEX["mouthClose"]] = 1, 0.2
    rest, opened, closed = face.aperture(expression)
    assert opened - rest > 0.02 and closed < rest
    assert np.linalg.norm(face.lips(expression)[1] - face.lips(expression)[0], axis=-1).max() > 0.01
