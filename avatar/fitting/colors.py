"""What the training frames show at points of a person: their colours, and in which frames nothing covers them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.spatial import KDTree
from torch import Tensor

from avatar.fitting.frames import FrameStore

Placed = Callable[[int], tuple[Float[Tensor, "n 3"], Bool[np.ndarray, " n"]]]
"""Where n points are in a frame, and which of them turn to the camera there."""


def median_colors(frames: FrameStore, indices: list[int], placed: Placed) -> Float[Tensor, "n 3"]:
    """Median over frames of the pixel under each point, which forgets hands and hair that pass by.

    Only frames in which it faces the camera and lies on the person count; what never does takes the colour of its
    nearest neighbour that does, or turning the head would show the face's colours on its side.
    """
    samples = np.array([_pixels(frames, index, placed) for index in indices])
    points = placed(indices[-1])[0].numpy()
    seen = np.isfinite(samples).any((0, 2))
    colors = np.full((len(points), 3), 127.0)
    if seen.any():
        colors[seen] = np.nanmedian(samples[:, seen], 0)
        colors[~seen] = colors[seen][np.asarray(KDTree(points[seen]).query(points[~seen])[1])]
    return torch.from_numpy(colors).float() / 255


def clearest_first(frames: FrameStore, candidates: list[int], others: list[int], skin: Placed) -> list[int]:
    """The candidates, first those whose skin looks most as it does in all these frames: a hand over the face would be
    taken for it, for hair and for clothes."""
    samples = np.array([_pixels(frames, index, skin) for index in candidates + others])
    samples = samples[:, np.isfinite(samples).any((0, 2))]
    if not samples.size:
        return candidates
    difference = np.nanmean(np.abs(samples[: len(candidates)] - np.nanmedian(samples, 0)), (1, 2))
    return [candidates[i] for i in np.argsort(difference)]


def _pixels(frames: FrameStore, index: int, placed: Placed) -> Float[np.ndarray, "n 3"]:
    """What a frame shows where points project to, 0 to 255; NaN for those turned away or beside the person."""
    points, shown = placed(index)
    camera = frames.camera
    uv = camera.project(points.numpy())
    x = uv[:, 0].astype(int).clip(0, camera.width - 1)
    y = uv[:, 1].astype(int).clip(0, camera.height - 1)
    pixels = frames.rgba(index)[y, x]
    return np.where((shown & (pixels[:, 3] > 127))[:, None], pixels[:, :3], np.nan)
