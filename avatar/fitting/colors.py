"""What the training frames show at points of a person: their colours, and in which frames nothing covers them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.spatial import KDTree
from torch import Tensor

from avatar.fitting.frames import FrameStore

LEAST_HAIR = 100
"""Fewer Gaussians beside the mesh are no hair, but its outline."""
LIKE_COLORS = 15
"""What was never filmed takes the median colour of so many points that were."""
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


def color_unseen(
    surface: dict[str, Tensor],
    hair: dict[str, Tensor],
    n_beside: int,
    faced: Bool[Tensor, " f"],
    skin: Bool[Tensor, " f"],
    scalp: Bool[Tensor, " f"],
    places: Float[np.ndarray, "n 3"],
) -> None:
    """What was never filmed takes, in place, the colour of its like: skin of the nearest skin, not of the lips before
    it, and the back of the head of the hair, not of the forehead.

    Args:
        n_beside: so many of the hair's Gaussians, the first ones, stand beside the mesh in the picture.
        faced: triangles that faced the camera in the picture; `skin` and `scalp` are triangles too.
        places: of the surface's Gaussians.
    """
    of = surface["triangles"].long()
    for like in (skin, scalp):
        unseen, known = (like & ~faced)[of], (like & faced)[of]
        if known.sum() >= LIKE_COLORS:
            nearest = np.asarray(KDTree(places[known]).query(places[unseen], k=LIKE_COLORS)[1])
            surface["colors"][unseen] = surface["colors"][known][torch.from_numpy(nearest)].median(1).values
    if n_beside >= LEAST_HAIR:
        strands = hair["colors"][:n_beside].median(0).values
        surface["colors"][(scalp & ~faced)[of]] = strands
        hair["colors"][n_beside:][~faced[hair["triangles"][n_beside:].long()]] = strands


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
    """What a frame shows where points project to, 0 to 255; NaN for those turned away, beside the person or beyond the
    picture."""
    points, shown = placed(index)
    y, x, inside = frames.camera.pixels_of(points.numpy())
    pixels = frames.rgba(index)[y, x]
    return np.where((shown & inside & (pixels[:, 3] > 127))[:, None], pixels[:, :3], np.nan)
