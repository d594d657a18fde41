"""One texture for everything: which tile shows what, and the labels of parts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

WIDTH, HEIGHT = 2048, 1024
LABELS = (
    "background", "face_skin", "lips", "inner_mouth", "teeth", "tongue", "eyes", "brows", "scalp", "ears", "neck",
    "hair", "torso",
)  # fmt: skip
"""What a pixel of a label picture shows, by number."""


@dataclass(frozen=True)
class Tile:
    """A rectangle of the atlas, texels."""

    x: int
    y: int
    width: int
    height: int

    def place(self, u: np.ndarray, v: np.ndarray) -> Float[np.ndarray, "*n 2"]:
        """Atlas texels of u (right) and v (down) in [0, 1], held two texels inside the tile."""
        inset = 2.0
        x = self.x + inset + np.clip(u, 0, 1) * (self.width - 2 * inset)
        y = self.y + inset + np.clip(v, 0, 1) * (self.height - 2 * inset)
        return np.stack([x, y], axis=-1)

    @property
    def area(self) -> tuple[slice, slice]:
        """Rows and columns."""
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)


TILES = {
    "head": Tile(0, 0, 1280, 1024),
    "eyes": Tile(1280, 0, 256, 256),
    "hair": Tile(1280, 256, 384, 768),
    "shirt": Tile(1664, 256, 384, 768),
    "inner_mouth": Tile(1792, 0, 128, 128),
    "teeth": Tile(1920, 0, 128, 128),
    "tongue": Tile(1792, 128, 128, 128),
    "throat": Tile(1920, 128, 128, 128),
}


@dataclass(frozen=True)
class Atlas:
    """The painted texture."""

    color: UInt8[np.ndarray, "1024 2048 3"]
    labels: UInt8[np.ndarray, "1024 2048"]
    """Index into LABELS."""
