"""Progress with ETA on stderr: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

_quiet = False


def set_quiet(quiet: bool) -> None:
    """Silence all progress and notes (the command line's `-q`)."""
    global _quiet  # noqa: PLW0603  one process, one terminal
    _quiet = quiet


def note(text: str) -> None:
    """Say one thing to the user, on stderr."""
    if not _quiet:
        print(text, file=sys.stderr, flush=True)


class _Silent:
    def update(self, done: float, info: str = "") -> None:
        pass


class _Lines:
    """For logs and pipes: one line every 5 seconds."""

    def __init__(self, label: str, total: float) -> None:
        self.label, self.total, self.last = label, total, time.monotonic()
        self.first: tuple[float, float] | None = None

    def update(self, done: float, info: str = "") -> None:
        now = time.monotonic()
        share = min(done / self.total, 1.0) if self.total else 0.0
        if self.first is None:  # a resumed run starts with a share that it did not take the time for
            self.first = now, share
        if now - self.last < 5:
            return
        self.last = now
        start, before = self.first
        eta = f", ETA {(now - start) * (1 - share) / (share - before):.0f} s" if share > before else ""
        note(f"{self.label}: {share:4.0%}{eta} {info}".rstrip())


class _Bar:
    def __init__(self, bar, task) -> None:
        self.bar, self.task = bar, task

    def update(self, done: float, info: str = "") -> None:
        self.bar.update(self.task, completed=done, info=info)


@contextmanager
def progress(label: str, total: float) -> Iterator[_Silent | _Lines | _Bar]:
    """A progress display whose `update(done, info)` takes the absolute amount done out of `total`."""
    if _quiet:
        yield _Silent()
    elif not sys.stderr.isatty():
        yield _Lines(label, total)
    else:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
        with Progress(
            *columns, TimeRemainingColumn(), TextColumn("{task.fields[info]}"), console=Console(stderr=True)
        ) as bar:
            yield _Bar(bar, bar.add_task(label, total=total, info=""))
