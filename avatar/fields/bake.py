"""Any fitted field as linear maps of the driving features: what playback, the viewer and exports use."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from avatar.driving import DrivenFrame
from avatar.layers import HeadLayer, Layers

RIDGE = 0.01
"""Of the regression, per frame, against features of unit deviation."""
MOVING = ("means", "opacity_logits")
"""What a map moves; of sizes and turns only the mean is kept."""
HELD = ("log_scales", "quats")


@dataclass(frozen=True)
class Baked:
    """Layers without a field, and how much of it the maps could not take."""

    layers: Layers
    moved_mm: float
    """Root mean square distance that the field moves Gaussians from where they stand on average."""
    missed_mm: float
    """Root mean square distance between field and maps, over the same frames."""


@torch.no_grad()
def bake(layers: Layers, frames: Iterable[DrivenFrame]) -> Baked:
    """Replace a field by the linear maps that are nearest to it over some frames, by ridge regression.

    Args:
        layers: with a field.
        frames: the training frames, or a part of them.

    Raises:
        ValueError: there is no field, or no frame.
    """
    if layers.field is None:
        raise ValueError("layers: expected a field that can be baked")
    head, sums = layers.head, None
    for driven in frames:
        sums = sums or _Sums.zeros(head, len(driven.features))
        sums.add(layers.field.moved(head, driven), head, driven.features)
    if sums is None:
        raise ValueError("frames: expected at least one")
    fitted = {name: sums.solve(name) for name in MOVING}
    baked = {f"map_{name}": (getattr(head, f"map_{name}") + maps[..., 1:]) for name, maps in _plural(fitted).items()}
    means = {name: getattr(head, name) + maps[..., 0] for name, maps in fitted.items()}
    held = {name: getattr(head, name) + sums.totals[name] / sums.count for name in HELD}
    moved, missed = sums.distances(fitted["means"])
    return Baked(replace(layers, head=replace(head, **means, **held, **baked), field=None), 1e3 * moved, 1e3 * missed)


def _plural(maps: dict[str, Tensor]) -> dict[str, Tensor]:
    """By the names of the maps: `map_means`, `map_opacities`."""
    return {"means": maps["means"], "opacities": maps["opacity_logits"]}


@dataclass
class _Sums:
    """What a regression on [1, features] needs of all frames, so that none has to be kept."""

    count: int
    gram: Float[Tensor, "z z"]
    products: dict[str, Tensor]
    """(n, c, z) per moving tensor."""
    totals: dict[str, Tensor]
    squares: Float[Tensor, ""]
    """Of the movement of means, over all Gaussians and frames."""

    @staticmethod
    def zeros(head: HeadLayer, features: int) -> _Sums:
        z = features + 1
        products = {name: torch.zeros(*getattr(head, name).shape, z) for name in MOVING}
        totals = {name: torch.zeros_like(getattr(head, name)) for name in HELD}
        return _Sums(0, torch.zeros(z, z, dtype=torch.float64), products, totals, torch.zeros((), dtype=torch.float64))

    def add(self, moved: HeadLayer, head: HeadLayer, features: Float[Tensor, " k"]) -> None:
        row = torch.cat([torch.ones(1), features])
        self.count += 1
        self.gram += torch.outer(row, row)
        for name in self.products:
            self.products[name] += (getattr(moved, name) - getattr(head, name))[..., None] * row
        for name in self.totals:
            self.totals[name] += getattr(moved, name) - getattr(head, name)
        self.squares += (moved.means - head.means).square().sum()

    def solve(self, name: str) -> Float[Tensor, "n *c z"]:
        damping = RIDGE * self.count * torch.eye(len(self.gram), dtype=torch.float64)
        damping[0, 0] = 0
        inverse = torch.linalg.inv(self.gram + damping).float()
        return self.products[name] @ inverse

    def distances(self, maps: Float[Tensor, "n 3 z"]) -> tuple[float, float]:
        """Root mean squares: of the movement around its mean, and of what the maps miss of it."""
        n = maps.shape[0] * self.count
        products, gram = self.products["means"].double(), self.gram
        around = self.squares - products[..., 0].square().sum() / self.count
        m = maps.double()
        missed = self.squares - 2 * (m * products).sum() + ((m @ gram) * m).sum()
        return float((around.clamp(min=0) / n).sqrt()), float((missed.clamp(min=0) / n).sqrt())
