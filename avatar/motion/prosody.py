"""Where somebody speaks, how fast, and what is stressed: tracks of a whole clip, by rule, from its audio features.

Speech is told from other sound by three measures of the 3 s around each moment: it has a pitch about half of the time,
that pitch glides (notes stand still), and the spectrum changes faster than that of music and steady noise (the
modulation of speech: Scheirer and Slaney, ICASSP 1997). Singing and talking over loud music may pass as either.
Syllables are peaks of loudness that have a pitch, after de Jong and Wempe, Behavior Research Methods 41 (2009).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import binary_dilation, gaussian_filter1d, median_filter, uniform_filter1d
from scipy.signal import find_peaks

from avatar.motion.features import HOP_SECONDS, AudioFeatures

_FPS = round(1 / HOP_SECONDS)
_RANGE_DB, _ABOVE_NOISE_DB, _LEAST_DB = 25.0, 6.0, -60.0
"""Sound is what lies that much under the loudest, over the quietest, and over this."""
_AROUND = 3 * _FPS
_LEAST_VOICED, _LEAST_CHANGE, _MOST_STILL = 0.2, 7.8, 0.78
_CHANGE_FRAMES = 5
_STILL_SEMITONES = 0.1
_FAINTER_DB, _FAINTER_FRAMES = 10.0, 8
"""Breathed beginnings and ends may be that much fainter, for so long."""
_CLOSURE_SECONDS, _SHORTEST_SECONDS = 0.2, 0.1
"""Stops are silent for up to this; speech is no shorter than that."""
_DIP_DB, _SYLLABLE_SECONDS = 2.0, 0.1
_PHRASE_SECONDS = 1.5
_ACCENT, _ACCENT_SECONDS = 0.7, 0.2


@dataclass(frozen=True)
class Prosody:
    """How something is said, 100 values per second, and when what happens."""

    timestamps_seconds: Float[np.ndarray, " n"]
    speaking: Bool[np.ndarray, " n"]
    """Voice activity; closures of stops count as speech, pauses don't."""
    pitch_semitones: Float[np.ndarray, " n"]
    """Pitch over the speaker's median, without octave jumps, carried on through unvoiced sounds; 0 without a voice."""
    syllable_rate: Float[np.ndarray, " n"]
    """Syllables per second of speech around this moment; 0 in pauses."""
    emphasis: Float[np.ndarray, " n"]
    """0 to 1: how far the syllable here stands out of its phrase in pitch and loudness; 0.5 is an ordinary one."""
    syllables_seconds: Float[np.ndarray, " k"]
    accents_seconds: Float[np.ndarray, " m"]
    """The syllables that stand out, 0.2 s apart or more."""

    @property
    def pauses_seconds(self) -> Float[np.ndarray, "p 2"]:
        """Start and end of each silence between two stretches of speech."""
        stretches = runs_of(self.speaking)
        return np.stack([stretches[:-1, 1], stretches[1:, 0]], 1) * HOP_SECONDS + self.timestamps_seconds[0]


def prosody(features: AudioFeatures) -> Prosody:
    """Voice activity and prosody of a clip; of music, noise and silence nothing is speech."""
    seconds = features.timestamps_seconds.astype(np.float64)
    speaking = _speaking(features)
    pitch = _pitch(features, speaking)
    loudness = gaussian_filter1d(features.energy_db.astype(np.float64), 2.5)
    peaks, _ = find_peaks(loudness, prominence=_DIP_DB, distance=round(_SYLLABLE_SECONDS * _FPS))
    voiced = uniform_filter1d(features.voiced.astype(np.float64), 5) > 0.3
    syllables = peaks[speaking[peaks] & voiced[peaks]]
    strength = _strength(syllables, pitch, loudness)
    return Prosody(
        timestamps_seconds=features.timestamps_seconds,
        speaking=speaking,
        pitch_semitones=pitch.astype(np.float32),
        syllable_rate=_rate(syllables, speaking),
        emphasis=_bumps(syllables, strength, len(seconds)),
        syllables_seconds=seconds[syllables],
        accents_seconds=seconds[_accents(syllables, strength)],
    )


def _speaking(features: AudioFeatures) -> Bool[np.ndarray, " n"]:
    energy = gaussian_filter1d(features.energy_db.astype(np.float64), 1.5)
    low, high = np.percentile(energy, (5, 95))
    threshold = max(high - _RANGE_DB, min(low + _ABOVE_NOISE_DB, high - _ABOVE_NOISE_DB), _LEAST_DB)
    sound = energy > threshold
    faint = energy > max(threshold - _FAINTER_DB, low + 3)
    return _mended(sound & _like_speech(features, sound), faint)


