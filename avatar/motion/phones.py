"""The sounds of speech and their times: formants for the ear, visemes for the eye."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from avatar.motion.visemes import CUE_FPS, TARGETS


@dataclass(frozen=True)
class Sound:
    """One phone. Formants after the usual textbook averages for adults (Peterson and Barney 1952)."""

    formants_hz: tuple[float, float, float]
    voice: float
    """Loudness of the voiced part."""
    noise: float
    noise_hz: float
    seconds: float
    visemes: dict[str, float]
    """Strength by name of `avatar.motion.visemes.TARGETS`; nothing says: as its neighbours."""
    sealed: bool = False
    vowel: bool = False


def _vowel(f1: float, f2: float, f3: float, **visemes: float) -> Sound:
    return Sound((f1, f2, f3), 1.0, 0.0, 0.0, 0.13, visemes, vowel=True)


def _consonant(
    seconds: float, voice: float, noise: float, noise_hz: float, formants=(350, 1700, 2600), **visemes: float
):
    return Sound(formants, voice, noise, noise_hz, seconds, visemes)


def _sealed(seconds: float, voice: float, formants: tuple[float, float, float]) -> Sound:
    return Sound(formants, voice, 0.0, 0.0, seconds, {}, sealed=True)


SOUNDS: dict[str, Sound] = {
    "aa": _vowel(730, 1090, 2440, open_back=1.0), "ae": _vowel(660, 1720, 2410, open_front=1.0),
    "ah": _vowel(640, 1190, 2390, open_back=0.6, open_front=0.15),
    "ao": _vowel(570, 840, 2410, open_back=0.6, round=0.5),
    "eh": _vowel(530, 1840, 2480, open_front=0.55, spread=0.35), "er": _vowel(490, 1350, 1690, round=0.35, spread=0.3),
    "ih": _vowel(390, 1990, 2550, spread=0.75), "iy": _vowel(270, 2290, 3010, spread=1.0),
    "uh": _vowel(440, 1020, 2240, round=0.7, open_back=0.15), "uw": _vowel(300, 870, 2240, round=1.0),
    "p": _sealed(0.09, 0.0, (300, 800, 2200)), "b": _sealed(0.08, 0.12, (250, 800, 2200)),
    "m": _sealed(0.085, 0.45, (260, 1000, 2200)),
    "f": _consonant(0.10, 0.0, 0.16, 5500, lip_teeth=1.0), "v": _consonant(0.07, 0.35, 0.08, 5500, lip_teeth=1.0),
    "s": _consonant(0.11, 0.0, 0.45, 6200, hiss=1.0), "z": _consonant(0.08, 0.3, 0.28, 6000, hiss=0.9),
    "sh": _consonant(0.11, 0.0, 0.45, 3000, hush=1.0), "th": _consonant(0.09, 0.0, 0.12, 5000, hiss=0.5),
    "t": _consonant(0.07, 0.0, 0.22, 4500), "d": _consonant(0.06, 0.2, 0.12, 4000),
    "k": _consonant(0.07, 0.0, 0.2, 2200), "g": _consonant(0.06, 0.2, 0.1, 2200),
    "n": _consonant(0.07, 0.5, 0.0, 0, (280, 1700, 2600)), "ng": _consonant(0.08, 0.5, 0.0, 0, (280, 2100, 2700)),
    "l": _consonant(0.06, 0.7, 0.0, 0, (360, 1300, 2700)),
    "r": _consonant(0.06, 0.7, 0.0, 0, (420, 1300, 1600), round=0.45),
    "w": _consonant(0.07, 0.7, 0.0, 0, (300, 700, 2200), round=0.95),
    "y": _consonant(0.06, 0.7, 0.0, 0, (280, 2250, 3000), spread=0.7),
    "hh": _consonant(0.06, 0.0, 0.12, 1800), "pau": Sound((500, 1500, 2500), 0.0, 0.0, 0.0, 0.5, {}),
}  # fmt: skip


STRESSED = 0.25
"""How much further the mouth goes in a stressed vowel."""


@dataclass(frozen=True)
class Phone:
    """A sound with its time."""

    name: str
    start_seconds: float
    end_seconds: float
    stress: float = 0.0
    """How far a vowel stands out: 1 for the strongest syllable of a phrase; 0 for all others, or if nobody knows."""

    def viseme(self, name: str) -> float:
        """Strength of a mouth shape; what is stressed is shaped more clearly."""
        return SOUNDS[self.name].visemes.get(name, 0.0) * (1 + STRESSED * self.stress)


def articulation(
    phones: list[Phone],
    cues: int,
    effort: float | Float[np.ndarray, " t"] = 1.0,
    shortest_closure_seconds: float = 0.0,
) -> tuple[dict[str, Float[np.ndarray, " t"]], Float[np.ndarray, " t"]]:
    """Viseme strengths and lip seal at `CUE_FPS`, as `avatar.motion.visemes.articulated` takes them.

    Coarticulation: sounds without a shape of their own pass from one neighbour's to the other's; rounding is taken on
    early, as in Cohen and Massaro's model of 1993, by a wider blur.

    Args:
        effort: how far the mouth goes towards its shapes; closures are always complete.
        shortest_closure_seconds: lips that meet stay together for so long, however short the sound is.
    """
    from scipy.ndimage import gaussian_filter1d

    times = np.arange(cues) / CUE_FPS
    known = [p for p in phones if SOUNDS[p.name].visemes or p.name == "pau"]
    middles = np.array([(p.start_seconds + p.end_seconds) / 2 for p in known])
    strengths = {}
    for name in TARGETS:
        own = np.array([p.viseme(name) for p in known])
        between = np.interp(times, middles, own) if known else np.zeros(cues)
        strengths[name] = 0.7 * between
    seal = np.zeros(cues)
    for phone in phones:
        sound, inside = SOUNDS[phone.name], during(phone, times)
        for name in TARGETS if sound.visemes or phone.name == "pau" else ():
            strengths[name][inside] = phone.viseme(name)
        if sound.sealed:
            missing = max(0.0, shortest_closure_seconds - (phone.end_seconds - phone.start_seconds)) / 2
            held = np.searchsorted(times, (phone.start_seconds - missing, phone.end_seconds + missing))
            seal[slice(*held)] = 1.0
    strengths["round"] = gaussian_filter1d(strengths["round"], 0.05 * CUE_FPS)
    return {name: effort * strength for name, strength in strengths.items()}, seal


def during(phone: Phone, times: Float[np.ndarray, " t"]) -> slice:
    """Which of some rising times lie in a phone: from its start on, before its end."""
    return slice(*np.searchsorted(times, (phone.start_seconds, phone.end_seconds)).tolist())
