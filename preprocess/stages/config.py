"""How a video becomes a capture."""

from __future__ import annotations

from dataclasses import dataclass, field

from avatar.errors import BadInput
from preprocess.tracking.types import TrackConfig

_MIN_SIDE = 64


@dataclass(frozen=True)
class PreprocessConfig:
    """How a video becomes a capture."""

    head: str = "anny"
    """Head model: anny, flame:FILE.pkl or gnm:FILE.npz."""
    long_side: int = 512
    """Longer side of the stored pictures, pixels; a smaller video keeps its size."""
    detect_long_side: int = 1280
    """Longer side of the pictures that the face detector looks at."""
    start_seconds: float = 0.0
    """Leave out what comes before this time."""
    max_seconds: float | None = None
    """Use no more than this much of the video."""
    overlay: bool = True
    """Write overlay.mp4, which shows what the tracker saw."""
    fix_sync: bool = False
    """Shift the sound by the measured offset to the lips, if there is one."""
    tracking: TrackConfig = field(default_factory=TrackConfig)

    def __post_init__(self) -> None:
        for name in ("long_side", "detect_long_side"):
            if (got := getattr(self, name)) < _MIN_SIDE:
                option = "--" + name.replace("_", "-")
                raise BadInput(f"{option} is too small", expected=f"at least {_MIN_SIDE}", got=str(got))
        if self.start_seconds < 0 or (self.max_seconds is not None and self.max_seconds <= 0):
            raise BadInput(
                "that part of the video is empty",
                expected="--start-seconds of 0 or more, --max-seconds above 0",
                got=f"{self.start_seconds:g} and {self.max_seconds}",
                fix="leave them out to use everything",
            )
