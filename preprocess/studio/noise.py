"""Seeded smooth noise pictures."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def value_noise(
    rng: np.random.Generator, width: int, height: int, cell_px: float, octaves: int = 3
) -> Float[np.ndarray, "h w"]:
    """Random values on a grid of `cell_px`, interpolated smoothly, with halving cells on top; about -1 to 1."""
    import cv2

    out, weight = np.zeros((height, width), np.float32), 1.0
    for octave in range(octaves):
        cell = cell_px / 2**octave
        grid = rng.uniform(-1, 1, (max(2, round(height / cell)), max(2, round(width / cell)))).astype(np.float32)
        out += weight * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        weight /= 2
    return out
