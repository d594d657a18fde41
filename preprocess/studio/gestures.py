"""What heads and faces do besides speaking: turns and moods that come by themselves, nods and raised brows where
something is stressed, and what a listener does at the other's words.

Listeners nod most at pauses and after what is stressed, look at the speaker, and keep still otherwise: Dittmann and
Llewellyn, J. Personality and Social Psychology 9 (1968); Kendon, Acta Psychologica 26 (1967).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import binary_closing, binary_opening, gaussian_filter1d

from avatar.motion.blinks import head_track, smoothstep
from avatar.motion.features import HOP_SECONDS, features
from avatar.motion.prosody import Prosody, prosody
from avatar.motion.visemes import target_vector
from avatar.types import N_EXPRESSIONS
from preprocess.studio.manner import MOODS, Manner

SMILE = {"mouthSmile": 1.0, "cheekSquint": 0.4}
_RAISED_BROWS = {"browInnerUp": 0.8, "browOuterUp": 0.7}
_NOD_CHANCE, _BROW_CHANCE = 0.75, 0.45
"""That a stressed syllable is nodded, or the brows are raised on it."""
_NOD_LEAD_SECONDS = 0.12
"""Nods begin before the syllable, so that the head is lowest in its middle."""
_PAUSE_SECONDS, _REMARK_SECONDS = 0.9, 0.7
"""Shorter pauses leave the listener listening; sounds as short as this are no speech of his own."""
_HEED_ACCENT = 0.35
"""Chance of a nod at a stressed syllable, as a share of that at a pause."""
_SMILE_CHANCE = 0.3


@dataclass(frozen=True)
class Listening:
    """What somebody does for the one he listens to, per frame."""

    attention: Float[np.ndarray, " t"]
    """1 while the other speaks and he does not."""
    nods: Float[np.ndarray, " t"]
    """Degrees down."""
    smile: Float[np.ndarray, " t"]

    @staticmethod
    def nobody(times: Float[np.ndarray, " t"]) -> Listening:
        """He is alone."""
        return Listening(*np.zeros((3, len(times))))

    @staticmethod
    def to(
        partner_16k: Float[np.ndarray, " n"],
        own_16k: Float[np.ndarray, " n"],
        times: Float[np.ndarray, " t"],
        manner: Manner,
        seed: int,
    ) -> Listening:
        """At the other's pauses and stressed syllables he nods, and sometimes smiles."""
        other, rng = said(partner_16k), np.random.default_rng([seed, 45])
        attention = _attention(other, said(own_16k), times)
        pauses = np.flatnonzero(np.diff(other.speaking.astype(int)) == -1) * HOP_SECONDS
        calls = [(at, 1.0) for at in pauses] + [(at, _HEED_ACCENT) for at in other.accents_seconds]
        nods, smile, free = np.zeros(len(times)), np.zeros(len(times)), 0.0
        for called, weight in sorted(calls):
            at, chance, smiles = called + rng.uniform(0.1, 0.4), rng.random(), rng.random()
            count, length, size = int(rng.integers(1, 4)), rng.uniform(0.35, 0.55), rng.uniform(0.6, 1.3)
            heard = np.interp(at + 0.2, times, attention) > 0.5
            if heard and at > free and chance < weight * manner.heed:
                for k in range(count):
                    nods += 0.75**k * weight**0.5 * size * manner.heed_degrees * _bump(times, at + k * length, length)
                free = at + count * length
            if heard and smiles < _SMILE_CHANCE * weight * manner.heed:
                smile = np.maximum(smile, 0.45 * _held(times, at, 4 * length))
        return Listening(attention, nods, smile)


def said(samples_16k: Float[np.ndarray, " n"]) -> Prosody:
    """Where somebody speaks and what he stresses."""
    return prosody(features(samples_16k))


def _attention(other: Prosody, own: Prosody, times: Float[np.ndarray, " t"]) -> Float[np.ndarray, " t"]:
    """Softly switched, from 0 to 1."""

    def frames(seconds: float) -> Bool[np.ndarray, " w"]:
        return np.ones(round(seconds / HOP_SECONDS), bool)

    pause = frames(_PAUSE_SECONDS)
    talks = binary_closing(np.pad(other.speaking, len(pause)), pause)[len(pause) : -len(pause)]
    own_words = np.asarray(binary_opening(own.speaking, frames(_REMARK_SECONDS)), bool)
    soft = gaussian_filter1d((talks & ~own_words).astype(np.float64), 0.2 / HOP_SECONDS)
    return np.interp(times, other.timestamps_seconds, soft)


