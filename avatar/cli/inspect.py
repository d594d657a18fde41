"""Commands that inspect: info, doctor, bench."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import tyro

from avatar.cli.common import Common, Input
from avatar.errors import BadInput


@dataclass(frozen=True)
class Info(Common):
    """Say what a file or folder of ours is, and whether it is whole.

    Example: visavis info me.avatar
    """

    file: Input = field(kw_only=True)

    def run(self) -> dict:
        from avatar.info import describe
        from preprocess.capture import CaptureFolder

        if (self.file / "capture.json").is_file():
            CaptureFolder.load(self.file)  # reads its tracks and looks for every picture
        return describe(self.file)


@dataclass(frozen=True)
class Doctor(Common):
    """Check this machine: what is missing, why it matters, and the command that fixes it.

    Example: visavis doctor
    """

    def run(self) -> dict:
        from avatar.doctor import examine

        return examine()


@dataclass(frozen=True)
class Bench(Common):
    """Measure this machine; prints a table, each row with its rival's ratio from the same run.

    Example: visavis bench kernels
    """

    what: tyro.conf.Positional[Literal["kernels"]] = "kernels"

    case: tuple[str, ...] = ()
    """Only these cases, by name."""

    busy: bool = False
    """Time a few cases beside a process that keeps one processor busy: more threads must not be slower then."""

    def run(self) -> dict:
        import os

        from avatar.evaluation.bench_kernels import CASES, run

        unknown = [name for name in self.case if name not in CASES]
        if unknown:
            raise BadInput(f"no case is called {unknown[0]!r}", expected=f"one of: {', '.join(CASES)}")
        threads = [self.threads] if self.threads else sorted({1, os.cpu_count() or 1})
        return run(threads, names=list(self.case), busy=self.busy)
