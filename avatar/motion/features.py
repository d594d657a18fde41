"""Speech as numbers, 100 times per second: log-mel, MFCC, pitch, voicing and energy; one definition, live or at once.

Frame k looks at 25 ms around 12.5 ms + k * 10 ms, its pitch at 42 ms around the same moment. Nothing else enters it:
no statistics of the clip, no neighbours. So sound that comes in pieces gives the same bits as the whole
(`FeatureStream`), and each frame is there 21 ms after its middle was heard.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float
from scipy.sparse import csr_array

from avatar.motion.audio import RATE
from avatar.motion.pitch import span_samples, yin

WINDOW_SECONDS, HOP_SECONDS = 0.025, 0.01
N_MELS, N_MFCC = 80, 13
SILENCE_DB = -100.0
"""`energy_db` of digital silence."""
_WINDOW, _HOP = round(WINDOW_SECONDS * RATE), round(HOP_SECONDS * RATE)
_SPAN = span_samples(RATE)
_LEAD = (_SPAN - _WINDOW) // 2
"""Samples before the window that pitch looks at."""
REACH_SECONDS = (_SPAN - _LEAD) / RATE
"""Row k is there when the sound up to k * HOP_SECONDS + this has been heard."""
_MEL_FFT, _MFCC_FFT, _MFCC_BANDS = 1024, 512, 26
_FLOOR = 1e-10
_LEAST_VOICE_DB = -65.0
_BLOCK = 256
"""Frames that are computed at once; bounds the memory of long speech."""


@dataclass(frozen=True)
class AudioFeatures:
    """Features of one track every 10 ms."""

    timestamps_seconds: Float[np.ndarray, " n"]
    log_mel: Float[np.ndarray, "n bands"]
    """Natural logarithm of mel-band power; digital silence is ln 1e-10 = -23."""
    mfcc: Float[np.ndarray, "n 13"]
    f0_hz: Float[np.ndarray, " n"]
    """Pitch, 60 to 500 Hz; 0 where there is no voice."""
    voicing: Float[np.ndarray, " n"]
    """Periodicity: 0 for noise and silence to 1 for a steady tone."""
    energy_db: Float[np.ndarray, " n"]
    """Mean square against full scale: a sine of amplitude 1 has -3."""

    def __len__(self) -> int:
        return len(self.timestamps_seconds)

    @property
    def voiced(self) -> Bool[np.ndarray, " n"]:
        """Where there is a voice (or anything else with a pitch)."""
        return self.f0_hz > 0

    def at(self, seconds: Float[np.ndarray, " t"]) -> AudioFeatures:
        """Features at a clip's own frame times (the reverse, resampling the clip, would blur motion).

        Interpolated; pitch, which jumps to 0 between voices, is that of the nearest frame.
        """

        def sampled(rows: np.ndarray) -> np.ndarray:
            columns = [np.interp(seconds, self.timestamps_seconds, c) for c in rows.reshape(len(rows), -1).T]
            return np.stack(columns, -1).astype(np.float32).reshape(len(seconds), *rows.shape[1:])

        index = np.rint(np.interp(seconds, self.timestamps_seconds, np.arange(len(self)))).astype(int)
        return AudioFeatures(
            np.asarray(seconds, np.float32), sampled(self.log_mel), sampled(self.mfcc), self.f0_hz[index],
            sampled(self.voicing), sampled(self.energy_db),
        )  # fmt: skip


class FeatureStream:
    """Features of sound that arrives in pieces: feed all samples in any pieces, flush, and join what came out."""

    def __init__(self, bands: int = N_MELS) -> None:
        self._bands = bands
        self._restart()

    def _restart(self) -> None:
        self._waiting = np.zeros(_LEAD, np.float32)
        self._heard = self._given = 0

    def feed(self, samples: Float[np.ndarray, " n"]) -> AudioFeatures:
        """The frames that these 16 kHz mono samples in [-1, 1] complete; possibly none."""
        self._heard += len(samples)
        self._waiting = np.concatenate([self._waiting, np.asarray(samples, np.float32)])
        return self._take(max(0, 1 + (len(self._waiting) - _SPAN) // _HOP))

    def flush(self) -> AudioFeatures:
        """The last frames, behind whose end there is silence; no sound at all gives one frame. Then starts anew."""
        count = frame_count(self._heard) - self._given
        missing = (count - 1) * _HOP + _SPAN - len(self._waiting)
        self._waiting = np.pad(self._waiting, (0, max(0, missing)))
        last = self._take(count)
        self._restart()
        return last

    def _take(self, count: int) -> AudioFeatures:
        if not count:
            return _empty(self._bands)
        spans = np.lib.stride_tricks.sliding_window_view(self._waiting, _SPAN)[::_HOP][:count]
        parts = [
            _compute(spans[begin : begin + _BLOCK], self._given + begin, self._bands)
            for begin in range(0, count, _BLOCK)
        ]
        self._waiting = self._waiting[count * _HOP :]
        self._given += count
        return join(parts)


def features(samples: Float[np.ndarray, " n"], bands: int = N_MELS) -> AudioFeatures:
    """Features of a whole 16 kHz mono track in [-1, 1]; an empty one gives one frame of silence.

    Args:
        bands: mel bands, 26 to 80.
    """
    stream = FeatureStream(bands)
    return join([stream.feed(samples), stream.flush()])


def join(parts: Iterable[AudioFeatures]) -> AudioFeatures:
    """Frames that follow each other as one."""
    parts = list(parts)
    return AudioFeatures(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(AudioFeatures)))


def frame_count(samples: int) -> int:
    """Frames of a track of that many samples: the last one reaches its end."""
    return 1 + max(0, -(-(samples - _WINDOW) // _HOP))


def log_mel(samples: Float[np.ndarray, " n"], bands: int = N_MELS) -> Float[np.ndarray, "f bands"]:
    """`features(samples, bands).log_mel` without the cost of the others."""
    count = frame_count(len(samples))
    padded = np.pad(np.asarray(samples, np.float32), (0, (count - 1) * _HOP + _WINDOW - len(samples)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP][:count]
    return np.concatenate([_log_mel(windows[k : k + _BLOCK], bands) for k in range(0, count, _BLOCK)])


def _empty(bands: int) -> AudioFeatures:
    none = np.zeros(0, np.float32)
    return AudioFeatures(none, np.zeros((0, bands), np.float32), np.zeros((0, N_MFCC), np.float32), none, none, none)


def _compute(spans: Float[np.ndarray, "n s"], first: int, bands: int) -> AudioFeatures:
    """Frames `first` and on. Each row is computed by operations that don't mix rows nor round differently with them."""
    spans = spans.astype(np.float64)
    window = spans[:, _LEAD : _LEAD + _WINDOW]
    energy_db = 10 * np.log10((window * window).sum(1) / _WINDOW + _FLOOR)
    f0_hz, voicing = yin(spans, RATE)
    loud = energy_db > _LEAST_VOICE_DB
    found = (
        WINDOW_SECONDS / 2 + HOP_SECONDS * np.arange(first, first + len(spans)),
        _log_mel(window, bands),
        _mfcc(spans[:, _LEAD - 1 : _LEAD + _WINDOW]),
        np.where(loud, f0_hz, 0),
        np.where(loud, voicing, 0),
        energy_db,
    )
    return AudioFeatures(*(x.astype(np.float32) for x in found))


