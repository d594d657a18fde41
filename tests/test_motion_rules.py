import os
import re
import wave
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import lfilter

from avatar.errors import BadInput
from avatar.head.arkit import ARKIT_INDEX
from avatar.motion.blinks import blink_track, gaze_track, head_track
from avatar.motion.eye_angles import with_gaze
from avatar.motion.rules import drive
from avatar.motion.visemes import CUE_FPS, hear, mouth

JAW, PUCKER, STRETCH = (ARKIT_INDEX[n] for n in ("jawOpen", "mouthPucker", "mouthStretchLeft"))
SPEECH = Path(os.environ.get("VISAVIS_SPEECH_DATA", "/nonexistent"))


def vowel(formants, seconds=0.4, pitch=120.0):
    """A buzz through three resonances: enough of a vowel for formant cues."""
    n = int(seconds * 16000)
    buzz = lfilter(
        [1], [1, -0.95], np.arange(n) * pitch / 16000 % 1 < pitch / 16000
    )  # glottal pulses fall by 6 dB/octave
    for hz in formants:
        radius = np.exp(-np.pi * 90 / 16000)
        buzz = lfilter([1 - radius], [1, -2 * radius * np.cos(2 * np.pi * hz / 16000), radius**2], buzz)
    return 0.3 * buzz / np.abs(buzz).max() * np.minimum(1, np.minimum(np.arange(n), n - np.arange(n)) / 300)


def silence(seconds):
    return np.random.default_rng(0).normal(0, 1e-5, int(seconds * 16000))


A, EE, U, SCHWA = (750, 1200, 2500), (280, 2300, 3000), (300, 800, 2300), (500, 1500, 2500)


@pytest.fixture(scope="module")
def vowels():
    """Silence, a, silence, i, silence, u, silence, a long schwa; the first centres lie at 0.7, 1.6 and 2.5 s."""
    parts = [
        silence(0.5),
        vowel(A),
        silence(0.5),
        vowel(EE),
        silence(0.5),
        vowel(U),
        silence(0.5),
        vowel(SCHWA, 0.8),
        silence(0.5),
    ]
    return np.concatenate(parts)


def test_vowels_get_their_shapes(vowels):
    lips = mouth(vowels)
    a, i, u = (lips[int(t * CUE_FPS)] for t in (0.7, 1.6, 2.5))
    assert a[JAW] > 0.3 and a[JAW] > 1.3 * max(i[JAW], u[JAW])
    assert u[PUCKER] > 0.25 and u[PUCKER] > 3 * i[PUCKER]
    assert i[STRETCH] > 0.1 and i[STRETCH] > 3 * u[STRETCH]


def test_silence_closes_the_mouth(vowels):
    lips = mouth(vowels)
    for t in (0.2, 1.2, 2.1, 3.1):
        assert lips[int(t * CUE_FPS), JAW] < 0.04, t
    motion = drive(silence(2.0), seed=0)
    assert motion.expression[:, JAW].max() == 0
    assert drive(np.zeros(16000), seed=0).expression[:, JAW].max() == 0


def test_lips_are_in_time(vowels):
    """The jaw's rise is centred on the onset of the sound, neither late nor early by more than 60 ms."""
    jaw = mouth(vowels)[:, JAW]
    rise = np.flatnonzero(jaw > 0.5 * jaw[:100].max())[0] / CUE_FPS
    assert rise == pytest.approx(0.5, abs=0.06)


def test_loudness_of_the_recording_does_not_matter(vowels):
    assert np.allclose(mouth(vowels), mouth(0.1 * vowels), atol=0.05)


def test_a_lip_closure_between_vowels_seals_and_a_tongue_stop_does_not():
    falling = [vowel((700 - 60 * k, 1200 - 90 * k, 2400), 0.03) for k in range(5)]
    rising = falling[::-1]
    labial = np.concatenate([silence(0.3), vowel(A), *falling, silence(0.08), *rising, vowel(A), silence(0.3)])
    burst = np.random.default_rng(1).normal(0, 0.12, 480)
    hiss = lfilter([1, -1.9, 0.95], [1], burst)
    fronting = [vowel((700 - 60 * k, 1200 + 130 * k, 2600), 0.03) for k in range(5)]
    parts = [silence(0.3), vowel(A), *fronting, silence(0.06), hiss, *fronting[::-1], vowel(A), silence(0.3)]
    tongue = np.concatenate(parts)
    assert hear(labial).seal.max() > 0.8
    assert hear(tongue).seal.max() < 0.3


