"""Memory of this process."""

from __future__ import annotations

import resource
from pathlib import Path


def peak_rss_mb() -> float:
    """Most memory that this process ever held, or held since `restart_peak`.

    From Linux's own count where there is one: `getrusage` goes on counting what held the process before `exec`, so that
    it reports a large parent's memory.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def restart_peak() -> None:
    """Count the peak from now on, where the system lets us (Linux: proc(5), clear_refs)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        pass  # the peak of the whole process is still an upper bound
