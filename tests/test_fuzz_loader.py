"""Mutated videos and captures for a few seconds; `fuzz_loader.py --seconds 600` by hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).parent / "fuzz_loader.py"


def test_mutated_files_are_read_or_refused():
    command = [sys.executable, str(PROGRAM), "--seconds", "8", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-6000:]
    assert "nothing found" in done.stdout
