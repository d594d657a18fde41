"""The dials themselves; apart from what they do, so that a command line that only reads them loads nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from avatar.errors import BadInput

Point = tuple[float, float, float]
GroupName = Literal["lips", "upper", "lids", "gaze", "head"]

MOST_BLINKS = 60.0
_MOST_GAIN = 3.0
_COMPOSED_HEAD = 0.35


@dataclass(frozen=True)
class Dials:
    """How strongly a motion is played; the defaults change nothing, to the bit."""

    mouth_gain: float = 1.0
    """How far lips and jaw move from rest; closed lips stay closed."""
    blink_rate: float | None = None
    """Blinks per minute; the motion's own if not given."""
    pose_amplitude: float = 1.0
    """How far the head moves from its mean pose; the eyes make up for it."""
    gaze_amplitude: float = 1.0
    """How far the eyes move from rest, beside making up for the head."""
    brow_gain: float = 1.0
    """How far brows, cheeks and squint move from rest."""
    composed: bool = False
    """A calm host: small head movements, and the eyes on whoever is looked at (--look-at, else the camera)."""
    look_at: Point | None = None
    """Point that the eyes stay on, metres from the head at rest: to the subject's left, up, out of the face."""
    still: tuple[GroupName, ...] = ()
    """What stays at rest altogether, any of: lips upper lids gaze head."""

    def check(self) -> None:
        """Refuse what can't be meant.

        Raises:
            BadInput: a gain outside 0 to 3, or a rate outside 0 to 60.
        """
        for name in ("mouth_gain", "pose_amplitude", "gaze_amplitude", "brow_gain"):
            _check(name, getattr(self, name), _MOST_GAIN)
        if self.blink_rate is not None:
            _check("blink_rate", self.blink_rate, MOST_BLINKS)

    def resolved(self, listener: Point) -> Dials:
        """With what `composed` stands for, where no dial was turned by hand."""
        if not self.composed:
            return self
        head = _COMPOSED_HEAD if self.pose_amplitude == 1 else self.pose_amplitude
        return replace(self, composed=False, pose_amplitude=head, look_at=self.look_at or listener)


def _check(name: str, value: float, highest: float) -> None:
    if not 0 <= value <= highest:  # NaN is in no range either
        raise BadInput(f"--{name.replace('_', '-')} is out of range", expected=f"0 to {highest:g}", got=f"{value:g}")
