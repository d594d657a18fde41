"""Speakers without a picture: each moves in his own way, the same in all that he says; and he listens."""

from __future__ import annotations

import shutil
import subprocess
import sys
import wave
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from make_capture import info, small_capture, tracks
from scipy.ndimage import binary_dilation, binary_erosion, maximum_filter1d
from scipy.spatial.transform import Rotation

from avatar.driving import DrivingSpace
from avatar.errors import BadInput
from avatar.head.arkit import ARKIT_INDEX
from avatar.motion.audio import RATE
from avatar.motion.features import features
from avatar.motion.phones import SOUNDS, Phone, during
from avatar.motion.rules import drive
from avatar.motion.takes import Take, about_pose
from avatar.tracks import MOTION_FIELDS
from preprocess.capture import CaptureFolder
from preprocess.capture.files import save_info, save_tracks
from preprocess.sound.audio import write_samples
from preprocess.studio import StudioConfig
from preprocess.studio.acting import perform
from preprocess.studio.dialogue import filled
from preprocess.studio.gestures import said
from preprocess.studio.manner import Manner
from preprocess.studio.speakers import conversation, recital
from preprocess.studio.speech import make_speech
from preprocess.studio.voice import Delivery, nonsense, synthesise

FILMED = {
    0: (-0.03765, 0.99910, -0.01281, 0.01442, -0.00191, 0.02432, 0.72146, 383.42041, 2148.32910),
    1: (0.02981, 0.99896, -0.01137, 0.03262, -0.00038, 0.02051, 0.90507, 284.06281, 2730.64307),
    2: (0.01883, 0.99975, 0.01124, -0.00328, -0.00119, 0.01772, 0.74423, 359.80261, 3864.91113),
    3: (-0.01582, 0.99984, 0.00667, 0.00566, -0.00525, 0.02368, 0.77470, 404.86395, 3434.99731),
    4: (-0.00990, 0.99978, -0.01847, 0.00060, -0.00235, 0.02112, 1.07991, 360.81992, 2393.80469),
    5: (-0.01554, 0.99984, 0.00509, 0.00784, 0.00509, 0.01987, 0.60576, 428.60968, 2532.61865),
}
"""Pose of frame 120, sum of all actions and loudness of 8 s of the studio's subjects, as published tables were made."""
SECONDS = 50.0
JAW, BLINK = ARKIT_INDEX["jawOpen"], ARKIT_INDEX["eyeBlinkLeft"]


def angles(take: Take) -> np.ndarray:
    """Yaw, pitch and roll in degrees, as they went in."""
    return Rotation.from_quat(take.motion.quats_wxyz, scalar_first=True).as_euler("YXZ", degrees=True)


def blinks(take: Take) -> int:
    return int((np.diff((take.motion.expression[:, BLINK] > 0.6).astype(int)) == 1).sum())


def equal(a: Take, b: Take) -> bool:
    same = all(np.array_equal(getattr(a.motion, f), getattr(b.motion, f)) for f in MOTION_FIELDS)
    return same and np.array_equal(a.samples_16k, b.samples_16k) and a.phones == b.phones and a.speaker == b.speaker


