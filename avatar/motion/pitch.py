"""The pitch of a voice, frame by frame: YIN (de Cheveigne and Kawahara, J. Acoust. Soc. Am. 111, 2002)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

LOWEST_HZ, HIGHEST_HZ = 60.0, 500.0
SUMMED_SECONDS = 0.025
"""Of sound that is compared with itself one period later."""
_DIP = 0.15
"""A period is the first lag whose normalised difference dips below this: multiples of it dip as deep."""
_APERIODIC = 0.4
"""Where the deepest dip stays above this, there is no voice."""


def span_samples(rate: int) -> int:
    """Samples that one estimate looks at: the summed ones and the longest period."""
    return round(SUMMED_SECONDS * rate) + int(rate / LOWEST_HZ) + 2


def yin(spans: Float[np.ndarray, "n s"], rate: int) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Pitch of each row.

    Every row is computed by itself, with operations that round alike wherever it stands: a row alone gives the same
    bits as the same row among others.

    Args:
        spans: rows of `span_samples(rate)` samples.

    Returns:
        Pitch in Hz, 0 where there is no voice, and periodicity (one minus the normalised difference, equation 8 of the
        paper), 0 for noise and silence to 1 for a steady tone.
    """
    aperiodic = _normalised_difference(spans - spans.mean(1, keepdims=True), round(SUMMED_SECONDS * rate))
    first = int(rate / HIGHEST_HZ)
    inner = aperiodic[:, first:-1]
    lowest = (inner <= aperiodic[:, first - 1 : -2]) & (inner < aperiodic[:, first + 1 :])
    dips = lowest & (inner < _DIP)
    lag = first + np.where(dips.any(1), dips.argmax(1), inner.argmin(1))
    rows = np.arange(len(spans))
    before, here, after = (aperiodic[rows, lag + k] for k in (-1, 0, 1))
    bend = before - 2 * here + after
    # The vertex of the parabola through three points; at the end of the range there may be none.
    shift = np.where(bend > 1e-12, 0.5 * (before - after) / np.where(bend > 1e-12, bend, 1.0), 0.0).clip(-0.5, 0.5)
    periodicity = np.clip(1 - here, 0, 1)
    return np.where(here < _APERIODIC, rate / (lag + shift), 0.0), periodicity


def _normalised_difference(x: np.ndarray, summed: int) -> Float[np.ndarray, "n lags"]:
    """Squared difference of each row and itself shifted, over its mean over shorter lags; 1 at lag 0 and in silence."""
    n_fft = 1 << (x.shape[1] - 1).bit_length()
    lags = np.arange(x.shape[1] - summed)
    part, whole = np.fft.rfft(x[:, :summed], n_fft), np.fft.rfft(x, n_fft)
    # Real products instead of complex ones, whose rounding may depend on the place in a vector register.
    cross = np.empty_like(whole)
    cross.real = part.real * whole.real + part.imag * whole.imag
    cross.imag = part.real * whole.imag - part.imag * whole.real
    power = np.cumsum(np.pad(x * x, ((0, 0), (1, 0))), axis=1)
    shifted = power[:, lags + summed] - power[:, lags]
    difference = np.maximum(shifted[:, :1] + shifted - 2 * np.fft.irfft(cross, n_fft)[:, : len(lags)], 0)
    total = np.cumsum(difference[:, 1:], axis=1)
    out = np.ones_like(difference)
    np.divide(difference[:, 1:] * lags[1:], total, out=out[:, 1:], where=total > 1e-9 * power[:, -1:] + 1e-12)
    return out
