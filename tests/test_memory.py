"""Peak memory of a process is its own, not its parent's."""

from __future__ import annotations

import os
import subprocess
import sys

from avatar.memory import peak_rss_mb, restart_peak


def test_a_small_child_of_a_large_parent_is_small():
    ballast = bytearray(b"x" * (300 << 20))
    own = peak_rss_mb()
    command = [sys.executable, "-c", "from avatar.memory import peak_rss_mb; print(peak_rss_mb())"]
    child = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert own > len(ballast) / 2**20 and 5 < child < 250


def test_the_peak_stays_after_memory_is_given_back():
    before = peak_rss_mb()
    ballast = bytearray(b"x" * (int(before + 100) << 20))
    del ballast
    assert peak_rss_mb() > before + 50


def test_a_new_count_knows_nothing_of_the_old_peak():
    ballast = bytearray(b"x" * (300 << 20))
    before = peak_rss_mb()
    del ballast
    restart_peak()
    assert peak_rss_mb() < before - 200 or not os.access("/proc/self/clear_refs", os.W_OK)
