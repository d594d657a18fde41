"""A small voice of our own: pulses and noise through formant resonators, speaking nonsense with known phones.

After Klatt, Software for a cascade/parallel formant synthesizer (1980), much reduced.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from avatar.motion.audio import RATE
from avatar.motion.phones import SOUNDS, Phone, during

_BLOCK = RATE // 200
_BANDWIDTHS_HZ = (80.0, 110.0, 160.0)
_ONSETS = ("p", "b", "m", "f", "v", "s", "z", "sh", "t", "d", "k", "g", "n", "l", "r", "w", "y", "hh", "p", "b", "m")
_VOWELS = tuple(name for name, sound in SOUNDS.items() if sound.vowel)
_CODAS = ("n", "t", "s", "l", "m", "p", "k", "ng", "r", "th", "f")


_STRESS_LENGTH, _STRESS_OCTAVES = 0.35, 0.3
"""A stressed vowel is longer and higher than others, by so much at full stress (and accent)."""
_REST_SECONDS = (2.0, 4.0)
_HIGHEST_NOISE_HZ = 7000.0


@dataclass(frozen=True)
class Delivery:
    """How somebody's voice sounds and how he speaks."""

    pace: tuple[float, float] = (0.85, 1.15)
    """Length of sounds as a multiple of the usual; a recording draws one between the two."""
    pitch_hz: tuple[float, float] = (95.0, 210.0)
    """Mean pitch; a recording draws one between the two."""
    formants: float = 1.0
    """Multiple of an adult man's: vocal tracts of women and children are shorter."""
    melody: float = 1.0
    """How far the pitch wanders."""
    accent: float = 0.0
    """How much louder stressed vowels are, as a share; their pitch rises with it. 0: nothing is stressed."""
    breath: float = 0.05
    """Noise in the voice."""
    rests: float = 0.0
    """Chance, after a phrase, of falling silent for some seconds."""

    @staticmethod
    def of(seed: int) -> Delivery:
        """Another voice for every seed: men's, women's and children's."""
        rng = np.random.default_rng([seed, 25])
        pitch, formants = _REGISTERS[int(rng.choice(len(_REGISTERS), p=(0.4, 0.4, 0.2)))]
        hz, pace = float(np.exp(rng.uniform(*np.log(pitch)))), float(np.exp(rng.uniform(*np.log((0.75, 1.35)))))
        return Delivery(
            pace=(0.96 * pace, 1.04 * pace), pitch_hz=(0.97 * hz, 1.03 * hz), formants=rng.uniform(*formants),
            melody=rng.uniform(0.4, 1.3), accent=rng.uniform(0.4, 1.2), breath=rng.uniform(0.02, 0.3),
            rests=rng.uniform(0.06, 0.16),
        )  # fmt: skip


_REGISTERS = (((85.0, 150.0), (0.85, 1.02)), ((155.0, 250.0), (1.0, 1.16)), ((230.0, 310.0), (1.12, 1.25)))
"""Pitch in Hz and formants of men, women and children."""
ANYBODY = Delivery()
"""Whom the studio films: what he says decides how he speaks."""


@dataclass(frozen=True)
class Speech:
    """What is said."""

    samples_16k: Float[np.ndarray, " n"]
    phones: list[Phone] | None
    """None for a recording whose phones nobody knows."""
    source: str
    """How it came about, for the manifest."""


def nonsense(seconds: float, seed: int, delivery: Delivery = ANYBODY) -> list[Phone]:
    """Phrases of random syllables with pauses, filling a time."""
    rng, stress = np.random.default_rng([seed, 21]), _Stress(delivery, seed)
    phones, now = [], 0.0

    def say(name: str, length: float, stressed: float = 0.0) -> None:
        nonlocal now
        end = min(now + length * (1 + _STRESS_LENGTH * stressed), seconds)
        if end > now:
            phones.append(Phone(name, now, end, stressed))
        now = end

    pace = rng.uniform(*delivery.pace)
    say("pau", rng.uniform(0.3, 0.6))
    while now < seconds:
        for _ in range(int(rng.integers(6, 15))):
            stressed = stress.next_syllable()
            for group, chance in ((_ONSETS, 0.9), (_VOWELS, 1.0), (_CODAS, 0.35)):
                if rng.random() < chance:
                    name = str(rng.choice(group))
                    length = pace * SOUNDS[name].seconds * rng.uniform(0.8, 1.3)
                    say(name, length, stressed if SOUNDS[name].vowel else 0.0)
        say("pau", rng.uniform(0.35, 0.9) + stress.next_rest())
    return phones


