"""The same words in another sound, for which the true motion stays true: what a driver must not be put off by.

Pitch and tempo are changed by a phase vocoder (Flanagan and Golden 1966), the spectral envelope is told from the pitch
by cepstral smoothing (Oppenheim and Schafer 1968).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from jaxtyping import Complex, Float
from scipy.signal import istft, resample_poly, stft

from avatar.evaluation.metrics import rounded
from avatar.evaluation.motion.bootstrap import Score
from avatar.evaluation.motion.lips import lip_scores
from avatar.evaluation.motion.material import HeldOut
from avatar.evaluation.motion.reference import Reference
from avatar.evaluation.motion.scores import judged, pair_of
from avatar.evaluation.motion.sync import sync_scores
from avatar.motion.audio import RATE
from avatar.motion.hearing import FPS
from avatar.motion.resampling import resampled
from avatar.motion.takes import Take
from avatar.tracks import Motion

COMPARED = ("closure_f1", "lip_vertex_error_mm", "aperture_speed_r", "sync_distance", "sync_confidence")
_FFT, _HOP = 1024, 256
_LIFTER = 40
"""Cepstra below which are the envelope's: pitch of up to 400 Hz lies beyond."""
_FLOOR = 1e-7


def stretched(samples: Float[np.ndarray, " n"], tempo: float) -> Float[np.ndarray, " m"]:
    """As fast by `tempo`, of the same pitch: n / tempo samples."""
    spectrum = _spectrum(samples)
    advance = 2 * np.pi * _HOP * np.arange(len(spectrum)) / _FFT
    places = np.arange(0, spectrum.shape[1] - 1, tempo)
    left, share = places.astype(int), places % 1
    size, phase = np.abs(spectrum), np.angle(spectrum)
    sizes = (1 - share) * size[:, left] + share * size[:, left + 1]
    turned = phase[:, left + 1] - phase[:, left] - advance[:, None]
    steps = advance[:, None] + turned - 2 * np.pi * np.rint(turned / (2 * np.pi))
    phases = phase[:, :1] + np.cumsum(np.concatenate([np.zeros((len(size), 1)), steps[:, :-1]], 1), 1)
    return _sound(sizes * np.exp(1j * phases), round(len(samples) / tempo))


def pitched(samples: Float[np.ndarray, " n"], semitones: float) -> Float[np.ndarray, " n"]:
    """Spoken higher, at the same pace by the same mouth: formants stay."""
    ratio = Fraction(2 ** (semitones / 12)).limit_denominator(200)
    longer = stretched(samples, 1 / float(ratio))
    moved = _fitted(np.asarray(resample_poly(longer, ratio.denominator, ratio.numerator)), len(samples))
    spectrum = _spectrum(moved)
    return _sound(spectrum * np.exp(_envelope(_spectrum(samples)) - _envelope(spectrum)), len(samples))


def warped(samples: Float[np.ndarray, " n"], factor: float) -> Float[np.ndarray, " n"]:
    """By another mouth at the same pitch: formants times `factor`."""
    spectrum = _spectrum(samples)
    own = _envelope(spectrum)
    bins = np.arange(len(own))
    other = np.stack([np.interp(bins / factor, bins, column) for column in own.T], 1)
    return _sound(spectrum * np.exp(other - own), len(samples))


