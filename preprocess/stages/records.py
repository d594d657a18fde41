"""The stages that make a capture: the files that each leaves in its folder, and how to tell that they are still those.

A stage's record says by what key (source, options, code, and the stages before it) its files were made, and what was in
them. Where both still hold, the files can be taken over.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from avatar.assets import sha256_file
from avatar.files import link_all, write_json

FOLDER = ".stages"
"""In the capture: records, and what stages found out that is nowhere else in it."""
DETECTION, TRACKING, SHOULDERS = (f"{FOLDER}/{name}.npz" for name in ("detection", "tracking", "shoulders"))

FILES: dict[str, tuple[str, ...]] = {
    "detection": ("frames", "masks", DETECTION),
    "tracking": (TRACKING,),
    "shoulders": (SHOULDERS,),
    "background": ("background.png", "background_seen.png"),
    "sound": ("audio.wav", "audio_features.npz"),
    "check": ("quality.json",),
    "overlay": ("overlay.mp4",),
}
"""Files and folders that a stage makes; a mute clip has no sound."""
_RECORDS = f"{FOLDER}/records.json"


@dataclass(frozen=True)
class StageRecord:
    """A finished stage."""

    key: str
    content: str
    """`content` of its files."""
    seconds: float
    """That it took, in all runs that worked on it."""
    peak_rss_mb: float
    """Most memory held during it (where the system can't tell: up to its end)."""
    facts: dict[str, Any]
    """What else it found out, as plain values."""


def read_records(folder: Path) -> dict[str, StageRecord] | None:
    """By stage; None if the folder holds no (readable) records."""
    try:
        records = json.loads((folder / _RECORDS).read_text(encoding="utf-8"))
        return {name: StageRecord(**records[name]) for name in FILES if name in records}
    except (OSError, ValueError, TypeError):
        return None


def write_records(folder: Path, records: dict[str, StageRecord]) -> None:
    """Write them atomically."""
    write_json(folder / _RECORDS, {name: asdict(record) for name, record in records.items()})


def content(folder: Path, stage: str) -> str:
    """Hash of a stage's files, their names and contents."""
    digest = hashlib.sha256()
    for path in sorted(_present(folder, stage)):
        digest.update(f"{path.relative_to(folder)} {sha256_file(path)}\n".encode())
    return digest.hexdigest()


def remove_files(folder: Path, stage: str) -> None:
    """Whatever lies where the stage's files belong."""
    for name in FILES[stage]:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def take_files(source: Path, target: Path, stage: str) -> None:
    """Give the stage's files in `source` a second name in `target`, which has none."""
    link_all((path, target / path.relative_to(source)) for path in _present(source, stage))


def _present(folder: Path, stage: str) -> Iterator[Path]:
    for name in FILES[stage]:
        path = folder / name
        if path.is_dir():
            yield from path.iterdir()
        elif path.is_file():
            yield path
