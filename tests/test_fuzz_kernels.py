"""Random calls of the native kernels, as installed for a few seconds and under sanitizers for longer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from fuzz_kernels import sanitizer

PROGRAM = Path(__file__).parent / "fuzz_kernels.py"


def fuzz(*arguments: str) -> str:
    command = [sys.executable, str(PROGRAM), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stderr[-6000:]
    return done.stdout


def test_random_calls_of_the_installed_kernels():
    assert "nothing found" in fuzz("--installed", "--seconds", "4", "--seed", "1")


@pytest.mark.slow
@pytest.mark.timeout(1000)
@pytest.mark.skipif(sanitizer() is None, reason="g++ has no address sanitizer")
def test_random_calls_under_sanitizers():
    assert "nothing found" in fuzz("--seconds", "15", "--seed", "2")