def _log_mel(windows: Float[np.ndarray, "n w"], bands: int) -> Float[np.ndarray, "n bands"]:
    """Log power in `bands` triangular mel bands from 0 to 8 kHz, Hann windows.

    The bands are those of O'Shaughnessy's mel scale, m = 2595 log10(1 + f / 700), as in HTK and python_speech_features,
    but with fractional edges: rounding them to spectrum bins leaves the lowest of 80 bands empty.
    """
    power = _power(windows * np.hanning(_WINDOW), _MEL_FFT)
    return np.log(_per_row(_mel_weights(bands), power) + _FLOOR).astype(np.float32)


def _mfcc(windows: Float[np.ndarray, "n w1"]) -> Float[np.ndarray, "n 13"]:
    """Mel-frequency cepstra as python_speech_features has them for 16-bit samples: pre-emphasis 0.97, no taper,
    26 bands, lifter 22, the first one replaced by the log energy.

    Args:
        windows: with the sample before each.
    """
    scaled = windows * 32767.0
    power = _power(scaled[:, 1:] - 0.97 * scaled[:, :-1], _MFCC_FFT)
    bank, cosines = _cepstral_weights()
    least = np.finfo(np.float64).eps
    cepstra = _per_row(cosines, np.log(np.maximum(_per_row(bank, power), least)))
    cepstra[:, 0] = np.log(np.maximum(power.sum(1), least))
    return cepstra


def _power(windows: np.ndarray, n_fft: int) -> Float[np.ndarray, "n bins"]:
    spectrum = np.fft.rfft(windows, n_fft)
    return (spectrum.real**2 + spectrum.imag**2) / n_fft


def _per_row(weights: csr_array, rows: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n m"]:
    """`rows @ weights.T` with one order of summation: BLAS takes another one for another number of rows."""
    return np.ascontiguousarray((weights @ np.ascontiguousarray(rows.T)).T)


@lru_cache(maxsize=4)
def _mel_weights(bands: int) -> csr_array:
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + RATE / 1400), bands + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(_MEL_FFT, 1 / RATE)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    return csr_array(np.clip(np.minimum(rising, falling), 0, None))


@lru_cache(maxsize=1)
def _cepstral_weights() -> tuple[csr_array, csr_array]:
    """Mel bands from power, and liftered cosines from log bands."""
    from python_speech_features import get_filterbanks, lifter
    from scipy.fft import dct

    cosines = np.asarray(dct(np.eye(_MFCC_BANDS), type=2, axis=0, norm="ortho"))[:N_MFCC]
    bank = get_filterbanks(_MFCC_BANDS, _MFCC_FFT, RATE)
    return csr_array(bank), csr_array(lifter(cosines.T, 22).T)
