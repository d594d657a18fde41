"""The verdict on a clip: findings with what to record instead, and the measures behind them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from preprocess.sound.sync import Sync

SCHEMA = "visavis.quality/1"


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be."""

    about: str
    """sound, sync, focus, light, cover, turn, blinks, mouth, room, clip."""
    text: str
    advice: str = ""
    """What to record, or which command to run."""


@dataclass(frozen=True)
class Quality:
    """What `visavis check` found."""

    verdict: str
    """'ok', 'warn' or 'refuse'."""
    usable_seconds: float
    """With the face found, nothing over it, in focus, in one piece."""
    sync: Sync
    measures: dict[str, Any]
    findings: list[Finding] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Plain values for quality.json."""
        return {"schema": SCHEMA, **asdict(self)}
