"""What a studio recording is asked to be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from avatar.errors import BadInput

Voice = Literal["formant", "flite"]
EDITION = 2
"""Raise it whenever equal configurations give other pictures: folders are rendered anew by their own edition only."""
MAX_VIEW_DEGREES = 90.0


@dataclass(frozen=True)
class StudioConfig:
    """A synthetic talking subject; equal configurations give equal bytes."""

    seconds: float = 60.0
    seed: int = 0
    """Everything random follows from it. Seeds below 100 are for development, published numbers use 1000 and up."""
    long_side: int = 512
    """Side of the square picture, pixels."""
    fps: float = 25.0
    audio: Path | None = None
    """A recording to speak (lips then follow by rule); a voice speaks nonsense with known phones if not given."""
    voice: Voice = "formant"
    """`formant`: our own source-filter voice, the same on every machine; `flite`: that program reads sentences."""
    views: tuple[float, ...] = ()
    """Further cameras at these yaw angles about the head, degrees to the camera's right."""
    wobble_mm: float = 0.0
    """Amplitude of a hand-held camera. 0 by default: the fit of an avatar presumes a camera at rest."""
    supersample: int = 2
    """Samples per pixel and axis."""

    def __post_init__(self) -> None:
        limits = {"seconds": (0.2, 3600.0), "fps": (5.0, 120.0), "long_side": (64, 2048), "wobble_mm": (0.0, 50.0)}
        for name, (lowest, highest) in limits.items():
            if not lowest <= (got := getattr(self, name)) <= highest:
                option = "--" + name.replace("_", "-")
                raise BadInput(f"{option} is out of range", expected=f"{lowest:g} to {highest:g}", got=f"{got:g}")
        if not 0 <= self.seed < 2**31:
            raise BadInput("--seed is out of range", expected="0 to 2147483647", got=str(self.seed))
        if any(not abs(view) <= MAX_VIEW_DEGREES for view in self.views):
            expected = f"angles from -{MAX_VIEW_DEGREES:g} to {MAX_VIEW_DEGREES:g} degrees"
            raise BadInput("--views is out of range", expected=expected, got=str(self.views))
        if self.supersample not in (1, 2, 3, 4):
            raise BadInput("--supersample is out of range", expected="1 to 4", got=str(self.supersample))
