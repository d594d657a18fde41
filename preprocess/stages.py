"""What each stage of a run took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from avatar.memory import peak_rss_mb


class Stages:
    """Times the stages of one run, from its making on."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self.metrics: dict[str, float] = {}
        """`NAME_seconds`, and `NAME_peak_rss_mb`: the most memory held up to the end of that stage."""

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return time.monotonic() - self._began

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure what is done inside."""
        began = self.seconds
        yield
        self.metrics |= {f"{name}_seconds": self.seconds - began, f"{name}_peak_rss_mb": peak_rss_mb()}
