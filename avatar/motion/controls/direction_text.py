"""Directions as people write them: one line or one file, also JSON.

    0.5 nod; 2-4 smile 0.6; 3 look left          # on the command line
    1:05-1:08  looks away                        # in a file: one per line or with ;, comments with #

A direction is: when it begins (seconds, or minutes:seconds), or from-to; what is done; how strongly, if it matters (0
to 1.5, or percent). One without an end lasts as long as such things do, or until another begins that contradicts it.

JSON: `{"schema": "visavis.directions/1", "directions": [{"do": "smile", "start": 2, "end": 4, "strength": 0.6}]}`; end
and strength may be left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from avatar.errors import BadInput, FormatMismatch
from avatar.files import read_json, write_json
from avatar.motion.controls.direction_words import canonical
from avatar.motion.controls.directions import STRONGEST, Direction, contradict, gesture_of, refuse_conflicts

SCHEMA = "visavis.directions/1"
_SHORTEST_SECONDS = 0.1
_EXAMPLE = "0.5 nod; 2-4 smile 0.6; 3 look left"
_TIME = r"(?:(\d+):)?(\d+(?:\.\d*)?|\.\d+)\s*s?"
_ITEM = re.compile(rf"{_TIME}\s*(?:(?:-|–|to|\.\.)\s*{_TIME})?\s*:?\s+(.*?)(?:\s+(\d*\.?\d+)\s*(%?))?", re.IGNORECASE)


def read_directions(text_or_file: str) -> tuple[Direction, ...]:
    """Directions from what was written after an option: the text itself, or a .txt or .json file with it.

    Raises:
        BadInput: something that is no direction, or directions that contradict each other.
        FormatMismatch: JSON of another schema.
    """
    suffix = Path(text_or_file).suffix.lower()
    if suffix == ".json":
        return _from_json(Path(text_or_file))
    if suffix != ".txt":
        return parse_directions(text_or_file)
    try:
        return parse_directions(Path(text_or_file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot read the directions {text_or_file}", got=str(error)) from error


def parse_directions(text: str) -> tuple[Direction, ...]:
    """Directions from text; see the module.

    Raises:
        BadInput: something that is no direction, or directions that contradict each other.
    """
    lines = (line.partition("#")[0] for line in text.splitlines())
    found = [_item(item.strip()) for line in lines for item in line.split(";") if item.strip()]
    if not found:
        raise BadInput("there are no directions", expected=f"such as {_EXAMPLE!r}", got=repr(text))
    return _checked(found)


@dataclass(frozen=True)
class _Item:
    """A direction, and whether its end was said."""

    direction: Direction
    open_end: bool


def _checked(items: list[_Item]) -> tuple[Direction, ...]:
    """In the order of time; ends that nobody said give way to what comes next."""
    items = sorted(items, key=lambda item: item.direction.start_seconds)
    directions = []
    for i, item in enumerate(items):
        one, end = item.direction, item.direction.end_seconds
        for later in (other.direction for other in items[i + 1 :] if item.open_end):
            if contradict(one.name, later.name) and later.start_seconds - one.start_seconds >= _SHORTEST_SECONDS:
                end = min(end, later.start_seconds)
        directions.append(replace(one, end_seconds=end))
    refuse_conflicts(directions)
    return tuple(directions)


def _item(text: str) -> _Item:
    match = _ITEM.fullmatch(text)
    if not match:
        raise BadInput(f"{text!r} is no direction", expected=f"when, what and how strongly, such as {_EXAMPLE!r}")
    from_minutes, from_seconds, to_minutes, to_seconds, name, strength, percent = match.groups()
    start = 60 * float(from_minutes or 0) + float(from_seconds)
    end = None if to_seconds is None else 60 * float(to_minutes or 0) + float(to_seconds)
    amount = None if strength is None else float(strength) / (100 if percent else 1)
    return _direction(name, start, end, amount)


def _direction(said: str, start: float, end: float | None, strength: float | None) -> _Item:
    name, open_end = canonical(said), end is None
    gesture = gesture_of(name)
    end = start + gesture.seconds if end is None else end
    strength = gesture.strength if strength is None else strength
    if not (0 <= start and end - start >= _SHORTEST_SECONDS):
        raise BadInput(
            f"the direction {name!r} has impossible times",
            expected=f"from 0 on, and at least {_SHORTEST_SECONDS:g} seconds long", got=f"{start:g}-{end:g}",
        )  # fmt: skip
    if not 0 < strength <= STRONGEST:
        raise BadInput(
            f"the direction {name!r} has an impossible strength",
            expected=f"above 0 and up to {STRONGEST:g} (1 is full)", got=f"{strength:g}",
        )  # fmt: skip
    return _Item(Direction(name, start, end, strength), open_end)


def _from_json(path: Path) -> tuple[Direction, ...]:
    content = read_json(path, SCHEMA, "a list of directions")
    found = []
    for entry in content.get("directions", ()):
        try:
            end, strength = (None if entry.get(key) is None else float(entry[key]) for key in ("end", "strength"))
            said, start = str(entry["do"]), float(entry["start"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise FormatMismatch(
                f"{path} holds something that is no direction",
                expected='{"do": "nod", "start": 0.5}, also with "end" and "strength"', got=str(entry),
            ) from error  # fmt: skip
        found.append(_direction(said, start, end, strength))
    return _checked(found)


def save_directions(path: Path, directions: tuple[Direction, ...]) -> None:
    """Write directions as JSON, as `read_directions` reads it."""
    entries = [
        {"do": d.name, "start": d.start_seconds, "end": d.end_seconds, "strength": d.strength} for d in directions
    ]
    write_json(path, {"schema": SCHEMA, "directions": entries})
