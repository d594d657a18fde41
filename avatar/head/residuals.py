"""How well one head's parameters reach another's ARKit actions: distances in millimetres, action by action."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from avatar.head import load_head
from avatar.head.arkit import ARKIT_NAMES
from avatar.head.calibration import calibrate
from avatar.head.flame_model import FlameModel
from avatar.head.model import on_surface
from avatar.head.retarget import confidence, similarity

Row = dict[str, float | str]


def action_residuals(name_or_path: str, reference: str = "anny") -> list[Row]:
    """How far the landmarks of a head's 52 actions stay from those of the reference head, after aligning the two.

    Args:
        name_or_path, reference: heads, as in `avatar.head.load_head`.

    Returns:
        Per action: `action`; `size_mm`, RMS displacement of the reference's landmarks; `residual_mm`, RMS distance to
        them; both over the landmarks that hold still in both heads' tables. `half_mm`: RMS distance over all vertices
        between half of the action (as tracking mixes actions) and half of the native parameters (where a jaw turns).
    """
    head, other, model = load_head(name_or_path), load_head(reference), FlameModel.of(name_or_path)
    tables = calibrate(head), calibrate(other)
    still = confidence(*tables) > 0
    scale, rotation, _ = similarity(
        on_surface(other.template, other.faces, tables[1]),
        on_surface(head.template, head.faces, tables[0]),
        still.float(),
    )
    wanted = scale * on_surface(other.expression_basis, other.faces, tables[1])[:, still] @ rotation.T
    got = on_surface(head.expression_basis, head.faces, tables[0])[:, still]
    rest = model.native.vertices(torch.zeros(model.native.size))
    halves = torch.stack([model.native.vertices(row / 2) - rest for row in model.actions])
    columns = (_rms_mm(wanted), _rms_mm(got - wanted), _rms_mm(halves - head.expression_basis / 2))
    return [
        {"action": name, "size_mm": round(size, 3), "residual_mm": round(residual, 3), "half_mm": round(half, 3)}
        for name, size, residual, half in zip(ARKIT_NAMES, *columns, strict=True)
    ]


def _rms_mm(fields: Float[Tensor, "a n 3"]) -> list[float]:
    return (1000 * fields.square().sum(-1).mean(-1).sqrt()).tolist()


def share(rows: list[Row]) -> float:
    """Residual over size of all actions together, as RMS."""
    residual, size = (sum(float(row[column]) ** 2 for row in rows) for column in ("residual_mm", "size_mm"))
    return round((residual / size) ** 0.5, 4)
