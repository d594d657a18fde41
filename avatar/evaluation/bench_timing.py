"""How the benchmark measures: times of a case and its rivals in turn, contention, peak memory over the inputs."""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

MIN_SECONDS = 0.6
MIN_REPEATS = 7
BLOCK_SECONDS = 0.1
"""Ours and its rivals take turns of this length, so that a neighbour's load meets all of them."""
MEMORY_REPEATS = 3
_PROC = Path("/proc/self")


@dataclass(frozen=True)
class Case:
    """One timed function and the rivals that ratios refer to."""

    name: str
    run: Callable[[], object]
    rivals: dict[str, Callable[[], object]] = field(default_factory=dict)


@dataclass(frozen=True)
class Timing:
    """What was measured of a case."""

    milliseconds: np.ndarray
    rivals: dict[str, float]
    """By how many times the median of each rival is longer."""
    waited: float | None
    """Of the time that our threads were ready to run, the share in which they had no processor; 0 on a quiet machine,
    None where the system does not say."""


def measure(case: Case) -> Timing:
    """Time a case and its rivals in turn: each at least MIN_REPEATS times (slow rivals: once) and for MIN_SECONDS."""
    runs = {"": case.run, **case.rivals}
    for run in runs.values():
        run()  # first use allocates
    times: dict[str, list[float]] = {name: [] for name in runs}
    before = _scheduled()
    while any(not _enough(spent, name) for name, spent in times.items()):
        for name, run in runs.items():
            if not _enough(times[name], name):
                times[name] += _block(run, warm=len(runs) > 1)
    medians = {name: float(np.median(spent)) for name, spent in times.items()}
    ratios = {name: medians[name] / medians[""] for name in case.rivals}
    return Timing(np.array(times[""]) * 1e3, ratios, _waited(before, _scheduled()))


def _enough(seconds: list[float], rival: str) -> bool:
    least = 1 if rival and sum(seconds) > MIN_SECONDS else MIN_REPEATS
    return len(seconds) >= least and sum(seconds) >= MIN_SECONDS


def _block(run: Callable[[], object], warm: bool) -> list[float]:
    times: list[float] = []
    while not times or sum(times) < BLOCK_SECONDS:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return times[1:] if warm and len(times) > 2 else times  # the first run finds the caches full of others' data


def _scheduled() -> dict[str, tuple[int, int]]:
    """Nanoseconds that each thread of this process ran, and waited for a processor."""
    threads = {}
    for task in (_PROC / "task").glob("*/schedstat"):
        try:
            ran, waited, _ = task.read_text().split()
        except OSError:
            continue  # ended meanwhile
        threads[task.parent.name] = int(ran), int(waited)
    return threads


def _waited(before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]) -> float | None:
    zero = (0, 0)
    ran = sum(after[t][0] - before.get(t, zero)[0] for t in after)
    waited = sum(after[t][1] - before.get(t, zero)[1] for t in after)
    return waited / (ran + waited) if ran else None


def peak_megabytes(case: Case) -> float | None:
    """By how much this process's memory rises above that of the case's inputs. To be asked in a fresh process: later
    calls find memory that earlier ones left. Pages of programs that are read for the first time do not count."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
        (_PROC / "clear_refs").write_text("5")  # proc(5): resets VmHWM
        before = _memory()
        for _ in range(MEMORY_REPEATS):
            case.run()
        after = _memory()
    except (OSError, KeyError, AttributeError):
        return None
    programs = after["RssFile"] - before["RssFile"]
    return max(0.0, (after["VmHWM"] - before["VmRSS"] - programs) / 1024)


def _memory() -> dict[str, int]:
    """KB, as the system calls them."""
    found = re.findall(r"^(\w+):\s+(\d+) kB$", (_PROC / "status").read_text(), flags=re.MULTILINE)
    return {name: int(value) for name, value in found}


@contextmanager
def busy_neighbour() -> Iterator[None]:
    """Another process that keeps a processor busy all the time."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as neighbour:
        try:
            yield
        finally:
            neighbour.kill()
