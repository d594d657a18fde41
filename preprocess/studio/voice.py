"""A small voice of our own: pulses and noise through formant resonators, speaking nonsense with known phones.

After Klatt, Software for a cascade/parallel formant synthesizer (1980), much reduced.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from avatar.motion.audio import RATE
from avatar.motion.phones import SOUNDS, Phone

_BLOCK = RATE // 200
_BANDWIDTHS_HZ = (80.0, 110.0, 160.0)
_ONSETS = ("p", "b", "m", "f", "v", "s", "z", "sh", "t", "d", "k", "g", "n", "l", "r", "w", "y", "hh", "p", "b", "m")
_VOWELS = tuple(name for name, sound in SOUNDS.items() if sound.vowel)
_CODAS = ("n", "t", "s", "l", "m", "p", "k", "ng", "r", "th", "f")


@dataclass(frozen=True)
class Speech:
    """What is said."""

    samples_16k: Float[np.ndarray, " n"]
    phones: list[Phone] | None
    """None for a recording whose phones nobody knows."""
    source: str
    """How it came about, for the manifest."""


def nonsense(seconds: float, seed: int) -> list[Phone]:
    """Phrases of random syllables with pauses, filling a time."""
    rng = np.random.default_rng([seed, 21])
    phones, now = [], 0.0

    def say(name: str, length: float) -> None:
        nonlocal now
        end = min(now + length, seconds)
        if end > now:
            phones.append(Phone(name, now, end))
        now = end

    pace = rng.uniform(0.85, 1.15)
    say("pau", rng.uniform(0.3, 0.6))
    while now < seconds:
        for _ in range(int(rng.integers(6, 15))):
            for group, chance in ((_ONSETS, 0.9), (_VOWELS, 1.0), (_CODAS, 0.35)):
                if rng.random() < chance:
                    name = str(rng.choice(group))
                    say(name, pace * SOUNDS[name].seconds * rng.uniform(0.8, 1.3))
        say("pau", rng.uniform(0.35, 0.9))
    return phones


def synthesise(phones: list[Phone], seconds: float, seed: int) -> Float[np.ndarray, " n"]:
    """The sound of phones, mono at `RATE`, in [-1, 1]."""
    from scipy.ndimage import gaussian_filter1d

    rng = np.random.default_rng([seed, 22])
    blocks = max(1, int(np.ceil(seconds * RATE / _BLOCK)))
    tracks = _tracks(phones, blocks)
    formants = gaussian_filter1d(tracks[:, :3], 4, axis=0)
    voice, noise = (gaussian_filter1d(tracks[:, k], 2) for k in (3, 4))
    pulses = _pulses(blocks, rng)
    hiss = rng.normal(0, 0.25, blocks * _BLOCK)
    out = np.empty(blocks * _BLOCK)
    states = [np.zeros((3, 2)), np.zeros((1, 2))]
    for k in range(blocks):
        part = slice(k * _BLOCK, (k + 1) * _BLOCK)
        source = voice[k] * (pulses[part] + 0.05 * hiss[part])
        spoken = _resonate(source, formants[k], _BANDWIDTHS_HZ, states, 0)
        hissed = _resonate(noise[k] * hiss[part], (max(tracks[k, 5], 500.0),), (1200.0,), states, 1)
        out[part] = spoken + 2.5 * hissed
    out = out[: round(seconds * RATE)]
    return (0.5 * out / max(np.abs(out).max(), 1e-9)).astype(np.float32)


def _tracks(phones: list[Phone], blocks: int) -> Float[np.ndarray, "b 6"]:
    """Three formants, loudness of voice and noise, frequency of the noise, per block."""
    tracks = np.tile(np.array([500.0, 1500.0, 2500.0, 0.0, 0.0, 3000.0]), (blocks, 1))
    times = (np.arange(blocks) + 0.5) * _BLOCK / RATE
    for phone in phones:
        sound, inside = SOUNDS[phone.name], (times >= phone.start_seconds) & (times < phone.end_seconds)
        tracks[inside] = (*sound.formants_hz, sound.voice, sound.noise, sound.noise_hz)
    return tracks


def _pulses(blocks: int, rng: np.random.Generator) -> Float[np.ndarray, " n"]:
    """Glottal pulses: a slowly wandering pitch with jitter, its spectrum falling by 12 dB per octave."""
    from scipy.ndimage import gaussian_filter1d
    from scipy.signal import lfilter

    wander = gaussian_filter1d(rng.normal(size=blocks), 40) * 8
    pitch = rng.uniform(95, 210) * np.exp(0.18 * np.clip(wander, -2, 2)) * (1 + 0.01 * rng.normal(size=blocks))
    phase = np.cumsum(np.repeat(pitch, _BLOCK) / RATE)
    impulses = np.diff(np.floor(phase), prepend=0.0)
    return np.asarray(lfilter([1.0, -1.0], [1, -1.8, 0.81], impulses))


def _resonate(source: np.ndarray, hz, bandwidths, states: list[np.ndarray], which: int) -> np.ndarray:
    """A cascade of two-pole resonators with unit gain at zero frequency, continuing from the last block."""
    from scipy.signal import sosfilt

    radius = np.exp(-np.pi * np.asarray(bandwidths) / RATE)
    b, c = -2 * radius * np.cos(2 * np.pi * np.asarray(hz) / RATE), radius**2
    ones, zeros = np.ones_like(b), np.zeros_like(b)
    sections = np.stack([1 + b + c, zeros, zeros, ones, b, c], axis=1)
    out, states[which] = sosfilt(sections, source, zi=states[which])
    return out
