"""The detector's landmarks on a head: rest positions, bases, weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from avatar.errors import BadInput
from avatar.head.model import HeadModel, LandmarkTable
from preprocess.tracking.types import N_LANDMARKS, TrackConfig

# Numbers of MediaPipe's face mesh.
LIPS = (
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185,
    78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95,
)  # fmt: skip
EYES = (
    33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7,
    362, 398, 384, 385, 386, 387, 388, 466, 263, 249, 390, 373, 374, 380, 381, 382,
)  # fmt: skip
RIGHT_IRIS, LEFT_IRIS = tuple(range(468, 473)), tuple(range(473, 478))
RIGID = (10, 109, 338, 151, 108, 337, 9, 8, 168, 6, 197, 195, 5, 4, 122, 351, 196, 419, 3, 248, 51, 281, 45, 275, 1)
OUTER_EYE_CORNERS = (33, 263)


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
            fix="calibrate the head again, or raise max_spread_mm",
        )
    vertices, barycentrics = head.faces[table.triangles[used]].long(), table.barycentrics[used].float()

    def at_landmarks(field: Tensor) -> Tensor:
        return (field[..., vertices, :].float() * barycentrics[..., None]).sum(-2)

    rest = at_landmarks(head.template)
    # A landmark's calibration spread adds to its noise: half of the weight at 3 mm.
    weights = 1 / (1 + (table.spread[used].float() / 3e-3) ** 2)
    groups = (
        (LIPS, config.lip_weight), (EYES, config.eye_weight),
        (RIGHT_IRIS + LEFT_IRIS, config.iris_weight), (RIGID, config.rigid_weight),
    )  # fmt: skip
    for numbers, factor in groups:
        weights = torch.where(torch.isin(used, torch.tensor(numbers)), weights * factor, weights)
    near = (torch.cdist(rest, rest) < max(config.region_radius_mm, 1e-3) * 1e-3).float()
    return LandmarkModel(
        used, vertices, barycentrics, weights, rest, at_landmarks(head.identity_basis),
        at_landmarks(head.expression_basis), near / near.sum(1, keepdim=True),
    )  # fmt: skip
