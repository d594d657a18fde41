"""The detector's landmarks on a head: rest positions, bases, weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from avatar.errors import BadInput
from avatar.head.landmarks import EYES, IRISES, LIPS, N_LANDMARKS, RIGID
from avatar.head.model import HeadModel, LandmarkTable
from preprocess.tracking.types import TrackConfig


@dataclass(frozen=True)
class LandmarkModel:
    """n usable landmarks as linear functions of identity and expression, in the head frame, metres."""

    used: Int[Tensor, " n"]
    """Their numbers among the detector's 478."""
    vertices: Int[Tensor, "n 3"]
    """Corners of their triangles."""
    barycentrics: Float[Tensor, "n 3"]
    weights: Float[Tensor, " n"]
    rest: Float[Tensor, "n 3"]
    """On the template (with landmark offsets once they are known)."""
    identity: Float[Tensor, "k n 3"]
    expression: Float[Tensor, "52 n 3"]
    pooling: Float[Tensor, "n n"]
    """Rows sum to 1: means over the neighbourhood of a landmark."""

    def is_in(self, numbers: tuple[int, ...]) -> Bool[Tensor, " n"]:
        """Which used landmarks are among `numbers`."""
        return torch.isin(self.used, torch.tensor(numbers))

    def neutral(self, identity: Float[Tensor, " k"]) -> Float[Tensor, "n 3"]:
        """Neutral landmarks of one person."""
        return self.rest + torch.einsum("k,knj->nj", identity, self.identity)


def landmark_model(head: HeadModel, table: LandmarkTable, config: TrackConfig) -> LandmarkModel:
    """Restrict a head's bases to the landmarks that are well enough calibrated.

    Raises:
        BadInput: fewer than 50 are.
    """
    used = torch.nonzero(table.spread < config.max_spread_mm * 1e-3)[:, 0]
    if len(used) < 50:
        raise BadInput(
            f"the landmark table of head '{head.name}' is too scattered to track with",
            expected=f"at least 50 of {N_LANDMARKS} landmarks with a spread below {config.max_spread_mm} mm",
            got=str(len(used)),
            fix="use --head anny, or check that this head looks along +Z, with +Y up, in metres",
        )
    vertices, barycentrics = head.faces[table.triangles[used]].long(), table.barycentrics[used].float()

    def at_landmarks(field: Tensor) -> Tensor:
        return (field[..., vertices, :].float() * barycentrics[..., None]).sum(-2)

    rest = at_landmarks(head.template)
    # A landmark's calibration spread adds to its noise: half of the weight at 3 mm.
    weights = 1 / (1 + (table.spread[used].float() / 3e-3) ** 2)
    groups = (
        (LIPS, config.lip_weight), (EYES, config.eye_weight),
        (IRISES, config.iris_weight), (RIGID, config.rigid_weight),
    )  # fmt: skip
    for numbers, factor in groups:
        weights = torch.where(torch.isin(used, torch.tensor(numbers)), weights * factor, weights)
    near = (torch.cdist(rest, rest) < max(config.region_radius_mm, 1e-3) * 1e-3).float()
    return LandmarkModel(
        used, vertices, barycentrics, weights, rest, at_landmarks(head.identity_basis),
        at_landmarks(head.expression_basis), near / near.sum(1, keepdim=True),
    )  # fmt: skip