@pytest.mark.parametrize("seed", FILMED)
def test_those_who_are_filmed_move_as_they_always_did(seed):
    assert Manner.usual() == Manner()
    speech = make_speech(StudioConfig(seconds=8.0, seed=seed))
    pivot = np.array([0, -0.06, -0.06])
    motion = perform(speech, pivot, seed=seed, seconds=8.0, fps=25.0, size=512, wobble_mm=0).motion
    got = (*motion.quats_wxyz[120], *motion.translation[120], motion.expression.sum(), abs(speech.samples_16k).sum())
    np.testing.assert_allclose(got, FILMED[seed], rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def takes() -> dict[tuple[int, int], Take]:
    """Two speakers, two texts each, by (speaker, text)."""
    return {(who, text): recital(who, SECONDS, text_seed=text) for who in (6, 9) for text in (1, 2)}


def test_a_recital_is_the_same_each_time(takes):
    short = recital(6, 12, text_seed=1)
    assert equal(short, recital(6, 12, text_seed=1))
    assert not equal(short, recital(6, 12, text_seed=3)) and not equal(short, recital(7, 12, text_seed=1))


def test_takes_are_whole(takes):
    for take in takes.values():
        assert len(take.motion) == len(take.confidence) == SECONDS * 25 and len(take.samples_16k) == SECONDS * RATE
        assert take.motion.timestamps_seconds[0] == 0 and take.motion.fps == pytest.approx(25)
        assert take.confidence.min() == 1 and take.partner_16k is None
        assert take.phones[0].start_seconds == 0 and take.phones[-1].end_seconds == pytest.approx(SECONDS)
        assert 0 <= take.motion.expression.min() and take.motion.expression.max() <= 1
    assert recital(6, 3, text_seed=1, fps=30).motion.fps == pytest.approx(30)


def test_a_speaker_keeps_his_manner_and_another_has_his_own(takes):
    def habits(take: Take) -> np.ndarray:
        """Openness of the mouth in vowels, blinks per second, sway in degrees, pitch in Hz."""
        talking = take.motion.expression[:, JAW]
        heard = features(take.samples_16k)
        sway = np.subtract(*np.percentile(angles(take)[:, 2], (75, 25)))  # few turns reach into the middle half
        pitch = np.median(heard.f0_hz[heard.voiced])
        return np.array([np.percentile(talking, 90), blinks(take) / SECONDS, sway, pitch])

    mine, again, other, other_again = (habits(takes[key]) for key in ((6, 1), (6, 2), (9, 1), (9, 2)))
    for one, two in ((mine, again), (other, other_again)):
        np.testing.assert_allclose(one / two, 1, atol=0.35)
    apart = np.abs(np.log(mine / other))
    assert (apart > 1.5 * np.abs(np.log(mine / again))).all(), (mine, again, other)
    assert apart[0] > 0.15 and apart[1] > 0.5


def test_manners_and_voices_are_wide_apart():
    manners, voices = [Manner.of(seed) for seed in range(60)], [Delivery.of(seed) for seed in range(60)]
    for name in ("blink_every_seconds", "sway_degrees", "nod_degrees", "turn_every_seconds", "straying"):
        values = [getattr(manner, name) for manner in manners]
        assert max(values) > 2.5 * min(values)
    assert min(m.effort[0] for m in manners) < 0.4 and max(m.effort[1] for m in manners) > 0.8
    assert min(v.formants for v in voices) < 0.9 and max(v.formants for v in voices) > 1.2
    assert min(v.pitch_hz[0] for v in voices) < 100 and max(v.pitch_hz[1] for v in voices) > 270
    assert Manner.of(3) == Manner.of(3) != Manner.of(4)


def test_heads_turn_about_the_identity_at_the_origin_as_by_rule(takes):
    for take in takes.values():
        mean = Rotation.from_quat(take.motion.quats_wxyz, scalar_first=True).mean()
        assert np.degrees(mean.magnitude()) < 6
        assert np.abs(take.motion.translation.mean(0)).max() < 0.02
    by_rule = drive(takes[6, 1].samples_16k, seed=0)
    assert np.degrees(Rotation.from_quat(by_rule.quats_wxyz, scalar_first=True).mean().magnitude()) < 6


def test_heads_nod_on_what_is_stressed():
    take = recital(1, 40, text_seed=1)
    pitch, accents = angles(take)[:, 1], said(take.samples_16k).accents_seconds
    lower = [pitch[round(at * 25)] - pitch[max(round(at * 25) - 10, 0)] for at in accents]
    assert len(accents) > 12 and np.mean(lower) > 0.3 * Manner.of(1).nod_degrees


def test_a_rest_is_silent_and_lips_rest(takes):
    rests = [
        (take, phone)
        for take in takes.values()
        for phone in take.phones
        if phone.name == "pau" and phone.end_seconds - phone.start_seconds > 2
    ]
    assert len(rests) >= 2
    for take, rest in rests:
        start, end = rest.start_seconds + 0.3, rest.end_seconds - 0.3
        seconds = take.motion.timestamps_seconds
        assert take.motion.expression[(seconds > start) & (seconds < end), JAW].max() < 0.02
        assert np.abs(take.samples_16k[round(start * RATE) : round(end * RATE)]).max() < 0.01
        assert rest.end_seconds - rest.start_seconds < 5.5


def test_what_is_stressed_is_louder_higher_and_wider():
    delivery = replace(Delivery.of(1), accent=1.0, rests=0.0, melody=0.0)
    phones = nonsense(30, 4, delivery)
    samples = synthesise(phones, 30, 4, delivery)
    heard = features(samples)

    vowels = [p for p in phones if SOUNDS[p.name].vowel]

    def mean(track: np.ndarray, stressed: bool) -> float:
        middles = [(p.start_seconds + p.end_seconds) / 2 for p in vowels if (p.stress > 0) == stressed]
        values = track[np.searchsorted(heard.timestamps_seconds, middles)]
        return float(np.median(values[values != 0]))

    assert mean(heard.energy_db, True) > mean(heard.energy_db, False) + 2
    assert mean(heard.f0_hz, True) > 1.08 * mean(heard.f0_hz, False)
    assert not any(p.stress for p in nonsense(30, 4))


def test_noise_is_heard_not_seen():
    clean, noisy = (recital(2, 6, text_seed=1, noise_dbfs=dbfs) for dbfs in (None, -40))
    np.testing.assert_array_equal(clean.motion.expression, noisy.motion.expression)
    noise = noisy.samples_16k - clean.samples_16k
    assert 20 * np.log10(noise.std()) == pytest.approx(-40, abs=0.2)


@pytest.fixture(scope="module")
def talk() -> tuple[Take, Take]:
    return conversation(2, 8, 60, text_seed=3)


def voiced(take: Take) -> np.ndarray:
    """Whether he says something, per frame."""
    seconds, out = take.motion.timestamps_seconds, np.zeros(len(take.motion), bool)
    for phone in take.phones:
        out[during(phone, seconds)] = phone.name != "pau"
    return out


def test_they_talk_in_turns_and_hear_each_other(talk):
    one, other = talk
    np.testing.assert_array_equal(one.partner_16k, other.samples_16k)
    np.testing.assert_array_equal(other.partner_16k, one.samples_16k)
    a, b = voiced(one), voiced(other)
    assert min(a.mean(), b.mean()) > 0.2 and 0 < (a & b).mean() < 0.08
    for take in talk:
        assert take.phones[0].start_seconds == 0 and take.phones[-1].end_seconds == pytest.approx(60)
        assert all(p.end_seconds == q.start_seconds for p, q in pairwise(take.phones))
        assert len(take.samples_16k) == len(take.partner_16k) == 60 * RATE


def test_a_conversation_is_the_same_each_time():
    short, again, other = (conversation(2, 8, 6, text_seed=text) for text in (3, 3, 4))
    assert equal(short[0], again[0]) and equal(short[1], again[1]) and not equal(short[0], other[0])
    assert len(conversation(2, 8, 0.5, text_seed=3)[0].motion) == 12  # too short for a word


def test_listeners_keep_their_lips_still_and_nod_at_pauses(talk):
    nodded, by_chance = [], []
    for take, other in (talk, talk[::-1]):
        quiet = ~binary_dilation(voiced(take), iterations=8)
        listening = quiet & binary_dilation(voiced(other), iterations=15)
        assert listening.mean() > 0.2
        shaped = take.motion.expression[:, [JAW, ARKIT_INDEX["mouthPucker"], ARKIT_INDEX["mouthStretchLeft"]]]
        assert shaped[listening].max() < 0.02 and shaped[~quiet, 0].max() > 0.2
        pitch = angles(take)[:, 1]
        lower = maximum_filter1d(pitch, 36, origin=-18) - pitch  # how far it goes down within the next 1.4 s
        ends = np.flatnonzero(np.diff(said(other.samples_16k).speaking.astype(int)) == -1) // 4
        nodded += [lower[end] for end in ends if listening[end : end + 25].all()]
        by_chance += lower[listening].tolist()
    assert len(nodded) >= 6 and np.median(nodded) > 1.5 and np.median(nodded) > 3 * np.median(by_chance)


def test_listeners_look_at_the_speaker_and_blink(talk):
    look = [i for name, i in ARKIT_INDEX.items() if name.startswith("eyeLook")]
    strayed, alone = [], []
    for take, other in (talk, talk[::-1]):
        listening = binary_erosion(binary_dilation(voiced(other), iterations=12) & ~voiced(take), iterations=12)
        strayed.append(take.motion.expression[listening][:, look].mean())
        alone.append(take.motion.expression[voiced(take)][:, look].mean())
        assert (take.motion.expression[listening, BLINK] > 0.5).any()
    assert np.mean(strayed) < 0.8 * np.mean(alone)


@pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")
def test_flite_speaks_with_other_voices():
    one, other = (recital(who, 8, text_seed=1, voice="flite") for who in (6, 10))
    pitches = []
    for take, who in ((one, 6), (other, 10)):
        heard = features(take.samples_16k)
        pitches.append(np.median(heard.f0_hz[heard.voiced]))
        assert pitches[-1] == pytest.approx(np.mean(Delivery.of(who).pitch_hz), rel=0.12)
        assert np.percentile(take.motion.expression[:, JAW], 90) > 0.1
        assert all(p.end_seconds == q.start_seconds for p, q in pairwise(take.phones))
        assert take.phones[0].start_seconds == 0 and take.phones[-1].end_seconds == 8
    assert len(one.samples_16k) == 8 * RATE and one.phones != other.phones


def test_phones_are_put_in_order():
    phones = [
        Phone("aa", 0.2, 0.5),
        Phone("pau", 0.5, 1.0),
        Phone("m", 0.9, 1.1),
        Phone("iy", 1.4, 2.5),
        Phone("s", 3, 4),
    ]
    got = [(p.name, p.start_seconds, p.end_seconds) for p in filled(phones, 2.0)]
    ordered = [("pau", 0, 0.2), ("aa", 0.2, 0.5), ("pau", 0.5, 1), ("m", 1, 1.1), ("pau", 1.1, 1.4), ("iy", 1.4, 2)]
    assert got == ordered and filled([], 1.0) == [Phone("pau", 0.0, 1.0)]


@pytest.mark.parametrize("wrong", [{"seconds": 0}, {"seconds": 3, "fps": 1000}])
def test_impossible_recitals_are_refused(wrong):
    with pytest.raises(BadInput, match="nobody can speak so"):
        recital(1, **{"text_seed": 1, **wrong})


def captured(folder: Path, samples: np.ndarray | None) -> CaptureFolder:
    """A capture of four frames from 0 to 0.12 s, the third without a face."""
    path = small_capture(folder / "somebody.capture")
    turned = Rotation.from_euler("YXZ", [[0, 0, 0], [10, 0, 0], [90, 0, 0], [-4, 0, 0]], degrees=True)
    world = Rotation.from_matrix(np.diag([1.0, -1.0, -1.0])) * turned
    moved = np.array([[0, 0, 0.8], [0.01, 0, 0.8], [5, 5, 5], [0, 0.02, 0.8]], np.float32)
    torso = np.array([[0, 0, 0], [0.01, 0.02, 0.1], [0, 0, 0], [0, 0, 0]], np.float32)
    quats = world.as_quat(scalar_first=True).astype(np.float32)
    save_tracks(path, **{**tracks(), "quats_wxyz": quats, "translation": moved, "torso": torso})
    if samples is not None:
        with wave.open(str(path / "audio.wav"), "wb") as out:
            out.setparams((1, 2, RATE, 0, "NONE", ""))
            write_samples(out, samples)
        save_info(path, {**info(), "audio": True})
    return CaptureFolder.load(path)


def test_a_capture_is_a_take_about_its_mean_pose(tmp_path):
    capture = captured(tmp_path, np.linspace(0, 0.5, 16000, dtype=np.float32))
    take = Take.of_capture(capture)
    np.testing.assert_array_equal(take.confidence, [1, 1, 0, 1])
    np.testing.assert_allclose(angles(take)[[0, 1, 3], 0], [-2, 8, -6], atol=0.05)
    np.testing.assert_allclose(take.motion.translation[[0, 1, 3]].mean(0), 0, atol=1e-6)
    assert take.motion.translation[3, 1] < -0.01  # the picture's y axis points down, the head's up
    np.testing.assert_allclose(take.motion.torso[1], (0.01, -0.02, -0.1), atol=1e-3)
    assert len(take.samples_16k) == round((0.12 + 0.04) * RATE) and take.speaker == "somebody.capture"
    np.testing.assert_allclose(take.samples_16k, np.linspace(0, 0.5, 16000)[: len(take.samples_16k)], atol=1e-4)
    assert take.phones is None and take.partner_16k is None


def test_short_sound_is_followed_by_silence_and_none_is_refused(tmp_path):
    take = Take.of_capture(captured(tmp_path / "short", np.full(800, 0.5, np.float32)))
    assert len(take.samples_16k) == 2560 and take.samples_16k[799] > 0.4 and not take.samples_16k[800:].any()
    mute = captured(tmp_path / "mute", None)
    with pytest.raises(BadInput) as caught:
        Take.of_capture(mute)
    text = str(caught.value)
    assert "somebody.capture has no sound" in text and "expected: the capture of a video" in text and "next: " in text
    with pytest.raises(BadInput, match="shows no face"):
        unseen = captured(tmp_path / "unseen", np.zeros(800, np.float32))
        unseen.tracked[:] = False
        Take.of_capture(unseen)


def test_an_avatar_gets_back_the_pose_that_a_take_was_made_of(motion):
    space = DrivingSpace.of(motion)
    R, t = space.mean_rotation.double().numpy(), space.mean_translation.double().numpy()
    back = space.retarget(about_pose(motion, R, t), expression_is_relative=False)
    signs = np.sign((back.quats_wxyz * motion.quats_wxyz).sum(1, keepdims=True))
    np.testing.assert_allclose(back.quats_wxyz * signs, motion.quats_wxyz, atol=2e-3)


def test_takes_need_no_torch():
    code = "import sys, avatar.motion.takes, avatar.motion.rules; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
