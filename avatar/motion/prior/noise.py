"""What motion is made from: noise, as slow for slow numbers as their motion is. numpy only.

White noise has hardly any slow parts. A slow motion shows through it at once, so that it is decided in the first of
many steps, and what is left of the noise at the end trembles. Noise that is slow itself gives way evenly (correlated
noise for video: Ge et al., Preserve your own correlation, ICCV 2023).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Int

from avatar.motion.groups import GROUP_NAMES

_SLOW_GROUPS = ("upper", "head")
_SLOW_FRAMES = 8.0
"""Deviation of the kernel."""
REACH = 32
"""Frames to each side that it reaches."""


def _kernel() -> Float[np.ndarray, " k"]:
    kernel = np.exp(-0.5 * (np.arange(-REACH, REACH + 1) / _SLOW_FRAMES) ** 2)
    return (kernel / np.linalg.norm(kernel)).astype(np.float32)


KERNEL = _kernel()
"""What white noise is filtered by, of unit energy."""


def slow_of(group: Int[np.ndarray, " d"]) -> Bool[np.ndarray, " d"]:
    """Which numbers of a motion space are slow, by their groups."""
    return np.isin(group, [GROUP_NAMES.index(name) for name in _SLOW_GROUPS])


def noise(seed: int, first: int, frames: int, slow: Bool[np.ndarray, " d"]) -> Float[np.ndarray, "t d"]:
    """Numbers of unit deviation for frames `first` and on; each frame's depend on the seed and its number alone."""
    rows = np.stack([_white(seed, k, len(slow)) for k in range(first - REACH, first + frames + REACH)])
    filtered = np.stack([KERNEL @ rows[k : k + len(KERNEL)] for k in range(frames)])
    return np.where(slow, filtered, rows[REACH : REACH + frames])


@lru_cache(maxsize=4 * REACH)
def _white(seed: int, frame: int, size: int) -> Float[np.ndarray, " d"]:
    generator = np.random.Generator(np.random.Philox(key=np.array([seed, frame % 2**64], np.uint64)))
    return generator.standard_normal(size, np.float32)
