"""What a deformation field is: where a Gaussian rests and what the face does in, how the Gaussian changes out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from avatar.head.model import REGIONS, HeadModel, region_of_faces

MOUTH_REGIONS = ("inner_mouth", "teeth", "tongue")
"""What lies behind the lips."""
CUBE_MARGIN = 0.05
"""Free space around the head in the unit cube: hair stands off the mesh."""


@dataclass(frozen=True)
class Points:
    """n Gaussians where they rest."""

    unit: Float[Tensor, "n 3"]
    """In the unit cube around the head."""
    in_mouth: Bool[Tensor, " n"]


@dataclass(frozen=True)
class Controls:
    """What one face does at one moment."""

    expression: Float[Tensor, " r"]
    """Clamped coefficients of the expressions that the field may see, of unit deviation."""
    pose: Float[Tensor, "6"]
    """Clamped head pose around its mean, of unit deviation."""
    speech: Float[Tensor, "8 16 d"]
    """What is heard: see `avatar.motion.audio_windows`; zero where nothing is."""


@dataclass(frozen=True)
class Offsets:
    """What changes of each Gaussian; None: nothing of it does."""

    means: Float[Tensor, "n 3"]
    """Metres, along the head's axes in the neutral face."""
    opacity_logits: Float[Tensor, " n"] | None = None
    log_scales: Float[Tensor, "n 3"] | None = None
    quats: Float[Tensor, "n 4"] | None = None
    """Added to a quaternion wxyz."""


class Rest:
    """One person's head at rest, as fields see it."""

    def __init__(self, head: HeadModel, neutral: Float[Tensor, "v 3"]) -> None:
        faces = head.faces.long()
        low, high = neutral.min(0).values, neutral.max(0).values
        side = (high - low).max() * (1 + 2 * CUBE_MARGIN)
        self._corners = ((neutral - (low + high) / 2) / side + 0.5)[faces]
        a, b, c = neutral[faces].unbind(1)
        x = F.normalize(b - a, dim=-1)
        z = F.normalize(torch.linalg.cross(b - a, c - a), dim=-1)
        self._axes = torch.stack([x, torch.linalg.cross(z, x), z], -1)
        mouth = torch.tensor([REGIONS.index(name) for name in MOUTH_REGIONS])
        self._in_mouth = torch.isin(torch.from_numpy(region_of_faces(head)), mouth)

    def points(self, triangles: Int[Tensor, " n"], barycentrics: Float[Tensor, "n 3"]) -> Points:
        """Where Gaussians bound to triangles rest."""
        rows = triangles.long()
        return Points((self._corners[rows] * barycentrics[..., None]).sum(1), self.in_mouth(triangles))

    def in_mouth(self, triangles: Int[Tensor, " n"]) -> Bool[Tensor, " n"]:
        """Which Gaussians lie behind the lips."""
        return self._in_mouth[triangles.long()]

    def in_triangles(self, vectors: Float[Tensor, "n 3"], triangles: Int[Tensor, " n"]) -> Float[Tensor, "n 3"]:
        """Directions along the head's axes, along those of their triangles (x the first edge, z the normal)."""
        return torch.einsum("nji,nj->ni", self._axes[triangles.long()], vectors)


@dataclass(frozen=True)
class Sizes:
    """How long the controls' vectors are, and how many Gaussians there are."""

    gaussians: int
    expression: int
    speech: int


class Field(nn.Module, ABC):
    """Base of all fields."""

    per_gaussian: ClassVar[tuple[str, ...]] = ()
    """Parameters with one row per Gaussian, which move along when it is relocated."""

    @abstractmethod
    def forward(self, points: Points, controls: Controls) -> Offsets:
        """How all Gaussians change at one moment; differentiable."""
