"""How a hash tri-plane is laid out: resolutions and table sizes of its levels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

FEATURE_COUNTS = (1, 2, 4, 8)
MAX_LEVELS = 32
MAX_LOG2_ROWS = 24
MAX_RESOLUTION = 1 << 15


@dataclass(frozen=True)
class TriplaneLayout:
    """Three planes (xy, yz, zx) of `levels` grids each, as in ER-NeRF (Li et al. 2023) and TalkingGaussian.

    Resolutions grow geometrically from `coarsest` to `finest` cells along the unit square (Mueller et al. 2022, eq. 2).
    A level whose (resolution + 1)^2 corners fit 2^log2_rows rows gives every corner a row of its own, others hash.
    """

    levels: int = 12
    features: int = 2
    """Features per level: 1, 2, 4 or 8."""
    log2_rows: int = 16
    coarsest: int = 16
    finest: int = 512

    def __post_init__(self):
        if not 1 <= self.levels <= MAX_LEVELS:
            raise ValueError(f"levels: expected 1..{MAX_LEVELS}, got {self.levels}")
        if self.features not in FEATURE_COUNTS:
            raise ValueError(f"features: expected one of {FEATURE_COUNTS}, got {self.features}")
        if not 2 <= self.log2_rows <= MAX_LOG2_ROWS:
            raise ValueError(f"log2_rows: expected 2..{MAX_LOG2_ROWS}, got {self.log2_rows}")
        if not 1 <= self.coarsest <= self.finest <= MAX_RESOLUTION:
            raise ValueError(
                f"coarsest, finest: expected 1 <= coarsest <= finest <= {MAX_RESOLUTION}, "
                f"got {self.coarsest}, {self.finest}"
            )

    @cached_property
    def resolutions(self) -> tuple[int, ...]:
        """Cells along a side of each level."""
        growth = (self.finest / self.coarsest) ** (1 / max(self.levels - 1, 1))
        return tuple(round(self.coarsest * growth**level) for level in range(self.levels))

    @cached_property
    def level_rows(self) -> tuple[int, ...]:
        """Rows of each level in its plane's table."""
        return tuple(min((resolution + 1) ** 2, 1 << self.log2_rows) for resolution in self.resolutions)

    @cached_property
    def hashed(self) -> tuple[bool, ...]:
        """Which levels share rows between corners."""
        return tuple((resolution + 1) ** 2 > 1 << self.log2_rows for resolution in self.resolutions)

    @property
    def rows(self) -> int:
        """Rows of one plane's table."""
        return sum(self.level_rows)

    @property
    def table_shape(self) -> tuple[int, int, int]:
        """(planes, rows, features)."""
        return 3, self.rows, self.features

    @property
    def out_features(self) -> int:
        """Features of one point: planes x levels x features, in this order."""
        return 3 * self.levels * self.features
