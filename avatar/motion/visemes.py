"""Speech sound to mouth shapes by rule: spectral cues, soft visemes, ARKit actions. No training, any language.

Acoustics after Stevens, Acoustic Phonetics (1998): the first formant rises with jaw opening, the second with a fronted
tongue and falls with rounded lips; a stop is a dip whose burst is low-pitched for lips and high-pitched for the tongue
tip; a nasal murmur has nearly all its energy below 400 Hz.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.ndimage import maximum_filter1d, uniform_filter1d
from scipy.signal import lfilter

from avatar.head.arkit import ARKIT_INDEX
from avatar.tracks import N_EXPRESSIONS

RATE = 16_000
CUE_FPS = 100
"""Cues per second: stops last 40 to 120 ms, too short for the frame rate of video."""
_WINDOW, _FFT, _BLOCK = 400, 512, 3000
_SILENCE_DBFS = -50.0
_SPEECH_RANGE_DB = 32.0
_REACH = CUE_FPS * 12 // 100
"""A closure has louder sound within 120 ms on both sides."""
_SMOOTHING_SECONDS = 0.03
"""Time constant of the lips and jaw; their lag, twice this, is taken out again."""

TARGETS: dict[str, dict[str, float]] = {
    "open_back": {"jawOpen": 0.62, "mouthFunnel": 0.15, "mouthLowerDown": 0.25, "mouthUpperUp": 0.08},
    "open_front": {"jawOpen": 0.5, "mouthStretch": 0.22, "mouthLowerDown": 0.35, "mouthUpperUp": 0.15},
    "spread": {"jawOpen": 0.16, "mouthSmile": 0.25, "mouthStretch": 0.3, "mouthLowerDown": 0.25},
    "round": {"jawOpen": 0.14, "mouthPucker": 0.55, "mouthFunnel": 0.35},
    "hiss": {"jawOpen": 0.05, "mouthStretch": 0.2, "mouthLowerDown": 0.3, "mouthUpperUp": 0.12},
    "hush": {"jawOpen": 0.08, "mouthFunnel": 0.45, "mouthPucker": 0.1, "mouthUpperUp": 0.1},
    "lip_teeth": {"jawOpen": 0.04, "mouthRollLower": 0.35, "mouthUpperUp": 0.2},
}
"""Mouth shape of each viseme at full strength; `mouthSmile` and the like stand for their left and right actions."""
SEALED = {"mouthPress": 0.25, "mouthClose": 0.12, "mouthRollLower": 0.15, "mouthRollUpper": 0.1}
"""Lips on p, b and m: pressed, and closed a little further than at rest, where many people's lips stand ajar."""


@dataclass(frozen=True)
class Cues:
    """What the rules hear, `CUE_FPS` values per second, each in [0, 1] unless said otherwise."""

    level: Float[np.ndarray, " t"]
    """Loudness over the clip's range of speech; 0 in silence."""
    voiced: Float[np.ndarray, " t"]
    """Share of the sound that is voice rather than friction."""
    open: Float[np.ndarray, " t"]
    """First formant, low to high."""
    front: Float[np.ndarray, " t"]
    """Second formant, low (back, rounded) to high (front, spread)."""
    centroid_hz: Float[np.ndarray, " t"]
    """Centre of the spectrum above 1.5 kHz."""
    seal: Float[np.ndarray, " t"]
    """How surely the lips are pressed together (p, b, m)."""


def hear(samples: Float[np.ndarray, " n"]) -> Cues:
    """Cues of 16 kHz mono samples in [-1, 1]; ratios are relative to the clip's own median, so microphones cancel."""
    power, hz = _spectrogram(samples)

    def band(low: float, high: float) -> np.ndarray:
        return 10 * np.log10(power[:, (hz >= low) & (hz < high)].sum(1) + 1e-12)

    loudness = band(80, 8000)
    top = max(float(np.percentile(loudness, 95)), _SILENCE_DBFS)
    level = np.clip((loudness - top + _SPEECH_RANGE_DB) / (_SPEECH_RANGE_DB - 6), 0, 1)
    voiced = _sigmoid((band(80, 1000) - band(3000, 8000) - 6) / 3)
    vowel = (level > 0.4) & (voiced > 0.7)
    tilt = band(1800, 8000) - band(420, 1800)
    upper = power[:, hz >= 1500]
    return Cues(
        level=level,
        voiced=voiced,
        open=_relative(band(550, 1050) - band(180, 420), vowel),
        front=_relative(band(1750, 2900) - band(750, 1450), vowel),
        centroid_hz=(upper * hz[hz >= 1500]).sum(1) / (upper.sum(1) + 1e-12),
        seal=_seal(level, band(550, 3000), tilt, float(np.median(tilt[vowel])) if vowel.any() else 0.0),
    )


def shapes(cues: Cues) -> dict[str, Float[np.ndarray, " t"]]:
    """Strength of every viseme of `TARGETS` over time; vowels are mixed bilinearly from the two formant cues."""
    vowel = cues.level**0.7 * cues.voiced
    friction = np.minimum(1, 1.6 * cues.level) * (1 - cues.voiced)
    high = _sigmoid((cues.centroid_hz - 4300) / 350)
    weak = np.clip(1 - cues.level / 0.35, 0, 1)
    return {
        "open_back": vowel * cues.open * (1 - cues.front),
        "open_front": vowel * cues.open * cues.front,
        "spread": vowel * (1 - cues.open) * cues.front,
        "round": vowel * (1 - cues.open) * (1 - cues.front),
        "hiss": friction * high * (1 - weak),
        "hush": friction * (1 - high) * (1 - weak),
        "lip_teeth": friction * weak,
    }


