"""The layers of an avatar: Gaussians on the head (face, mouth interior, hair), torso Gaussians, a background plate.

Head and torso are rasterised together, so that depth decides between them, and composited over the background.
All tensors here are raw (log scales, opacity logits): this is what is optimised and stored.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from avatar.driving import DrivenFrame
from avatar.fields.bound import BoundField
from avatar.head.model import HeadModel
from avatar.types import Gaussians
from cuda_ext import ops
from cuda_ext.rig_types import RigHead, RigMesh, RigPose, RigTorso, each_array


@dataclass(frozen=True)
class HeadLayer:
    """n Gaussians in triangle-local frames (x along the first edge, z along the normal), with linear maps of k driving
    features (see `avatar.driving`): GPAvatar-style per-Gaussian linear deformation."""

    triangles: Int[Tensor, " n"]
    barycentrics: Float[Tensor, "n 3"]
    means: Float[Tensor, "n 3"]
    """Offset from the barycentric point in the triangle's frame, metres."""
    quats: Float[Tensor, "n 4"]
    log_scales: Float[Tensor, "n 3"]
    opacity_logits: Float[Tensor, " n"]
    colors: Float[Tensor, "n 3"]
    map_means: Float[Tensor, "n 3 k"]
    """Metres per unit of each driving feature."""
    map_opacities: Float[Tensor, "n k"]
    """Logits per unit of each driving feature."""
    hang: Float[Tensor, " n"]
    """How much of the offset keeps its direction in the world instead of turning with the triangle: 1 for hanging hair,
    which follows its root but obeys gravity. Not optimised."""
    hang_axes: Float[Tensor, "n 3 3"]
    """Local to world axes in the frame where `hang` was decided; of no effect where that is 0. Not optimised."""


@dataclass(frozen=True)
class TorsoLayer:
    """n Gaussians in the world that move with the shoulders; what bends follows the smoothed head pose through a linear
    map of kt features."""

    means: Float[Tensor, "n 3"]
    quats: Float[Tensor, "n 4"]
    log_scales: Float[Tensor, "n 3"]
    opacity_logits: Float[Tensor, " n"]
    colors: Float[Tensor, "n 3"]
    map_means: Float[Tensor, "n 3 kt"]

    @staticmethod
    def moved(points: Float[Tensor, "n 3"], torso: Float[Tensor, "3"]) -> Float[Tensor, "n 3"]:
        """Where points at rest go with the shoulders; `torso` as in `Motion.torso`."""
        x, y, roll = torso.tolist()
        return points @ _roll_matrix(roll).T + torch.tensor([x, y, 0.0])

    @staticmethod
    def at_rest(points: Float[Tensor, "n 3"], torso: Float[Tensor, "3"]) -> Float[Tensor, "n 3"]:
        """Where points seen in a frame lie when the shoulders have not moved: the inverse of the movement above."""
        x, y, roll = torso.tolist()
        return (points - torch.tensor([x, y, 0.0])) @ _roll_matrix(roll)


@dataclass(frozen=True)
class Layers:
    """Everything that is optimised for one person."""

    head: HeadLayer
    torso: TorsoLayer
    field: BoundField | None = None
    """A deformation field that is not baked into linear maps yet."""

    def gaussians(
        self,
        model: HeadModel,
        neutral: Float[Tensor, "v 3"],
        driven: DrivenFrame,
    ) -> Gaussians:
        """World Gaussians of one frame: the head's, then the torso's; differentiable."""
        params = driven.params
        pose = RigPose(
            params.expression, params.joints, params.rotation, params.translation, driven.features,
            driven.torso_features, driven.torso,
        )  # fmt: skip
        layers = self if self.field is None else replace(self, head=self.field.moved(self.head, driven))
        return Gaussians(*ops.rig(rig_mesh(model, neutral), pose, *layers.rig_parts()))

    def rig_parts(self) -> tuple[RigHead, RigTorso]:
        """The layers as the rig kernel takes them."""
        head, torso = ({f.name: getattr(layer, f.name) for f in fields(layer)} for layer in (self.head, self.torso))
        return RigHead(**head), RigTorso(**torso)

    def arrays(self) -> tuple[RigHead, RigTorso]:
        """The same as numpy arrays."""
        head, torso = self.rig_parts()
        return each_array(head, _numpy), each_array(torso, _numpy)

    @staticmethod
    def from_arrays(head: RigHead, torso: RigTorso) -> Layers:
        """Inverse of `arrays`."""

        def build(kind, part):
            return kind(**{f.name: torch.from_numpy(getattr(part, f.name)) for f in fields(kind)})

        return Layers(build(HeadLayer, head), build(TorsoLayer, torso))

    def tensors(self) -> dict[str, Tensor]:
        """All tensors under flat names such as `head.means`; a field's parameters as `field.` and their name."""
        parts = {"head": self.head, "torso": self.torso}
        tensors = {f"{name}.{f.name}": getattr(part, f.name) for name, part in parts.items() for f in fields(part)}
        if self.field:
            tensors.update((f"field.{name}", p) for name, p in self.field.network.named_parameters())
        return tensors

    def per_gaussian(self) -> list[Tensor]:
        """Parameters of the field with a row for each Gaussian of the head."""
        network = self.field.network if self.field else None
        return [network.get_parameter(name) for name in network.per_gaussian] if network else []

    @staticmethod
    def from_tensors(tensors: dict[str, Tensor], field: BoundField | None = None) -> Layers:
        """Inverse of `tensors`; further names are ignored. `field` is one of the kind that they belong to."""

        def build(kind, prefix):
            return kind(**{f.name: tensors[f"{prefix}.{f.name}"] for f in fields(kind)})

        return Layers(build(HeadLayer, "head"), build(TorsoLayer, "torso"), field and field.of(tensors))

    def picked(self, head: Int[Tensor, " a"], torso: Int[Tensor, " b"]) -> Layers:
        """The Gaussians with these numbers, in that order; a field's rows go with them."""
        tensors = self.tensors()
        rows = {name: head for name in tensors if name.startswith("head.")}
        rows |= {name: torso for name in tensors if name.startswith("torso.")}
        rows |= {f"field.{name}": head for name in (self.field.network.per_gaussian if self.field else ())}
        return Layers.from_tensors(tensors | {name: tensors[name][index] for name, index in rows.items()}, self.field)

    def copy(self) -> Layers:
        """A detached copy that later optimisation does not touch."""
        return Layers.from_tensors({name: t.detach().clone() for name, t in self.tensors().items()}, self.field)

    def with_colors_clamped(self) -> Layers:
        """Colours held in [0, 1], as splat files and 8-bit pictures expect them."""
        return Layers(
            replace(self.head, colors=self.head.colors.clamp(0, 1)),
            replace(self.torso, colors=self.torso.colors.clamp(0, 1)),
            self.field,
        )


def rig_mesh(model: HeadModel, neutral: Float[Tensor, "v 3"]) -> RigMesh:
    """One person's head as the rig kernel takes it."""
    return RigMesh(neutral, model.expression_basis, model.faces.int(), model.joint_regressor, model.skin_weights)


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().numpy()


def _roll_matrix(angle: float) -> Float[Tensor, "3 3"]:
    c, s = math.cos(angle), math.sin(angle)
    return torch.tensor([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