class _Stress:
    """Which syllables are stressed and after which phrases there is a rest; draws of its own, so that the words stay
    the same."""

    def __init__(self, delivery: Delivery, seed: int) -> None:
        self._rng, self._delivery, self._last = np.random.default_rng([seed, 24]), delivery, 0.0

    def next_syllable(self) -> float:
        """Its stress: 0.6 to 1 for about one in three, never for two in a row."""
        drawn = self._rng.uniform(0.6, 1.0) if self._rng.random() < 0.45 else 0.0
        self._last = 0.0 if self._last or not self._delivery.accent else drawn
        return self._last

    def next_rest(self) -> float:
        """Seconds to fall silent for after a phrase, beyond an ordinary pause."""
        return rest_after_phrase(self._delivery, self._rng)


def rest_after_phrase(delivery: Delivery, rng: np.random.Generator) -> float:
    """Mostly 0; now and then the length of a rest, seconds."""
    drawn, length = rng.random(), rng.uniform(*_REST_SECONDS)
    return length if drawn < delivery.rests else 0.0


def synthesise(phones: list[Phone], seconds: float, seed: int, delivery: Delivery = ANYBODY) -> Float[np.ndarray, " n"]:
    """The sound of phones, mono at `RATE`, in [-1, 1]."""
    from scipy.ndimage import gaussian_filter1d

    rng = np.random.default_rng([seed, 22])
    blocks = max(1, int(np.ceil(seconds * RATE / _BLOCK)))
    tracks, stress = _tracks(phones, blocks, delivery)
    formants = gaussian_filter1d(tracks[:, :3], 4, axis=0)
    voice, noise = (gaussian_filter1d(tracks[:, k], 2) for k in (3, 4))
    pulses = _pulses(blocks, rng, delivery, gaussian_filter1d(stress, 8))
    hiss = rng.normal(0, 0.25, blocks * _BLOCK)
    out = np.empty(blocks * _BLOCK)
    states = [np.zeros((3, 2)), np.zeros((1, 2))]
    for k in range(blocks):
        part = slice(k * _BLOCK, (k + 1) * _BLOCK)
        source = voice[k] * (pulses[part] + delivery.breath * hiss[part])
        spoken = _resonate(source, formants[k], _BANDWIDTHS_HZ, states, 0)
        hissed = _resonate(noise[k] * hiss[part], (max(tracks[k, 5], 500.0),), (1200.0,), states, 1)
        out[part] = spoken + 2.5 * hissed
    out = out[: round(seconds * RATE)]
    return (0.5 * out / max(np.abs(out).max(), 1e-9)).astype(np.float32)


def _tracks(
    phones: list[Phone], blocks: int, delivery: Delivery
) -> tuple[Float[np.ndarray, "b 6"], Float[np.ndarray, " b"]]:
    """Per block: three formants, loudness of voice and noise, frequency of the noise; and stress."""
    tracks = np.tile(np.array([500.0, 1500.0, 2500.0, 0.0, 0.0, 3000.0]), (blocks, 1))
    stress, times = np.zeros(blocks), (np.arange(blocks) + 0.5) * _BLOCK / RATE
    for phone in phones:
        sound, inside = SOUNDS[phone.name], during(phone, times)
        loudness = sound.voice * (1 + delivery.accent * phone.stress)
        tracks[inside] = (*sound.formants_hz, loudness, sound.noise, sound.noise_hz)
        stress[inside] = phone.stress
    tracks[:, :3] *= delivery.formants
    tracks[:, 5] = np.minimum(tracks[:, 5] * delivery.formants, _HIGHEST_NOISE_HZ)
    return tracks, stress


def _pulses(
    blocks: int, rng: np.random.Generator, delivery: Delivery, stress: Float[np.ndarray, " b"]
) -> Float[np.ndarray, " n"]:
    """Glottal pulses: a slowly wandering pitch with jitter, its spectrum falling by 12 dB per octave."""
    from scipy.ndimage import gaussian_filter1d
    from scipy.signal import lfilter

    wander = gaussian_filter1d(rng.normal(size=blocks), 40) * 8
    pitch = rng.uniform(*delivery.pitch_hz) * np.exp(0.18 * delivery.melody * np.clip(wander, -2, 2))
    pitch = pitch * (1 + 0.01 * rng.normal(size=blocks)) * 2 ** (_STRESS_OCTAVES * delivery.accent * stress)
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
