"""Says of every exported file that it is synthetic, what made it and from what: a tag inside, a JSON file beside it."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from avatar import __version__
from avatar.assets import sha256_file
from avatar.files import write_json

SCHEMA = "visavis.provenance/1"


@dataclass(frozen=True)
class Provenance:
    """Where a synthetic file comes from."""

    avatar: str = ""
    """Content hash of the avatar that is shown."""
    source: str = ""
    """Content hash or name of what drives it (motion, capture, speech)."""
    support: dict | None = None
    """How well the avatar's training supports what drives it, see `avatar.support`."""
    seed: int | None = None
    command: str = field(
        default_factory=lambda: " ".join(Path(a).name if i == 0 else a for i, a in enumerate(sys.argv))
    )
    tool: str = "visavis"
    version: str = __version__
    synthetic: bool = True
    date: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))

    @property
    def mark(self) -> str:
        """One line for a file's own metadata; without the date, so that equal input gives equal bytes."""
        parts = [f"Synthetic media made by {self.tool} {self.version}; it does not show a real event."]
        parts += [f"{label} {text}." for label, text in (("Avatar", self.avatar), ("Source", self.source)) if text]
        return " ".join(parts)


def sidecar_path(path: Path) -> Path:
    """`clip.mp4` -> `clip.mp4.provenance.json`."""
    return path.with_name(path.name + ".provenance.json")


def write_sidecar(path: Path, provenance: Provenance) -> Path:
    """Write the JSON file beside a finished export, bound to it by checksum; returns its path."""
    record = {"schema": SCHEMA, "file": path.name, "sha256": sha256_file(path), **asdict(provenance)}
    target = sidecar_path(path)
    write_json(target, record)
    return target
