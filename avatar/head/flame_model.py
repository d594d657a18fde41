"""Any head as a FLAME model: the user's own FLAME file, or another head put into FLAME's parameters.

FLAME (Li et al. 2017): shape and expression coefficients, then linear blend skinning over root, neck, jaw and two eyes;
rotations are axis-angle, the root turns about its own joint. `FlameParams` is what other FLAME tools exchange.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from avatar.geometry import axis_angle_to_matrix
from avatar.head import load_head
from avatar.head.linear import LinearHead
from avatar.head.retarget import NativeHead

ACTION_SIGMA = 0.25
"""Standard deviation of an ARKit action, which makes unit expression coefficients one standard deviation each."""


@dataclass(frozen=True)
class FlameParams:
    """A track of one person in FLAME's parameters, t frames; radians, metres, the world's Y up and Z to the camera."""

    shape: Float[Tensor, " k"]
    expr: Float[Tensor, "t e"]
    rotation: Float[Tensor, "t 3"]
    neck_pose: Float[Tensor, "t 3"]
    jaw_pose: Float[Tensor, "t 3"]
    eyes_pose: Float[Tensor, "t 6"]
    """Left, then right."""
    translation: Float[Tensor, "t 3"]
    static_offset: Float[Tensor, "v 3"]
    """What the person's neutral vertices have beside the shape, metres."""

    def __len__(self) -> int:
        return len(self.expr)


@dataclass(frozen=True)
class FlameModel:
    """A head in FLAME's parameters, and how the ARKit actions are reached in them."""

    native: NativeHead
    """Centred on the mean of the template's vertices, without the root."""
    root: Float[Tensor, " v"]
    """Regressor of the root joint."""
    centre: Float[Tensor, "3"]
    """Mean of the template's vertices in the model's own file."""
    actions: Float[Tensor, "52 m"]
    """Native parameters (expression, jaw, eyes) of each ARKit action at 1."""

    @property
    def expressions(self) -> int:
        """Number of expression coefficients."""
        return len(self.native.expression_dirs)

    @staticmethod
    def of(name_or_path: str) -> FlameModel:
        """The model behind a head's name (see `avatar.head.load_head`); raises like it."""
        from avatar.head import flame

        head = load_head(name_or_path)
        if head.name != "flame":
            return _wrapped(head)
        native, root, centre = flame.read_with_root(Path(name_or_path.removeprefix("flame:")).expanduser())
        assert head.arkit_to_native is not None
        return FlameModel(native, root, centre, head.arkit_to_native)

    def vertices(self, params: FlameParams, frame: int) -> Float[Tensor, "v 3"]:
        """Vertices of one frame as FLAME defines them, world metres; the ground truth for other implementations."""
        person = replace(self.native, template=self.native.template + params.static_offset)
        native = torch.cat([params.expr[frame], params.jaw_pose[frame], params.eyes_pose[frame]])
        posed = person.vertices(native, params.shape, params.neck_pose[frame])
        pivot = self.pivots(params)[frame]
        turned = (posed - pivot) @ axis_angle_to_matrix(params.rotation[frame]).T
        return turned + pivot + self.centre + params.translation[frame]

    def pivots(self, params: FlameParams) -> Float[Tensor, "t 3"]:
        """Where the root joint rests in each frame, relative to the template's centre."""
        neutral = self.native.template + params.static_offset
        neutral = neutral + torch.tensordot(params.shape, self.native.identity_basis, 1)
        return self.root @ neutral + torch.tensordot(params.expr, self.root @ self.native.expression_dirs, 1)


def _wrapped(head: LinearHead) -> FlameModel:
    """Another head in FLAME's parameters, to the last bit of float32: FLAME is linear blend skinning as well.

    FLAME's joints follow the expression, ours do not: regressors are replaced by the nearest ones that agree with ours
    on every identity and do not see any action. The root rests in the origin whatever the shape.
    """
    directions, coefficients = expression_axes(head)
    regressors = torch.cat([torch.full((1, len(head.template)), 1 / len(head.template)), head.joint_regressor])
    targets = torch.cat([torch.zeros(1, *_people(head).shape[::2]), _joints_of_people(head)])
    quiet = _quiet_regressors(head, regressors, targets)
    native = NativeHead(
        name=head.name,
        content_hash=head.content_hash,
        template=head.template,
        identity_basis=head.identity_basis,
        expression_dirs=directions,
        faces=head.faces,
        uvs=head.uvs,
        joint_regressor=quiet[1:],
        skin_weights=head.skin_weights,
        correctives=None,
        metadata=head.metadata,
    )
    actions = torch.cat([coefficients, torch.zeros(len(coefficients), 9)], 1)
    return FlameModel(native, quiet[0], torch.zeros(3), actions)


def expression_axes(head: LinearHead) -> tuple[Float[Tensor, "52 v 3"], Float[Tensor, "52 52"]]:
    """The 52 actions as orthogonal directions of falling variance, as FLAME's are, and each action in them.

    Unit coefficients are one standard deviation when actions vary independently by `ACTION_SIGMA`.
    """
    flat = head.expression_basis.flatten(1).double()
    _, axes = torch.linalg.eigh(flat @ flat.T)
    axes = axes.flip(1)  # largest variance first
    return (ACTION_SIGMA * axes.T @ flat).float().unflatten(1, head.template.shape), (axes / ACTION_SIGMA).float()


def _people(head: LinearHead) -> Float[Tensor, "n v 3"]:
    return torch.cat([head.template[None], head.identity_basis])


def _joints_of_people(head: LinearHead) -> Float[Tensor, "4 n 3"]:
    return torch.einsum("jv,nvc->jnc", head.joint_regressor, _people(head))


def _quiet_regressors(
    head: LinearHead, regressors: Float[Tensor, "j v"], targets: Float[Tensor, "j n 3"]
) -> Float[Tensor, "j v"]:
    """The regressors nearest to the given ones that give `targets` for template and identities and 0 for actions."""
    fields = torch.cat([_people(head), head.expression_basis]).double()
    constraints = torch.cat([fields.transpose(1, 2).flatten(0, 1), torch.ones(1, len(head.template))])
    still = torch.zeros(len(regressors), 3 * len(head.expression_basis))
    wanted = torch.cat([targets.flatten(1), still, torch.ones(len(regressors), 1)], 1).double()
    # Rows of one length each keep the normal equations well conditioned; a second round removes what rounding left.
    lengths = constraints.norm(dim=1).clamp(min=1e-12)
    scaled, quiet = constraints / lengths[:, None], regressors.double()
    inverse = torch.linalg.pinv(scaled @ scaled.T, rtol=1e-12, hermitian=True)
    for _ in range(2):
        quiet = quiet + ((wanted - quiet @ constraints.T) / lengths) @ inverse @ scaled
    return quiet.float()
