"""What the training of a prior can be told."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from avatar.errors import BadInput
from avatar.motion.prior.forward import Weights, blocks_of
from avatar.motion.prior.schedule import Schedule

Preset = Literal["l0", "quick", "default", "gpu"]


@dataclass(frozen=True)
class TrainConfig:
    """The resolved options; stored in the prior."""

    steps: int
    """0 trains the L0 rung alone."""
    width: int = 128
    """Of the network."""
    blocks: int = 6
    batch: int = 32
    frames: int = 64
    """Of a window."""
    rate: float = 1.5e-3
    """AdamW's, at its highest; it warms up and then falls along a cosine."""
    dropout: float = 0.1
    schedule: Schedule = "flow"
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        limits = {"steps": (0, 10**7), "width": (16, 1024), "blocks": (1, 32), "batch": (1, 4096), "frames": (16, 1024)}
        for name, (low, high) in limits.items():
            if not low <= (got := getattr(self, name)) <= high:
                raise BadInput(f"{name} is out of range", expected=f"{low} to {high}", got=str(got))


PRESETS: dict[str, TrainConfig] = {
    "l0": TrainConfig(steps=0),
    "quick": TrainConfig(steps=600, width=96, blocks=4),
    "default": TrainConfig(steps=3000),
    "gpu": TrainConfig(steps=20_000, width=256, blocks=8, batch=128, device="cuda"),
}


def preset_named(name: Preset, seed: int, schedule: Schedule = "flow") -> TrainConfig:
    """A preset with a seed."""
    return replace(PRESETS[name], seed=seed, schedule=schedule)


def of_network(config: TrainConfig, network: Weights) -> TrainConfig:
    """Options that train a network further: its size is its own, whatever the preset says."""
    return replace(config, width=len(network["enter.weight"]), blocks=blocks_of(network))
