"""Which Gaussians show most: a stored avatar has them in this order, so that the first ones are one by themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from avatar.export.cameras import ring
from avatar.fields.protocol import Rest
from avatar.fitting.trainer import Trainer
from avatar.layers import Layers
from avatar.renderer import render
from avatar.stored import head_among_first
from avatar.types import Camera, Gaussians

FRAMES = 12
MOUTH_WEIGHT = 5.0
"""What lies behind the lips shows seldom, but a hole there is what the eye falls on."""
RING = (3, 60.0)
"""Views and degrees between the outer ones: what only a turned camera sees counts too."""


def importance(frames: Iterable[Gaussians], cameras: Sequence[Camera]) -> Float[Tensor, " n"]:
    """What each Gaussian gives to pictures: the sum of its blending weights over all pixels, frames and cameras.

    A picture is linear in the colours, and the weights are its gradient. (Opacity times projected area, which does not
    know what hides behind others, chooses worse than chance.)

    Raises:
        ValueError: there is no frame.
    """
    total: Tensor | None = None
    for gaussians in frames:
        colors = gaussians.colors.detach().clone().requires_grad_(True)
        with torch.enable_grad():
            shown = render(replace(gaussians, colors=colors), cameras).rgb[..., 0].sum()
        (weights,) = torch.autograd.grad(shown, colors)
        total = weights[:, 0] if total is None else total + weights[:, 0]
    if total is None:
        raise ValueError("frames: expected at least one")
    return total


@torch.no_grad()
def in_order(layers: Layers, trainer: Trainer) -> tuple[Layers, list[int]]:
    """Layers whose Gaussians stand in order of importance, and `head_among_first` of them.

    They count by some training frames, seen from the front and both sides.
    """
    train, avatar = trainer.split.train, trainer.avatar
    chosen = train[np.linspace(0, len(train) - 1, FRAMES).astype(int)].tolist()
    cameras = ring(trainer.frames.camera, avatar.head_center, *RING)
    frames = (layers.gaussians(avatar.head, avatar.neutral, trainer.prepared.frame(i)) for i in chosen)
    head, torso = importance(frames, cameras).split([len(layers.head.means), len(layers.torso.means)])
    mouth = Rest(avatar.head, avatar.neutral).in_mouth(layers.head.triangles)
    head = torch.where(mouth, MOUTH_WEIGHT * head, head)
    orders = (part.argsort(descending=True, stable=True) for part in (head, torso))
    return layers.picked(*orders), head_among_first(head.numpy(), torso.numpy())