def test_same_seed_same_motion_other_seed_same_lips(vowels):
    first, again, other = drive(vowels, seed=5), drive(vowels, seed=5), drive(vowels, seed=6)
    assert np.array_equal(first.expression, again.expression) and np.array_equal(first.quats_wxyz, again.quats_wxyz)
    assert np.array_equal(first.expression[:, JAW], other.expression[:, JAW])
    assert not np.allclose(first.quats_wxyz, other.quats_wxyz)


def test_motion_is_valid_and_covers_the_sound(vowels):
    motion = drive(vowels, seed=1, fps=30000 / 1001)
    assert len(motion) == round(len(vowels) / 16000 * 30000 / 1001)
    assert motion.fps == pytest.approx(29.97, abs=1e-2)
    assert motion.expression.min() >= 0 and motion.expression.max() <= 1
    assert np.allclose(np.linalg.norm(motion.quats_wxyz, axis=1), 1, atol=1e-5)
    assert np.degrees(2 * np.arccos(np.abs(motion.quats_wxyz[:, 0]).min())) < 7


def test_starts_from_the_persons_rest(vowels):
    rest = np.zeros(52, np.float32)
    rest[ARKIT_INDEX["mouthSmileLeft"]], rest[JAW] = 0.3, 0.1
    motion = drive(vowels, seed=1, neutral=rest)
    assert motion.expression[5, ARKIT_INDEX["mouthSmileLeft"]] == pytest.approx(0.3, abs=0.02)
    assert motion.expression[5, JAW] == pytest.approx(0.1, abs=0.02)


def test_blinks_are_quick_complete_and_of_human_rate():
    t = np.arange(0, 120, 1 / 25)
    track = blink_track(t, seed=3)
    closed = np.flatnonzero(np.diff((track > 0.9).astype(int)) == 1)
    assert 20 <= len(closed) <= 45
    assert np.diff(closed).min() > 25 * 0.9
    assert track.max() > 0.99
    assert (track > 0.05).mean() < 0.12  # most of the time the eyes are open
    fine = blink_track(np.arange(0, 20, 0.001), seed=3)
    peak = int(fine.argmax())
    rise, fall = (fine[peak - 300 : peak] > 0.05).sum(), (fine[peak : peak + 400] > 0.05).sum()
    assert fall > 1.5 * rise  # lids close faster than they open


def test_gaze_and_head_stay_in_their_limits_and_depend_on_time_only():
    t = np.arange(0, 60, 1 / 25)
    head, gaze = head_track(t, 7), gaze_track(t, 7)
    assert np.abs(head).max() <= 4 and np.abs(head[:, 0]).max() > 0.5
    assert np.abs(np.diff(head, axis=0)).max() < 0.5
    assert np.abs(gaze).max() <= 6 and gaze.std() > 0.3
    assert np.allclose(head_track(t[:100], 7), head[:100])
    assert np.allclose(gaze_track(t[:100], 7), gaze[:100], atol=1e-6)
    eyes = with_gaze(np.zeros((1, 52)), np.array([[12.5, -5.0]]))[0]
    left = {name: eyes[i] for name, i in ARKIT_INDEX.items()}
    assert left["eyeLookOutLeft"] == left["eyeLookInRight"] == 0.5 and left["eyeLookDownLeft"] == pytest.approx(0.2)
    assert left["eyeLookOutRight"] == left["eyeLookUpLeft"] == 0


@pytest.mark.parametrize("samples", [np.zeros(0), np.full(100, np.nan), np.zeros((10, 2))])
def test_unusable_sound_is_refused(samples, unchecked_shapes):
    with pytest.raises(BadInput, match="cannot talk"):
        drive(samples, seed=0)


def test_shortest_sound_gives_a_frame():
    assert len(drive(np.zeros(10), seed=0)) == 1


@pytest.mark.skipif(not (SPEECH / "arctic_a0009.wav").exists(), reason="set VISAVIS_SPEECH_DATA to labelled speech")
def test_real_speech_closes_at_its_bilabials():
    with wave.open(str(SPEECH / "arctic_a0009.wav")) as f:
        lips = mouth(np.frombuffer(f.readframes(-1), np.int16) / 32768)
    jaw = {"closure": [], "vowel": []}
    for line in (SPEECH / "arctic_a0009_phone.lab").read_text().splitlines():
        start, end, label = line.split()
        match = re.search(r"-([a-z]+)\+", label)
        phone = match.group(1) if match else "sil"
        values = lips[int(start) // 100_000 : int(end) // 100_000, JAW]
        if phone in {"p", "b", "m"}:
            jaw["closure"].append(values.min())
        elif phone in {"aa", "ae", "ao", "eh", "er", "ey"}:
            jaw["vowel"].append(values.max())
    assert max(jaw["closure"]) < 0.05
    assert np.mean(jaw["vowel"]) > 0.3
