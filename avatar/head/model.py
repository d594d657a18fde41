"""The head model that everything downstream sees: a linear shape and expression basis, four joints, labelled regions.

`anny`, `flame` and `gnm` differ only in how they fill it in; tracking, fitting and rendering never ask which it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

REGIONS = ("skin", "face", "lips", "inner_mouth", "teeth", "tongue", "eyes", "scalp", "ears", "neck")
INNER_REGIONS = ("inner_mouth", "teeth", "tongue", "eyes")
"""What lies behind the skin and lips."""


@runtime_checkable
class HeadModel(Protocol):
    """What tracking, rigging and export need of a head. Metres; +X subject's left, +Y up, +Z out of the face.

    v vertices, f triangles, k identity components. The origin is the mean of the template's vertices.
    """

    @property
    def name(self) -> str: ...

    @property
    def content_hash(self) -> str:
        """Changes whenever vertices, bases or faces change: captures and avatars carry it."""
        ...

    @property
    def template(self) -> Float[Tensor, "v 3"]: ...

    @property
    def identity_basis(self) -> Float[Tensor, "k v 3"]:
        """Orthogonal over vertices; scaled so that unit coefficients are one standard deviation of the prior."""
        ...

    @property
    def expression_basis(self) -> Float[Tensor, "52 v 3"]:
        """One displacement field per ARKit action, in the order of `avatar.head.arkit.ARKIT_NAMES`."""
        ...

    @property
    def faces(self) -> Int[Tensor, "f 3"]: ...

    @property
    def uvs(self) -> Float[Tensor, "f 3 2"]:
        """Texture coordinates per face corner."""
        ...

    @property
    def regions(self) -> Int[Tensor, " v"]:
        """Index into `REGIONS` per vertex."""
        ...

    @property
    def joint_regressor(self) -> Float[Tensor, "4 v"]:
        """Rest positions of `avatar.types.JOINTS` = joint_regressor @ neutral vertices."""
        ...

    @property
    def skin_weights(self) -> Float[Tensor, "v 4"]:
        """Share of each joint's rotation per vertex; a row sums to at most 1, the rest follows the head rigidly."""
        ...

    def shape(self, identity: Float[Tensor, " k"]) -> Float[Tensor, "v 3"]:
        """Neutral vertices of one person, head frame."""
        ...

    def vertices(
        self,
        neutral: Float[Tensor, "v 3"],
        expression: Float[Tensor, "*batch 52"],
        joints: Float[Tensor, "*batch 4 3"] | None = None,
    ) -> Float[Tensor, "*batch v 3"]:
        """Posed vertices in the head frame; differentiable."""
        ...


def on_outside(regions: Int[Tensor, "*n"]) -> Bool[Tensor, "*n"]:
    """Where indices into `REGIONS` mean skin or lips, not what lies behind them."""
    return ~torch.isin(regions, torch.tensor([REGIONS.index(name) for name in INNER_REGIONS]))


def region_of_faces(head: HeadModel) -> Int[np.ndarray, " f"]:
    """Index into `REGIONS` per triangle: an inner region if any corner lies in one, else the corners' majority."""
    corners = head.regions.numpy()[head.faces.numpy()]
    regions = np.median(corners, axis=1).astype(np.int64)
    for name in INNER_REGIONS:
        number = REGIONS.index(name)
        regions[(corners == number).any(axis=1)] = number
    return regions


@dataclass(frozen=True)
class LandmarkTable:
    """Where the detector's 478 landmarks lie on a head: calibrated by detecting on renders of that very head."""

    triangles: Int[Tensor, "478"]
    """Triangle index per landmark."""
    barycentrics: Float[Tensor, "478 3"]
    spread: Float[Tensor, "478"]
    """Median distance of a landmark's hits over views, metres; large where it slides with the view (jaw contour)."""


def on_surface(
    field: Float[Tensor, "*batch v 3"], faces: Int[Tensor, "f 3"], table: LandmarkTable
) -> Float[Tensor, "*batch 478 3"]:
    """A per-vertex field at the landmarks."""
    return (field[..., faces[table.triangles], :] * table.barycentrics[..., None]).sum(-2)


def landmarks_on(
    vertices: Float[np.ndarray, "*t v 3"], head: HeadModel, table: LandmarkTable
) -> Float[np.ndarray, "*t 478 3"]:
    """Where the calibrated table has the detector's landmarks on a head's vertices."""
    return on_surface(torch.from_numpy(vertices), head.faces, table).numpy()
