"""A deformation field on one person's head: from driving features to a head layer whose Gaussians have moved."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from avatar.fields.protocol import Controls, Field, Rest, Sizes
from avatar.motion.audio_windows import STEPS, WINDOWS

if TYPE_CHECKING:
    from avatar.driving import DrivenFrame
    from avatar.layers import HeadLayer

POSE_FEATURES = 6


@dataclass(frozen=True)
class BoundField:
    """A field and the head that it deforms."""

    network: Field
    rest: Rest
    sizes: Sizes

    def moved(self, head: HeadLayer, driven: DrivenFrame) -> HeadLayer:
        """The layer as the field wants it at one moment; differentiable."""
        changed = self.network(self.rest.points(head.triangles, head.barycentrics), self._controls(driven))
        means = head.means + self.rest.in_triangles(changed.means, head.triangles)
        others = {name: getattr(changed, name) for name in ("opacity_logits", "log_scales", "quats")}
        sums = {name: getattr(head, name) + added for name, added in others.items() if added is not None}
        return replace(head, means=means, **sums)

    def _controls(self, driven: DrivenFrame) -> Controls:
        features, speech = driven.features, driven.speech
        if speech is None:
            speech = torch.zeros(WINDOWS, STEPS, self.sizes.speech)
        return Controls(features[: self.sizes.expression], features[-POSE_FEATURES:], speech)

    def of(self, tensors: dict[str, Tensor]) -> BoundField:
        """The same kind of field with these parameters (`field.` and their name)."""
        network = deepcopy(self.network)
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                parameter.copy_(tensors[f"field.{name}"])
        return replace(self, network=network)
