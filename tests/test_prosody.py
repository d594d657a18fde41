"""Voice activity, pauses, pace and stress: speech is heard, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from make_speech import music, noise

from avatar.motion.audio import RATE, load_audio
from avatar.motion.features import features
from avatar.motion.phones import SOUNDS
from avatar.motion.prosody import prosody
from preprocess.studio.voice import nonsense, synthesise

RECORDINGS = Path(os.environ.get("VISAVIS_TEST_DATA", "data")) / "speech"
"""Read sentences, where a developer has them."""
T = np.arange(8 * RATE) / RATE


def told(samples: np.ndarray):
    return prosody(features(samples.astype(np.float32)))


def violin() -> np.ndarray:
    notes = 220 * 2 ** (np.random.default_rng(0).integers(0, 12, 30) / 12)
    hz = notes[(T / 0.4).astype(int)] * (1 + 0.01 * np.sin(2 * np.pi * 5.5 * T))
    phase = 2 * np.pi * np.cumsum(hz) / RATE
    return sum(0.1 * np.sin(k * phase) / k for k in range(1, 12))


@pytest.mark.parametrize(
    "sound",
    [
        np.zeros(8 * RATE), np.zeros(0), np.zeros(10), noise(8), music(10), music(10, 1), violin(),
        0.2 * noise(8) * (np.sin(2 * np.pi * 4 * T) > 0), 0.3 * np.sin(2 * np.pi * 150 * T),
        0.1 * np.sign(np.sin(2 * np.pi * 50 * T)) + 0.01 * noise(8),
    ],
    ids=["silence", "nothing", "0.6 ms", "noise", "music", "more music", "violin", "bursts", "tone", "hum"],
)  # fmt: skip
def test_what_is_no_speech(sound):
    got = told(sound)
    assert not got.speaking.any() and not len(got.pauses_seconds)
    assert not len(got.syllables_seconds) and not len(got.accents_seconds)
    assert got.syllable_rate.max() == 0 and got.emphasis.max() == 0 and np.isfinite(got.pitch_semitones).all()


def test_speech_with_known_phones():
    phones = nonsense(16.0, 3)
    samples = synthesise(phones, 16.0, 3)
    got = told(samples + 1e-3 * noise(16))
    at = got.timestamps_seconds
    silent = np.zeros(len(at), bool)
    for phone in phones:
        if phone.name == "pau" and phone.end_seconds - phone.start_seconds > 0.3:
            silent |= (at > phone.start_seconds + 0.1) & (at < phone.end_seconds - 0.1)
    spoken = np.interp(at, *envelope(samples)) > 0.05
    assert got.speaking[spoken].mean() > 0.97
    assert got.speaking[silent].mean() < 0.05
    vowels = sum(SOUNDS[phone.name].vowel for phone in phones)
    assert 0.5 * vowels < len(got.syllables_seconds) < 1.3 * vowels


def envelope(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Loudness over 50 ms against the loudest: times and values."""
    blocks = samples[: len(samples) // 800 * 800].reshape(-1, 800)
    loud = np.sqrt((blocks**2).mean(1))
    return (np.arange(len(loud)) + 0.5) * 0.05, loud / loud.max()


def test_loudness_and_gain_are_not_speech_signs():
    samples = synthesise(nonsense(8.0, 1), 8.0, 1)
    loud, soft = told(0.9 * samples / np.abs(samples).max()), told(0.05 * samples / np.abs(samples).max())
    assert (loud.speaking == soft.speaking).mean() > 0.97


def test_a_planted_pause_and_a_planted_accent_are_found():
    samples = synthesise(nonsense(10.0, 5), 10.0, 5)
    quiet = np.ones(len(samples))
    quiet[4 * RATE : 5 * RATE] = 0
    got = told(samples * quiet)
    assert any(start < 4.15 and end > 4.85 for start, end in got.pauses_seconds)
    syllables = got.syllables_seconds
    middle = syllables[np.abs(syllables - 7.5).argmin()]
    louder = 1 + 4 * np.exp(-0.5 * ((np.arange(len(samples)) / RATE - middle) / 0.06) ** 2)
    stressed = told(samples * quiet * louder)
    assert np.abs(stressed.accents_seconds - middle).min() < 0.06
    at = np.abs(stressed.timestamps_seconds - middle) < 0.05
    assert stressed.emphasis[at].max() > max(0.75, got.emphasis[at].max())


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the recordings are not here")
def test_recorded_speech():
    for file in sorted(RECORDINGS.glob("*.wav")):
        got = told(load_audio(file))
        assert got.speaking.mean() > 0.7, file
        assert 2 < len(got.syllables_seconds) / (got.speaking.sum() / 100) < 6, file
