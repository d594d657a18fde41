"""`LinearHead`, the one concrete `HeadModel`: blendshapes plus linear blend skinning over four joints."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from avatar.errors import FormatMismatch
from avatar.files import read_safetensors, write_safetensors
from avatar.geometry import axis_angle_to_matrix

SCHEMA = "visavis-head-1"


@dataclass(frozen=True)
class LinearHead:
    """A head as linear bases (see `avatar.head.model.HeadModel` for axes, units and orders).

    Joints form the chain head -> neck -> {jaw, left eye, right eye}. A vertex follows the joints by its skin weights;
    what its row lacks to 1 stays with the head frame (the bottom of the neck does).
    """

    name: str
    content_hash: str
    template: Float[Tensor, "v 3"]
    identity_basis: Float[Tensor, "k v 3"]
    expression_basis: Float[Tensor, "52 v 3"]
    faces: Int[Tensor, "f 3"]
    uvs: Float[Tensor, "f 3 2"]
    regions: Int[Tensor, " v"]
    joint_regressor: Float[Tensor, "4 v"]
    skin_weights: Float[Tensor, "v 4"]
    arkit_to_native: Float[Tensor, "52 m"] | None = None
    """Native parameters (of FLAME, GNM) that come closest to each ARKit action; None where ARKit is native."""
    native_to_arkit: Float[Tensor, "m 52"] | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    """JSON values: source, versions, `retained_variance`, `native_names` ..."""

    @property
    def device(self) -> torch.device:
        return self.template.device

    def to(self, device: torch.device | str) -> LinearHead:
        """The same head on another device."""
        return replace(self, **{k: t.to(device) for k, t in self.tensors().items()})

    def tensors(self) -> dict[str, Tensor]:
        """All tensor fields by name."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {k: t for k, t in values.items() if isinstance(t, Tensor)}

    def shape(self, identity: Float[Tensor, " k"]) -> Float[Tensor, "v 3"]:
        """Neutral vertices of one person, head frame, metres. Fewer than k coefficients use the first components."""
        basis = self.identity_basis[: identity.shape[-1]]
        return self.template + (identity @ basis.flatten(1)).unflatten(-1, (-1, 3))

    def vertices(
        self,
        neutral: Float[Tensor, "v 3"],
        expression: Float[Tensor, "*batch 52"],
        joints: Float[Tensor, "*batch 4 3"] | None = None,
    ) -> Float[Tensor, "*batch v 3"]:
        """Posed vertices in the head frame, metres; differentiable in all arguments.

        `joints` are axis-angle rotations (radians) of `avatar.types.JOINTS` on top of the expression.
        """
        flat = expression @ self.expression_basis.flatten(1)
        posed = neutral + flat.unflatten(-1, (-1, 3))
        return posed if joints is None else skin(posed, joints, self.joint_positions(neutral), self.skin_weights)

    def joint_positions(self, neutral: Float[Tensor, "v 3"]) -> Float[Tensor, "4 3"]:
        """Rest positions of the joints for one person, head frame, metres."""
        return self.joint_regressor @ neutral


def skin(
    posed: Float[Tensor, "*batch v 3"],
    joints: Float[Tensor, "*batch 4 3"],
    rest: Float[Tensor, "*#batch 4 3"],
    weights: Float[Tensor, "v 4"],
) -> Float[Tensor, "*batch v 3"]:
    """Linear blend skinning over the chain head -> neck -> {jaw, left eye, right eye}.

    Args:
        posed: vertices after the blendshapes, metres.
        joints: axis-angle rotations, radians.
        rest: positions of the joints before they turn, metres.
        weights: share of each joint; what a row lacks to 1 does not move.
    """
    rotations = axis_angle_to_matrix(joints)
    neck = rotations[..., :1, :, :]
    child = neck @ rotations[..., 1:, :, :]
    # x -> R (x - p) + p for the neck, then each child about its own point carried by the neck.
    neck_at = rest[..., :1, :] - (neck @ rest[..., :1, :, None])[..., 0]
    child_at = (neck @ rest[..., 1:, :, None])[..., 0] + neck_at - (child @ rest[..., 1:, :, None])[..., 0]
    linear = torch.cat([neck, child], dim=-3) - torch.eye(3, dtype=posed.dtype, device=posed.device)
    moves = torch.cat([linear.flatten(-2), torch.cat([neck_at, child_at], dim=-2)], dim=-1)
    per_vertex = weights @ moves
    offsets = (per_vertex[..., :9].unflatten(-1, (3, 3)) @ posed[..., None])[..., 0]
    return posed + offsets + per_vertex[..., 9:]


def save(head: LinearHead, path: Path) -> None:
    """Write a head as safetensors, atomically."""
    header = {
        "schema": SCHEMA,
        "name": head.name,
        "content_hash": head.content_hash,
        "metadata": json.dumps(head.metadata),
    }
    write_safetensors(path, head.tensors(), header)


def load(path: Path) -> LinearHead:
    """Read a head that `save` wrote.

    Raises:
        FormatMismatch: the file is damaged or has another schema.
    """
    tensors, header = read_safetensors(path, f"rm {path}")
    if header.get("schema") != SCHEMA:
        raise FormatMismatch(
            f"{path} is not a head of this version", expected=SCHEMA, got=str(header.get("schema")), fix=f"rm {path}"
        )
    return LinearHead(
        name=header["name"], content_hash=header["content_hash"], metadata=json.loads(header["metadata"]), **tensors
    )
