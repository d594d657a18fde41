"""Phones with their times from files: Praat's TextGrid, HTS and xwaves labels, TIMIT."""

from __future__ import annotations

import math
import re
from pathlib import Path

from avatar.errors import BadInput, FormatMismatch
from avatar.motion.phone_sets import to_phones
from avatar.motion.phones import Phone

_TIER = re.compile(r"phon|segment|\bmau\b", re.IGNORECASE)
_FULL_CONTEXT = re.compile(r"-([^-+]+)\+")
_HTS_TICKS_PER_SECOND = 10_000_000
_TIMIT_RATE = 16_000
_EXPECTED = "a Praat .TextGrid, or a .lab with lines of start, end and phone"

Labelled = list[tuple[str, float, float]]


def read_phones(path: Path | str) -> list[Phone]:
    """Phones of a label file; see `avatar.motion.phone_sets` for the names that are understood.

    A TextGrid may be in the long, short or JSON format; its tier is that named like phones or segments, or the only
    one. Other files hold one phone per line: start and end in 100 ns and a plain or full-context label (HTS), start
    and end in seconds with a point (Audacity), end, colour and phone after a line `#` (xwaves, Festival), or samples
    at 16 kHz in a `.phn` (TIMIT).

    Raises:
        BadInput: there is no such file, or a TextGrid has no single tier of phones.
        FormatMismatch: it is none of these, or its times go backwards.
    """
    path = Path(path)
    if not path.is_file():
        raise BadInput(f"{path} does not exist", expected=_EXPECTED, fix="check the name")
    labelled = _textgrid(path) if path.suffix.lower() in (".textgrid", ".json") else _lines(path)
    times = [time for _, start, end in labelled for time in (start, end)]
    if not times or not all(math.isfinite(t) for t in times) or min(times) < 0:
        raise FormatMismatch(f"{path} holds no phones", expected=_EXPECTED, got=f"{len(labelled)} intervals")
    if any(later < earlier - 1e-6 for earlier, later in zip(times, times[1:], strict=False)):
        raise FormatMismatch(f"the times of {path} go backwards", expected="phones in the order of their times")
    return to_phones(labelled)


def _textgrid(path: Path) -> Labelled:
    from praatio import textgrid
    from praatio.data_classes.interval_tier import IntervalTier
    from praatio.utilities.errors import PraatioException

    try:
        grid = textgrid.openTextgrid(str(path), True, reportingMode="silence", duplicateNamesMode="rename")
    # Its parser takes a file at its word, and stumbles in many ways over one that is none.
    except (PraatioException, ValueError, LookupError, TypeError, AttributeError) as error:
        raise FormatMismatch(f"{path} is no TextGrid", expected=_EXPECTED, got=repr(error)[:200]) from error
    tiers = [tier for tier in grid.tiers if isinstance(tier, IntervalTier)]  # the others hold points
    chosen = [tier for tier in tiers if _TIER.search(tier.name)] or tiers
    if len(chosen) != 1:
        raise BadInput(
            f"{path} has no single tier of phones",
            expected="one interval tier named phones",
            got=", ".join(tier.name for tier in chosen) or "no interval tier",
            fix="name it phones and the others otherwise",
        )
    return [(str(label), float(start), float(end)) for start, end, label in map(tuple, chosen[0].entries)]


def _lines(path: Path) -> Labelled:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise FormatMismatch(f"{path} is no text", expected=_EXPECTED, got=str(error)) from error
    rows = [line.split() for line in lines if line.strip()]
    heading = next((place for place, row in enumerate(rows) if row == ["#"]), None)
    try:
        if heading is not None:
            return _ends(rows[heading + 1 :])
        seconds = any("." in time for row in rows for time in row[:2])
        unit = 1.0 if seconds else 1 / (_TIMIT_RATE if path.suffix.lower() == ".phn" else _HTS_TICKS_PER_SECOND)
        return [(_name(row), unit * float(row[0]), unit * float(row[1])) for row in rows]
    except (ValueError, IndexError) as error:
        raise FormatMismatch(f"{path} is no list of phones", expected=_EXPECTED, got=str(error)) from error


def _name(row: list[str]) -> str:
    label = row[2] if len(row) > 2 else ""
    context = _FULL_CONTEXT.search(label)
    return context[1] if context else label


def _ends(rows: list[list[str]]) -> Labelled:
    """xwaves gives ends only: each phone begins where the one before ended."""
    ends = [float(row[0]) for row in rows]
    return [(_name(row), start, end) for row, start, end in zip(rows, [0.0, *ends], ends, strict=False)]
