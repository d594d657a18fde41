"""What holds each Gaussian of a fit: how far it may go, what colour it returns to, with whom it moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.spatial import KDTree
from torch import Tensor

from avatar.fitting.config import LimitConfig
from avatar.head.model import HeadModel
from avatar.layers import HeadLayer
from avatar.rig import facing, posed_vertices
from avatar.types import HeadParams

FACING_RANGE = (0.35, 0.7)
"""Mean cosine to the camera below which a surface is seen too flatly to learn its colour, and above which it is not."""
HEARING_RANGE_M = (0.025, 0.045)
"""Distance from the middle of the lips up to which speech moves skin fully, and from which on not at all."""


@dataclass
class Leashes:
    """Of the n head Gaussians, and who is near whom; see `LimitConfig`."""

    offset_limits: Float[Tensor, " n"]
    map_limits: Float[Tensor, " n"]
    scale_limits: Float[Tensor, " n"]
    color_anchors: Float[Tensor, "n 3"]
    color_pulls: Float[Tensor, " n"]
    hears: Float[Tensor, " n"]
    """How much of what is heard reaches its maps: all at the lips, nothing far from them."""
    neighbours: Int[Tensor, "n k"]
    torso_neighbours: Int[Tensor, "m k"]

    @staticmethod
    def of(
        head: HeadLayer,
        points: Float[Tensor, "n_and_m 3"],
        n_skin: int,
        on_lips: Bool[Tensor, " n"],
        turned_away: Float[Tensor, " n"],
        limits: LimitConfig,
    ) -> Leashes:
        """Leashes of Gaussians where they start.

        Args:
            points: of head and torso in one frame.
            n_skin: so many of the head's are skin or under it, the others are hair.
            turned_away: 0 where the skin faces the camera in the training frames, 1 where it hardly does.
        """
        offsets = head.means.norm(dim=1)
        points, torso = points[: len(offsets)], points[len(offsets) :]
        full, none = HEARING_RANGE_M
        away = (points - points[on_lips].mean(0)).norm(dim=1)
        leashes = Leashes(
            torch.full_like(offsets, limits.offset_m), torch.full_like(offsets, limits.map_norm_m),
            torch.full_like(offsets, limits.min_scale_m), head.colors.detach().clone(),
            limits.color_pull + (limits.side_color_pull - limits.color_pull) * turned_away,
            ((none - away) / (none - full)).clamp(0, 1), nearest(points), nearest(torso),
        )  # fmt: skip
        hair = slice(n_skin, None)
        leashes.offset_limits[hair] = offsets[hair] + limits.hair_offset_m
        leashes.map_limits[hair] = limits.hair_map_norm_m
        leashes.scale_limits[hair] = limits.min_hair_scale_m
        leashes.color_pulls[hair] = limits.hair_color_pull
        return leashes

    def move(self, to: Int[Tensor, " m"], source: Int[Tensor, " m"]) -> None:
        """Gaussians `to` stand beside `source` now; neighbours are to be found anew."""
        for name in ("offset_limits", "map_limits", "scale_limits", "color_anchors", "color_pulls", "hears"):
            tensor = getattr(self, name)
            tensor[to] = tensor[source]

    def tensors(self) -> dict[str, Tensor]:
        """State for a checkpoint; the constructor takes it back."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def turned_away(head: HeadModel, neutral: Float[Tensor, "v 3"], params: Sequence[HeadParams]) -> Float[Tensor, " f"]:
    """0 for triangles that face the camera in these poses, 1 for those that hardly do."""
    shown = [facing(posed_vertices(head, neutral, p), head.faces) for p in params]
    low, high = FACING_RANGE
    return 1 - ((torch.stack(shown).clamp(min=0).mean(0) - low) / (high - low)).clamp(0, 1)


def nearest(points: Float[Tensor, "n 3"], k: int = 6) -> Int[Tensor, "n k"]:
    """The k nearest other points of each."""
    return torch.from_numpy(np.asarray(KDTree(points).query(points, k=k + 1)[1])[:, 1:])