def _like_speech(features: AudioFeatures, sound: Bool[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Whether what sounds around each moment has the pitch and the pace of speech."""
    voiced = features.voiced & sound
    cepstra = features.mfcc[:, 1:].astype(np.float64)  # without the first: loudness is no sign of speech
    change = np.zeros(len(sound))
    change[_CHANGE_FRAMES:] = np.abs(cepstra[_CHANGE_FRAMES:] - cepstra[:-_CHANGE_FRAMES]).mean(1)
    both_sound = sound & np.roll(sound, _CHANGE_FRAMES)
    both_sound[:_CHANGE_FRAMES] = False
    steps = np.abs(np.diff(_semitones(features.f0_hz), prepend=0))
    both_voiced = voiced & np.roll(voiced, 1)
    both_voiced[0] = False
    return (
        (_share(voiced, sound) > _LEAST_VOICED)
        & (_share(change, both_sound) > _LEAST_CHANGE)
        & (_share(steps < _STILL_SEMITONES, both_voiced) < _MOST_STILL)
    )


def _share(what: np.ndarray, where: np.ndarray) -> Float[np.ndarray, " n"]:
    """Mean of `what` over the moments around each at which `where` holds; 0 if there is none."""
    total = uniform_filter1d(where.astype(np.float64), _AROUND, mode="constant")
    part = uniform_filter1d(what * where.astype(np.float64), _AROUND, mode="constant")
    return np.where(total > 0.5 / _AROUND, part / np.maximum(total, 0.5 / _AROUND), 0.0)


def _mended(speaking: Bool[np.ndarray, " n"], faint: Bool[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Faint sounds at the edges added, closures filled, then clicks removed."""
    near = binary_dilation(speaking, iterations=_FAINTER_FRAMES) if speaking.any() else speaking
    out = speaking | (faint & near)
    stretches = runs_of(out)
    for (_, end), (start, _) in zip(stretches, stretches[1:], strict=False):
        if start - end <= _CLOSURE_SECONDS * _FPS:
            out[end:start] = True
    for start, end in runs_of(out):
        if end - start < _SHORTEST_SECONDS * _FPS:
            out[start:end] = False
    return out


def runs_of(mask: Bool[np.ndarray, " n"]) -> np.ndarray:
    """First and past-the-last index of each run of True, (k, 2)."""
    return np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]]))).reshape(-1, 2)


def _semitones(hz: np.ndarray) -> Float[np.ndarray, " n"]:
    return 12 * np.log2(np.where(hz > 0, hz, 1.0).astype(np.float64))


def _pitch(features: AudioFeatures, speaking: Bool[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    known = np.flatnonzero(features.voiced & speaking)
    if not len(known):
        return np.zeros(len(speaking))
    semitones = _semitones(features.f0_hz[known])
    semitones -= np.median(semitones)
    local = median_filter(semitones, size=_FPS // 2 + 1, mode="nearest")
    semitones -= 12 * np.rint((semitones - local) / 12)
    return np.interp(np.arange(len(speaking)), known, median_filter(semitones, size=5, mode="nearest"))


def _strength(syllables: np.ndarray, pitch: np.ndarray, loudness: np.ndarray) -> Float[np.ndarray, " k"]:
    """How far each syllable stands out of those within 1.5 s, in standard deviations of pitch and loudness."""
    out = np.zeros(len(syllables))
    reach = _PHRASE_SECONDS * _FPS
    first = np.searchsorted(syllables, syllables - reach)
    end = np.searchsorted(syllables, syllables + reach, side="right")
    for track in (pitch, loudness):
        values = track[syllables]
        spread = max(float(values.std()) if len(values) else 0.0, 1.0)  # semitones or dB: less is not heard
        total = np.concatenate([[0.0], np.cumsum(values)])
        out += 0.5 * (values - (total[end] - total[first]) / (end - first)) / spread
    return out


def _accents(syllables: np.ndarray, strength: np.ndarray) -> np.ndarray:
    apart = round(_ACCENT_SECONDS * _FPS)
    taken = np.zeros(syllables.max(initial=0) + apart + 1, bool)
    chosen = []
    for k in np.argsort(-strength):
        at = int(syllables[k])
        if strength[k] > _ACCENT and not taken[at]:
            chosen.append(at)
            taken[max(0, at - apart + 1) : at + apart] = True
    return np.array(sorted(chosen), int)


def _rate(syllables: np.ndarray, speaking: Bool[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    marks = np.zeros(len(speaking))
    marks[syllables] = _FPS
    spoken = gaussian_filter1d(speaking.astype(np.float64), 0.5 * _FPS, mode="constant")
    rate = gaussian_filter1d(marks, 0.5 * _FPS, mode="constant") / np.maximum(spoken, 1e-3)
    return np.where(speaking, rate, 0).astype(np.float32)


def _bumps(syllables: np.ndarray, strength: np.ndarray, count: int) -> Float[np.ndarray, " n"]:
    """The strength of each syllable, squashed to 0..1, around its peak."""
    out = np.zeros(count)
    for at, value in zip(syllables, strength, strict=True):
        near = np.arange(max(0, at - 15), min(count, at + 16))
        out[near] = np.maximum(out[near], np.exp(-0.5 * ((near - at) / 5) ** 2) / (1 + np.exp(-2 * value)))
    return out.astype(np.float32)
