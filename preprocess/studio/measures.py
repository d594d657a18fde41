"""Quantities that truth and tracks are compared in: gaze and closure of the lids."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float

from avatar.geometry import nearest_rotation
from avatar.head.arkit import ARKIT_INDEX
from avatar.head.linear import LinearHead
from avatar.head.model import REGIONS


def gaze_directions(
    head: LinearHead, expression: Float[np.ndarray, "t 52"], rotation: Float[np.ndarray, "t 3 3"]
) -> Float[np.ndarray, "t 2 3"]:
    """Unit vectors along which the left and right eye look, in the axes that `rotation` leads to.

    The turn of each eyeball is the rotation nearest to what its vertices do (orthogonal Procrustes).
    """
    out, eyes = [], head.regions == REGIONS.index("eyes")
    sides = (head.template[:, 0] > 0, head.template[:, 0] <= 0)
    for side, centre in zip(sides, head.joint_positions(head.template)[2:], strict=True):
        mine = eyes & side
        arm = head.template[mine] - centre
        moved = arm + torch.einsum("te,evj->tvj", torch.from_numpy(expression), head.expression_basis[:, mine])
        turn = nearest_rotation(torch.einsum("tvi,vj->tij", moved - moved.mean(1, keepdim=True), arm - arm.mean(0)))
        out.append(np.einsum("tij,tj->ti", rotation, turn[:, :, 2].numpy()))
    return np.stack(out, axis=1).astype(np.float32)


def lid_closure(expression: Float[np.ndarray, "t 52"]) -> Float[np.ndarray, " t"]:
    """Mean of both lids' closure, 0 open to 1 shut."""
    return expression[:, [ARKIT_INDEX["eyeBlinkLeft"], ARKIT_INDEX["eyeBlinkRight"]]].mean(axis=1)