def stressed(
    accents_seconds: Float[np.ndarray, " m"], times: Float[np.ndarray, " t"], manner: Manner, seed: int
) -> tuple[Float[np.ndarray, " t"], Float[np.ndarray, "t 52"]]:
    """Nods (degrees down) and raised brows on stressed syllables."""
    rng = np.random.default_rng([seed, 39])
    nods, brows = np.zeros(len(times)), np.zeros(len(times))
    for at in accents_seconds:
        nodded, raised, size, length = rng.random(), rng.random(), rng.uniform(0.5, 1.3), rng.uniform(0.3, 0.5)
        if nodded < _NOD_CHANCE:
            nods = np.maximum(nods, size * manner.nod_degrees * _bump(times, at - _NOD_LEAD_SECONDS, length))
        if raised < _BROW_CHANCE:
            brows = np.maximum(brows, min(size, 1.0) * manner.brow_raise * _held(times, at - 0.15, length))
    return nods, brows[:, None] * target_vector(_RAISED_BROWS)


def turns(times: Float[np.ndarray, " t"], manner: Manner, seed: int) -> Float[np.ndarray, "t 3"]:
    """Now and then the head turns aside and back, sometimes up or down as well; degrees of yaw, pitch, roll."""
    rng = np.random.default_rng([seed, 32])
    out, length = np.zeros((len(times), 3)), float(times[-1])
    start, side = 0.2 * min(length, manner.turn_every_seconds), float(rng.choice([-1.0, 1.0]))
    while start < length:
        yaw = side * rng.uniform(*manner.turn_degrees)
        rise, hold = rng.uniform(0.5, 1.0), rng.uniform(0.3, 1.2)
        up, down = smoothstep((times - start) / rise), smoothstep((times - start - rise - hold) / rise)
        out += np.outer(up - down, (yaw, rng.normal(0, 5), rng.normal(0, 3)))
        slow = 1.0 if rng.random() < 0.4 else 2.5
        start += (2 * rise + hold) * slow + rng.uniform(0, 0.4) * manner.turn_every_seconds
        side = -side
    return out


def moods(times: Float[np.ndarray, " t"], manner: Manner, seed: int) -> Float[np.ndarray, "t 52"]:
    """Expressions that come and go within a second or three; brows most."""
    rng = np.random.default_rng([seed, 33])
    out, start = np.zeros((len(times), N_EXPRESSIONS)), float(rng.uniform(0.5, 3)) * manner.mood_pause
    while start < times[-1]:
        length, strength = rng.uniform(1.0, 3.0), rng.uniform(0.5, 1.0) * manner.mood_strength
        shape = smoothstep((times - start) / 0.35) - smoothstep((times - start - length) / 0.5)
        mood = MOODS[manner.moods[int(rng.integers(len(manner.moods)))]]
        out += strength * shape[:, None] * target_vector(mood)
        start += length + rng.uniform(0.8, 4.0) * manner.mood_pause
    return out


def liveliness(times: Float[np.ndarray, " t"], manner: Manner, seed: int) -> Float[np.ndarray, "t 1"]:
    """Around 1: what a face holds for a while is never quite still."""
    wave = head_track(4.0 * times, int(np.random.default_rng([seed, 46]).integers(2**31)), limit_degrees=1.0)[:, :1]
    return 1 + manner.unrest * wave


def _bump(times: Float[np.ndarray, " t"], start: float, length: float) -> Float[np.ndarray, " t"]:
    """Up to 1 and back, smoothly, within `length` seconds."""
    return np.sin(np.pi * ((times - start) / length).clip(0, 1)) ** 2


def _held(times: Float[np.ndarray, " t"], start: float, length: float) -> Float[np.ndarray, " t"]:
    """Up to 1 within 0.2 s, held for `length` seconds, and back more slowly."""
    return smoothstep((times - start) / 0.2) - smoothstep((times - start - 0.2 - length) / 0.4)
