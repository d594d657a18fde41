"""Gives any head the 52 ARKit actions: its own parameters are solved to move its landmarks as anny's actions do.

Both heads carry the same 478 detector landmarks (`avatar.head.calibration`), which tie them together: no correspondence
file is needed, and none is copied.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial import KDTree
from torch import Tensor

from avatar.geometry import axis_angle_to_matrix
from avatar.head.linear import LinearHead, skin
from avatar.head.model import REGIONS, LandmarkTable, on_outside, on_surface
from avatar.types import JOINTS, N_EXPRESSIONS

_JOINT_SIGMA = 0.3
"""Prior standard deviation of a joint angle, radians; the expression coefficients have 1 by construction."""
_NOISE_METRES = 0.0005
_MAX_SPREAD_METRES = 0.005
"""Landmarks that slide with the view more than this tell nothing about the surface."""


@dataclass(frozen=True)
class NativeHead:
    """A foreign head model in its own parameters: expression coefficients, then jaw, left and right eye (axis-angle).

    Metres, our axes, centred like every head. `correctives` act on the rotation matrices of the four joints less the
    identity, flattened (SMPL's pose blendshapes: Loper et al. 2015, eq. 9).
    """

    name: str
    content_hash: str
    template: Float[Tensor, "v 3"]
    identity_basis: Float[Tensor, "k v 3"]
    expression_dirs: Float[Tensor, "e v 3"]
    faces: Int[Tensor, "f 3"]
    uvs: Float[Tensor, "f 3 2"]
    joint_regressor: Float[Tensor, "4 v"]
    skin_weights: Float[Tensor, "v 4"]
    correctives: Float[Tensor, "36 v 3"] | None
    metadata: dict[str, Any]

    @property
    def size(self) -> int:
        """Number m of native parameters."""
        return len(self.expression_dirs) + 9

    def vertices(
        self, native: Float[Tensor, " m"], identity: Float[Tensor, " k"] | None = None, neck: Tensor | None = None
    ) -> Float[Tensor, "v 3"]:
        """Vertices for native parameters, exactly as the model's own publication evaluates them (without root pose)."""
        count = len(self.expression_dirs)
        shaped = self.template + torch.tensordot(native[:count], self.expression_dirs, 1)
        if identity is not None:
            shaped = shaped + torch.tensordot(identity, self.identity_basis, 1)
        first = native.new_zeros(3) if neck is None else neck
        joints = torch.cat([first, native[count:]]).reshape(len(JOINTS), 3)
        posed = shaped
        if self.correctives is not None:
            turned = (axis_angle_to_matrix(joints) - torch.eye(3)).flatten()
            posed = shaped + torch.tensordot(turned, self.correctives, 1)
        return skin(posed, joints, self.joint_regressor @ shaped, self.skin_weights)


def provisional(native: NativeHead, regions: Int[Tensor, " v"] | None = None) -> LinearHead:
    """The head without any expression: enough to calibrate landmarks on (eyes are what hangs on the eye joints)."""
    if regions is None:
        regions = torch.full((len(native.template),), REGIONS.index("skin"))
        regions[native.skin_weights[:, 2:].sum(1) > 0.9] = REGIONS.index("eyes")
    return LinearHead(
        name=native.name,
        content_hash=native.content_hash,
        template=native.template,
        identity_basis=native.identity_basis,
        expression_basis=torch.zeros(N_EXPRESSIONS, *native.template.shape),
        faces=native.faces,
        uvs=native.uvs,
        regions=regions,
        joint_regressor=native.joint_regressor,
        skin_weights=native.skin_weights,
        metadata=native.metadata,
    )


def retargeted(
    native: NativeHead, table: LandmarkTable, reference: LinearHead, reference_table: LandmarkTable
) -> LinearHead:
    """The native head with the reference's ARKit actions as its expression basis.

    Args:
        native: the foreign head.
        table: its calibrated landmarks.
        reference: a head whose ARKit actions are known (anny).
        reference_table: the reference's calibrated landmarks.
    """
    scale, rotation, shift = similarity(
        on_surface(reference.template, reference.faces, reference_table),
        on_surface(native.template, native.faces, table),
        confidence(reference_table, table),
    )
    wanted = on_surface(reference.expression_basis, reference.faces, reference_table)
    wanted = scale * wanted @ rotation.T
    solved = solve(native, table, wanted, confidence(reference_table, table))
    rest = native.vertices(torch.zeros(native.size))
    aligned = scale * reference.template @ rotation.T + shift
    return replace(
        provisional(native, _transferred_regions(native, reference, aligned)),
        expression_basis=torch.stack([native.vertices(row) - rest for row in solved]),
        arkit_to_native=solved,
        native_to_arkit=torch.linalg.pinv(solved, rtol=1e-3),
    )


def solve(
    native: NativeHead,
    table: LandmarkTable,
    wanted: Float[Tensor, "52 478 3"],
    weights: Float[Tensor, "478"],
) -> Float[Tensor, "52 m"]:
    """Native parameters whose landmark displacements come closest to the wanted ones (ridge, linearised at rest)."""

    def landmarks(parameters: Tensor) -> Tensor:
        return on_surface(native.vertices(parameters), native.faces, table)

    slopes = torch.func.jacfwd(landmarks)(torch.zeros(native.size))
    prior = torch.ones(native.size)
    prior[len(native.expression_dirs) :] = _JOINT_SIGMA
    root = weights.sqrt()[:, None] / _NOISE_METRES
    system = ((slopes * root[..., None]).flatten(0, 1) * prior).double()
    targets = (wanted * root).flatten(1).double()
    normal = system.T @ system + torch.eye(native.size, dtype=torch.float64)
    return (torch.linalg.solve(normal, system.T @ targets.T).T * prior).float()


def confidence(*tables: LandmarkTable) -> Float[Tensor, "478"]:
    """1 for landmarks that hold still in all tables, 0 for those that slide or were never seen."""
    steady = [table.spread < _MAX_SPREAD_METRES for table in tables]
    return torch.stack(steady).all(0).float()


def similarity(
    source: Float[Tensor, "n 3"], target: Float[Tensor, "n 3"], weights: Float[Tensor, " n"]
) -> tuple[Tensor, Float[Tensor, "3 3"], Float[Tensor, "3"]]:
    """Scale, rotation and shift with target ~ scale * source @ rotation.T + shift (Umeyama 1991)."""
    share = (weights / weights.sum())[:, None]
    source_mean, target_mean = (source * share).sum(0), (target * share).sum(0)
    a, b = source - source_mean, target - target_mean
    u, values, vt = torch.linalg.svd((b * share).T @ a)
    flip = torch.ones(3)
    flip[2] = torch.sign(torch.det(u @ vt))
    rotation = u @ torch.diag(flip) @ vt
    scale = (values * flip).sum() / ((a * a) * share).sum()
    return scale, rotation, target_mean - scale * rotation @ source_mean


def _transferred_regions(native: NativeHead, reference: LinearHead, aligned: Tensor) -> Int[Tensor, " v"]:
    """Region of the nearest outer point of the aligned reference; eyes by the joints, which are certain."""
    outer = on_outside(reference.regions)
    _, nearest = KDTree(aligned[outer].numpy()).query(native.template.numpy())
    regions = reference.regions[outer][torch.from_numpy(np.asarray(nearest))].clone()
    regions[native.skin_weights[:, 2:].sum(1) > 0.9] = REGIONS.index("eyes")
    return regions


def projected_uvs(vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"]) -> Float[Tensor, "f 3 2"]:
    """Texture coordinates of a head that has none: a cylinder about the vertical axis, seam at the back."""
    angle = torch.atan2(vertices[:, 0], vertices[:, 2]) / (2 * torch.pi)
    low, high = vertices[:, 1].min(), vertices[:, 1].max()
    u = angle[faces]
    # Triangles across the seam would span the whole width: bring their corners to one side.
    u = torch.where((u.amax(1) - u.amin(1))[:, None] > 0.5, torch.where(u < 0, u + 1, u), u) + 0.5
    return torch.stack([u, ((vertices[:, 1] - low) / (high - low))[faces]], dim=-1)


def converted(native: NativeHead) -> LinearHead:
    """Calibrate the native head and anny, then retarget (some 20 s)."""
    from avatar.head import load_head
    from avatar.head.calibration import calibrate

    reference = load_head("anny")
    return retargeted(native, calibrate(provisional(native), cache=False), reference, calibrate(reference))
