"""A tracked motion as FLAME parameters and back.

World of `FlameParams`: the capturing camera sits in the origin, +X right, +Y up, +Z towards it (OpenGL's camera); a
`Motion`'s world is the same camera in OpenCV's axes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from avatar.geometry import axis_angle_to_matrix, matrix_to_axis_angle, matrix_to_quat, quat_to_matrix
from avatar.head.flame_model import FlameModel, FlameParams
from avatar.head.linear import LinearHead
from avatar.types import JOINTS, Motion

GL_FROM_CV = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
"""OpenGL's camera axes from OpenCV's, and the other way round."""
_NOISE_METRES = 0.0005
"""How exactly vertices are to be met where coefficients are fitted to them; a prior holds what they can't tell."""
_ACTION_PRIOR = 0.5
_ACTION_RANGE = (-1.0, 2.0)
_CORRECTIONS = 3


def to_flame(
    model: FlameModel, head: LinearHead, identity: Float[Tensor, " k"], neutral: Float[Tensor, "v 3"], motion: Motion
) -> FlameParams:
    """FLAME parameters that put the model's vertices where the head's are.

    Args:
        model: the FLAME side of `head` (`FlameModel.of` its name).
        head: what was tracked.
        identity: its identity coefficients.
        neutral: the person's neutral vertices, head frame, metres; what they have beside the identity becomes the
            static offset.
        motion: t frames.
    """
    actions = torch.as_tensor(motion.expression)
    native = actions @ model.actions
    extra = axis_angle_to_matrix(torch.as_tensor(motion.joints))
    turned = native[:, model.expressions :].unflatten(1, (len(JOINTS) - 1, 3))
    joints = matrix_to_axis_angle(extra[:, 1:] @ axis_angle_to_matrix(turned))
    expr = native[:, : model.expressions]
    if turned.any():  # Tracking lets the jaw slide along its action, FLAME's turns: the expressions make up for it.
        expr = _corrected(model, neutral, expr, turned, actions @ head.expression_basis.flatten(1))
    rotation = GL_FROM_CV @ quat_to_matrix(torch.as_tensor(motion.quats_wxyz))
    still = torch.zeros(len(motion), 3)
    params = FlameParams(
        shape=identity,
        expr=expr,
        rotation=matrix_to_axis_angle(rotation),
        neck_pose=matrix_to_axis_angle(extra[:, 0]),
        jaw_pose=joints[:, 0],
        eyes_pose=joints[:, 1:].flatten(1),
        translation=still,
        static_offset=neutral - head.shape(identity),
    )
    pivots = model.pivots(params)
    moved = torch.as_tensor(motion.translation) @ GL_FROM_CV.T + (rotation @ pivots[..., None])[..., 0]
    return replace(params, translation=moved - pivots - model.centre)


def from_flame(
    model: FlameModel, head: LinearHead, params: FlameParams, timestamps_seconds: Float[np.ndarray, " t"]
) -> tuple[Motion, float]:
    """The inverse of `to_flame`: a motion in ARKit actions, and the RMS distance that it leaves, millimetres.

    Another head in FLAME's parameters comes back as it was. Of a FLAME head the actions are fitted to the vertices that
    expression, jaw and eyes give: they span less than its expressions do.
    """
    neutral = head.shape(params.shape) + params.static_offset
    turned = torch.cat([params.jaw_pose, params.eyes_pose], 1).unflatten(1, (len(JOINTS) - 1, 3))
    joints = torch.cat([params.neck_pose[:, None], turned], 1)
    if model.actions[:, model.expressions :].any():
        wanted = _displacements(model, neutral, params.expr, turned)
        expression, residual = actions_of(head, wanted.unflatten(1, (-1, 3)))
        joints[:, 1:] = 0
    else:
        expression = params.expr @ torch.linalg.pinv(model.actions[:, : model.expressions])
        residual = 0.0
    pivots, rotation = model.pivots(params), axis_angle_to_matrix(params.rotation)
    moved = params.translation + model.centre + pivots - (rotation @ pivots[..., None])[..., 0]
    motion = Motion(
        timestamps_seconds,
        expression.numpy(),
        joints.numpy(),
        matrix_to_quat(GL_FROM_CV @ rotation).numpy(),
        (moved @ GL_FROM_CV.T).numpy(),
    )
    return motion, residual


def actions_of(head: LinearHead, displacements: Float[Tensor, "t v 3"]) -> tuple[Float[Tensor, "t 52"], float]:
    """ARKit actions that move the vertices most nearly so (metres), and the RMS distance they leave, millimetres."""
    wanted = displacements.flatten(1)
    expression = (wanted @ _ridge(head.expression_basis, _ACTION_PRIOR)).clamp(*_ACTION_RANGE)
    missed = (wanted - expression @ head.expression_basis.flatten(1)).unflatten(1, (-1, 3))
    return expression, 1000 * float(missed.square().sum(-1).mean().sqrt())


def _corrected(
    model: FlameModel, neutral: Tensor, expr: Tensor, turned: Tensor, wanted: Float[Tensor, "t n"]
) -> Float[Tensor, "t e"]:
    """Expression coefficients that bring the model's own vertices to the wanted displacements (ridge, fixed point)."""
    solve = _ridge(model.native.expression_dirs, 1.0)
    for _ in range(_CORRECTIONS):
        expr = expr + (wanted - _displacements(model, neutral, expr, turned)) @ solve
    return expr


def _displacements(model: FlameModel, neutral: Tensor, expr: Tensor, turned: Tensor) -> Float[Tensor, "t n"]:
    """What expression, jaw and eyes move on a person, without neck and root; flattened vertices, metres."""
    person = replace(model.native, template=neutral)
    native = torch.cat([expr, turned.flatten(1)], 1)
    return torch.stack([(person.vertices(row) - neutral).flatten() for row in native])


def _ridge(basis: Float[Tensor, "e v 3"], sigma: float) -> Float[Tensor, "n e"]:
    """Maps flattened displacements to coefficients with a prior of `sigma`, for noise of `_NOISE_METRES`."""
    flat = basis.flatten(1).double()
    normal = flat @ flat.T + (_NOISE_METRES / sigma) ** 2 * torch.eye(len(flat), dtype=torch.float64)
    return torch.linalg.solve(normal, flat).T.float()