def mouth(samples: Float[np.ndarray, " n"]) -> Float[np.ndarray, "t 52"]:
    """ARKit actions of the mouth, `CUE_FPS` frames per second, 0 = this person's rest."""
    cues = hear(samples)
    return articulated(shapes(cues), cues.seal)


def articulated(
    strengths: dict[str, Float[np.ndarray, " t"]], seal: Float[np.ndarray, " t"]
) -> Float[np.ndarray, "t 52"]:
    """ARKit actions of the mouth from the strength of visemes, `CUE_FPS` frames per second.

    Closures are cut in after smoothing: a filter would leave the lips ajar on p, b and m.

    Args:
        strengths: 0 to 1 by name of `TARGETS`.
        seal: how firmly the lips are pressed together, 0 to 1.
    """
    expression = np.zeros((len(seal), N_EXPRESSIONS))
    for name, strength in strengths.items():
        expression += strength[:, None] * target_vector(TARGETS[name])
    expression = smooth(expression, _SMOOTHING_SECONDS)
    seal = smooth(seal[:, None], 0.008)
    rounded = [ARKIT_INDEX["mouthPucker"]]
    kept = expression[:, rounded]
    expression = expression * (1 - seal)
    expression[:, rounded] = kept * (1 - 0.5 * seal)
    return np.clip(expression + seal * target_vector(SEALED), 0, 1)


def target_vector(actions: dict[str, float]) -> Float[np.ndarray, "52"]:
    """Actions by name as a vector; a name without its side sets both sides."""
    vector = np.zeros(N_EXPRESSIONS)
    for name, value in actions.items():
        for full in (name,) if name in ARKIT_INDEX else (f"{name}Left", f"{name}Right"):
            vector[ARKIT_INDEX[full]] = value
    return vector


def smooth(x: Float[np.ndarray, "t k"], seconds: float) -> Float[np.ndarray, "t k"]:
    """Critically damped second-order low-pass at `CUE_FPS`, moved forward by its lag so that nothing comes late."""
    decay = np.exp(-1 / (seconds * CUE_FPS))
    lag = round(2 * decay / (1 - decay))
    padded = np.concatenate([x, np.repeat(x[-1:], lag, axis=0)])
    # Both poles at `decay`: the fastest approach without overshoot.
    return np.asarray(lfilter([(1 - decay) ** 2], [1, -2 * decay, decay**2], padded, axis=0))[lag:]


def _spectrogram(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Power per cue and frequency, and the frequencies; in blocks, so that an hour of speech fits in memory."""
    hop = RATE // CUE_FPS
    count = max(1, len(samples) // hop)
    padded = np.pad(samples.astype(np.float32), (_WINDOW // 2, _WINDOW + hop))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[: count * hop : hop]
    window = np.hanning(_WINDOW)
    power = np.empty((count, _FFT // 2 + 1), np.float32)
    for start in range(0, count, _BLOCK):
        block = slice(start, start + _BLOCK)
        power[block] = np.abs(np.fft.rfft(frames[block] * window, _FFT)) ** 2 * (2 / window.sum() ** 2)
    return power, np.fft.rfftfreq(_FFT, 1 / RATE)


def _relative(decibels: np.ndarray, where: np.ndarray) -> np.ndarray:
    """A band ratio as 0..1 around its own median over vowels; few or equal vowels are not blown up."""
    if where.sum() < 5:
        return np.full_like(decibels, 0.5)
    middle = np.median(decibels[where])
    spread = max(float(np.percentile(np.abs(decibels[where] - middle), 70)), 4.0)
    return uniform_filter1d(_sigmoid(1.8 * (decibels - middle) / spread), 3)


def _seal(level: np.ndarray, body: np.ndarray, tilt: np.ndarray, typical_tilt: float) -> np.ndarray:
    """How surely each frame is a closure of the lips.

    Args:
        level: loudness, 0 to 1.
        body: sound between the first and second formant, dB: every oral closure (stop or nasal) takes it away.
        tilt: sound above the second formant's middle against that below, dB.
        typical_tilt: its median over vowels.
    """
    before = maximum_filter1d(body, 2 * _REACH + 1, origin=_REACH)
    after = maximum_filter1d(body, 2 * _REACH + 1, origin=-_REACH)
    closed = np.minimum(before, after) - body > 14
    edges = np.flatnonzero(np.diff(np.concatenate([[0], closed, [0]])))
    seal = np.zeros(len(body))
    for start, end in edges.reshape(-1, 2):
        around = np.arange(max(0, start - 5), min(len(body), end + 6))
        around = around[level[around] > 0.15]
        sides = [side for side in (around[around < start], around[around >= end]) if len(side)]
        if not sides or not 2 <= end - start <= 20:
            continue
        # Tongue-tip stops and their hisses rise above the vowels; towards closed lips the second formant falls.
        hiss = tilt[around].max() - typical_tilt
        fall = typical_tilt - min(float(np.median(tilt[side])) for side in sides)
        seal[start:end] = _sigmoid((fall - 4.5) / 1.2) * _sigmoid((26 - hiss) / 2)
    return seal


def _sigmoid(x):
    return 1 / (1 + np.exp(-np.clip(x, -40, 40)))
