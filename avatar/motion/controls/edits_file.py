"""Edits beside a motion: `motion.edits.json`, schema `visavis.edits/1`.

    {"schema": "visavis.edits/1",
     "offsets": [{"start": 1, "end": 3, "add": {"head.pitch": -4, "mouthSmileLeft": 0.2}, "ramp": 0.3}],
     "locks": [{"start": 5, "end": 7, "groups": ["head", "gaze"], "motion": "take2.npz", "ramp": 0.2}],
     "keys": [{"at": 2.4, "set": {"head.yaw": 12, "gaze.left": -8}, "reach": 0.5}]}

Seconds are those since the motion's first frame; channels are listed in `avatar.motion.controls.channels`. `ramp`,
`reach` and `motion` (a file beside this one; without it a lock holds still) may be left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from avatar.errors import BadInput, FormatMismatch
from avatar.files import read_json, write_json
from avatar.motion.controls.channels import check_channel
from avatar.motion.controls.edits import Edits, Key, Lock, Offset
from avatar.motion.groups import GROUP_NAMES
from avatar.motion.motion_io import load_motion

SCHEMA = "visavis.edits/1"


def read_edits(path: Path) -> Edits:
    """Read edits and the motions that their locks name.

    Raises:
        BadInput: no such file, an unknown channel or group, or an impossible value or span.
        FormatMismatch: no JSON of this schema, or an entry that lacks something.
    """
    content = read_json(path, SCHEMA, "a list of edits")
    found: dict[str, list] = {"offsets": [], "locks": [], "keys": []}
    if unknown := content.keys() - found.keys() - {"schema"}:
        raise FormatMismatch(f"{path} holds unknown edits", expected=", ".join(found), got=", ".join(sorted(unknown)))
    make = {"offsets": _offset, "locks": lambda entry: _lock(entry, path.parent), "keys": _key}
    for kind, entries in found.items():
        for entry in content.get(kind, ()):
            try:
                entries.append(make[kind](entry))
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise FormatMismatch(
                    f"{path}: one of the {kind} can't be read", expected="as the documentation of "
                    "avatar.motion.controls.edits_file has it", got=f"{entry} ({type(error).__name__}: {error})",
                ) from error  # fmt: skip
    return Edits(tuple(found["offsets"]), tuple(found["locks"]), tuple(found["keys"]))


def write_edits(path: Path, edits: Edits) -> None:
    """Write edits; motions of locks are named, not written.

    Raises:
        BadInput: a lock's motion has no file, or the disk is full.
    """
    if any(lock.motion is not None and lock.file is None for lock in edits.locks):
        raise BadInput("a lock's motion is in no file", expected="save_motion beside the edits, and Lock(file=...)")
    offsets = [_span(o) | {"add": dict(o.add), "ramp": o.ramp_seconds} for o in edits.offsets]
    locks = [
        _span(k) | {"groups": list(k.groups), "ramp": k.ramp_seconds} | ({"motion": k.file} if k.file else {})
        for k in edits.locks
    ]
    keys = [{"at": k.at_seconds, "set": dict(k.set), "reach": k.reach_seconds} for k in edits.keys]
    write_json(path, {"schema": SCHEMA, "offsets": offsets, "locks": locks, "keys": keys})


def _span(edit: Offset | Lock) -> dict[str, Any]:
    return {"start": edit.start_seconds, "end": edit.end_seconds}


def _times(entry: dict[str, Any]) -> tuple[float, float]:
    start, end = float(entry["start"]), float(entry["end"])
    if not 0 <= start < end:
        raise BadInput("an edit has impossible times", expected="0 <= start < end", got=f"{start:g} to {end:g}")
    return start, end


def _at_least_0(entry: dict[str, Any], name: str, usual: float) -> float:
    value = float(entry.get(name, usual))
    if not value >= 0:
        raise BadInput(f"an edit's {name} can't be negative", expected="seconds from 0 on", got=f"{value:g}")
    return value


def _values(entries: dict[str, Any], *, change: bool) -> dict[str, float]:
    values = {str(name): float(value) for name, value in entries.items()}
    for name, value in values.items():
        check_channel(name, value, change=change)
    return values


def _offset(entry: dict[str, Any]) -> Offset:
    return Offset(*_times(entry), _values(entry["add"], change=True), _at_least_0(entry, "ramp", Offset.ramp_seconds))


def _lock(entry: dict[str, Any], folder: Path) -> Lock:
    groups = tuple(str(group) for group in entry["groups"])
    if unknown := set(groups) - set(GROUP_NAMES):
        raise BadInput(f"there is no group {min(unknown)!r}", expected=", ".join(GROUP_NAMES))
    file = entry.get("motion")
    motion = None if file is None else load_motion(folder / str(file))
    return Lock(*_times(entry), groups, motion, file, _at_least_0(entry, "ramp", Lock.ramp_seconds))


def _key(entry: dict[str, Any]) -> Key:
    reach = _at_least_0(entry, "reach", Key.reach_seconds)
    return Key(float(entry["at"]), _values(entry["set"], change=False), reach)
