"""Image metrics of single frames, and the statistics that compare tracks."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from cuda_ext import ops


def psnr(
    image: Float[Tensor, "h w 3"], target: Float[Tensor, "h w 3"], mask: Bool[Tensor, "h w"] | None = None
) -> float:
    """Peak signal-to-noise ratio in dB of one frame in [0, 1], over `mask` if given; 100 for identical images."""
    error = (image - target).square()
    return psnr_of(float(error[mask].mean() if mask is not None else error.mean()))


def psnr_of(mean_squared_error: float) -> float:
    """Peak signal-to-noise ratio in dB of values in [0, 1]; 100 for identical images."""
    return min(-10 * math.log10(max(mean_squared_error, 1e-10)), 100.0)


def ssim(image: Float[Tensor, "h w 3"], target: Float[Tensor, "h w 3"]) -> float:
    """Structural similarity of one frame in [0, 1] (Wang et al. 2004): 11x11, sigma 1.5, zero padded, per channel."""
    return float(ops.ssim(image.contiguous(), target.contiguous()))


def correlation(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> float:
    """Pearson's r; NaN when either side is empty or does not vary: nothing can be said then."""
    if len(a) < 2 or np.std(a) < 1e-9 or np.std(b) < 1e-9:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def slope(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> float:
    """Least-squares slope of b over a: 1 means the same amplitude; NaN when a is empty or does not vary."""
    if len(a) < 2 or np.std(a) < 1e-9:
        return float("nan")
    centred = a - a.mean()
    return float(centred @ (b - b.mean()) / (centred @ centred))


def rounded(value: float | np.floating, digits: int = 4) -> float | None:
    """A score for JSON, which has no NaN: None says that there is none."""
    return round(float(value), digits) if np.isfinite(value) else None


def jitter(points: Float[np.ndarray, "t n 2"]) -> float:
    """Mean length of the third difference along time; frames with NaN and their neighbours are left out."""
    third = np.linalg.norm(np.diff(points, 3, axis=0), axis=-1).mean(-1)
    known = np.isfinite(third)
    return float(third[known].mean()) if known.any() else float("nan")


def lag_frames(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"], most: int = 6) -> int | None:
    """By how many frames b comes later than a, by the best correlation; None where there is none."""
    ends = {s: (a[: len(a) - s], b[s:]) if s >= 0 else (a[-s:], b[:s]) for s in range(-most, most + 1)}
    found = {s: r for s, pair in ends.items() if np.isfinite(r := correlation(*pair))}
    return max(found, key=lambda s: (round(found[s], 6), -abs(s)), default=None)