def narrow(samples: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """As over a telephone that samples at 8 kHz: nothing above 4 kHz."""
    return _fitted(np.asarray(resample_poly(resample_poly(samples, 1, 2), 2, 1)), len(samples))


def noisy(samples: Float[np.ndarray, " n"], snr_db: float, seed: int = 0) -> Float[np.ndarray, " n"]:
    """With white noise that much under the mean power."""
    power = float(np.mean(np.square(samples, dtype=np.float64)))
    noise = np.random.default_rng([seed, 54]).standard_normal(len(samples))
    return (samples + np.sqrt(power * 10 ** (-snr_db / 10)) * noise).clip(-1, 1).astype(np.float32)


@dataclass(frozen=True)
class Disguise:
    """Another sound of the same words, and how much faster they are said in it."""

    change: Callable[[np.ndarray], np.ndarray]
    tempo: float = 1.0

    def of(self, take: Take) -> Take:
        """The take as it would have been."""
        samples = self.change(take.samples_16k)
        if self.tempo == 1:
            return replace(take, samples_16k=samples)
        seconds = np.arange(max(1, round(len(samples) / RATE * FPS))) / FPS
        motion = resampled(take.motion, take.motion.timestamps_seconds[0] + seconds * self.tempo)
        confidence = np.interp(motion.timestamps_seconds, take.motion.timestamps_seconds, take.confidence)
        moved = replace(motion, timestamps_seconds=seconds)
        return Take(moved, samples, confidence.astype(np.float32), take.speaker)


DISGUISES: dict[str, Disguise] = {
    "pitch +4 semitones": Disguise(lambda s: pitched(s, 4)),
    "pitch -4 semitones": Disguise(lambda s: pitched(s, -4)),
    "formants x 1.12": Disguise(lambda s: warped(s, 1.12)),
    "formants x 0.88": Disguise(lambda s: warped(s, 0.88)),
    "8 kHz": Disguise(narrow),
    "noise, 20 dB": Disguise(lambda s: noisy(s, 20)),
    "noise, 10 dB": Disguise(lambda s: noisy(s, 10)),
    "tempo +10 %": Disguise(lambda s: stretched(s, 1.1), 1.1),
    "tempo -10 %": Disguise(lambda s: stretched(s, 0.9), 0.9),
}


def robustness(
    drive: Callable[[np.ndarray], Motion],
    takes: Sequence[Take],
    reference: Reference,
    disguises: Mapping[str, Disguise] = DISGUISES,
) -> dict[str, dict[str, float | None]]:
    """How lips change when the same words sound differently: closure F1, lip error and sync, minus those of before.

    Args:
        drive: motion for a sound (16 kHz mono).
        takes: held out, at 25 frames per second.
    """
    plain = _scores([drive(take.samples_16k) for take in takes], takes, reference)
    out = {}
    for name, disguise in disguises.items():
        others = [disguise.of(take) for take in takes]
        # Lips are to fit the words, so sync is judged on clean sound; only another tempo has another truth.
        truth = takes if disguise.tempo == 1 else others
        found = _scores([drive(take.samples_16k) for take in others], truth, reference)
        out[name] = {key: _change(plain[key], value) for key, value in found.items()}
    return out


def _change(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else rounded(after - before)


def _scores(motions: Sequence[Motion], truth: Sequence[Take], known: Reference) -> dict[str, float | None]:
    pair = pair_of(motions, HeldOut.of(truth, known.geometry, known.space), known)
    found: dict[str, Score] = judged(lip_scores(pair, known.closed_mm) | sync_scores(pair, known.probe))
    return {name: found[name].value for name in COMPARED}


def _spectrum(samples: np.ndarray) -> Complex[np.ndarray, "f t"]:
    return stft(samples, RATE, nperseg=_FFT, noverlap=_FFT - _HOP)[2]


def _sound(spectrum: np.ndarray, count: int) -> Float[np.ndarray, " n"]:
    samples = np.asarray(istft(spectrum, RATE, nperseg=_FFT, noverlap=_FFT - _HOP)[1])
    return _fitted(samples, count)


def _fitted(samples: np.ndarray, count: int) -> Float[np.ndarray, " n"]:
    return np.pad(samples[:count], (0, max(0, count - len(samples)))).clip(-1, 1).astype(np.float32)


def _envelope(spectrum: np.ndarray) -> Float[np.ndarray, "f t"]:
    """Logarithm of the smooth part of each spectrum."""
    cepstra = np.fft.irfft(np.log(np.abs(spectrum) + _FLOOR), axis=0)
    cepstra[_LIFTER : len(cepstra) - _LIFTER + 1] = 0
    return np.fft.rfft(cepstra, axis=0).real
