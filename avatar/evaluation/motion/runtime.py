"""What a driver costs while it runs: a bench fills it in, the card shows it."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Runtime:
    """One driver on one machine; times are wall clock. None was not measured."""

    driver: str
    machine: str
    threads: int
    real_time_factor: float
    """Seconds of work per second of motion: below 1 keeps up."""
    tick_p50_ms: float | None = None
    """Per frame of a stream."""
    tick_p95_ms: float | None = None
    tick_p99_ms: float | None = None
    loaded_p99_ms: float | None = None
    """The same while something else keeps all cores busy."""
    delay_frames: int | None = None
    """How far ahead the driver listens."""
    impulse_ms: float | None = None
    """From a click in silence to the first change of the lips."""
    cold_start_seconds: float | None = None
    peak_rss_mb: float | None = None
    soak_minutes: float | None = None
    """For how long it was kept running."""

    def as_dict(self) -> dict[str, str | int | float | None]:
        """For JSON."""
        return asdict(self)
