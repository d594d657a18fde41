"""The `visavis` command, the roof over all rooms: each subcommand imports what it needs only when it runs."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import tyro

from avatar.cli.build import Eval, Fit, Preprocess, Studio
from avatar.cli.check import Check
from avatar.cli.convert import Convert
from avatar.cli.demo import Demo
from avatar.cli.features import Features
from avatar.cli.head import Head
from avatar.cli.inspect import Bench, Doctor, Info
from avatar.cli.prior import EvalMotion, TrainPrior
from avatar.cli.show import Export, Render, View
from avatar.cli.stream import Stream
from avatar.cli.talk import Drive, Say
from avatar.errors import VisavisError

COMMANDS = {
    "doctor": Doctor, "demo": Demo, "check": Check, "preprocess": Preprocess, "fit": Fit, "eval": Eval,
    "render": Render, "drive": Drive, "say": Say, "stream": Stream, "view": View, "export": Export, "convert": Convert,
    "features": Features, "train-prior": TrainPrior, "eval-motion": EvalMotion, "info": Info, "head": Head,
    "bench": Bench, "studio": Studio,
}  # fmt: skip

BUG = 1
"""Exit code of an error that we did not foresee."""


def main(arguments: list[str] | None = None) -> None:
    """Entry point of `visavis`: exit code 0 done, 2 bad input or usage, 3 interrupted, 1 our bug."""
    command = tyro.extras.subcommand_cli_from_dict(
        COMMANDS, prog="visavis", args=arguments, description="Video of one person in, a talking 3D Gaussian head out."
    )
    with nullcontext() if command.verbose else native_logs_hidden():
        code = execute(command)
    sys.exit(code)


@contextmanager
def native_logs_hidden() -> Iterator[None]:
    """MediaPipe's C++ core logs to file descriptor 2 whatever it is told: Python's stderr moves to a copy of it."""
    python_stderr = sys.stderr
    python_stderr.flush()
    with os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace") as copy, open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        sys.stderr = copy
        try:
            yield
        finally:
            sys.stderr = python_stderr
            copy.flush()
            os.dup2(copy.fileno(), 2)


def execute(command) -> int:
    """Run a parsed command and report; returns the exit code."""
    try:
        command.start()
        result = command.run()
    except VisavisError as error:
        return fail(command, error, str(error), error.exit_code)
    except KeyboardInterrupt as error:
        return fail(command, error, "interrupted", 3)
    except Exception as error:
        return fail(command, error, f"this is a bug of visavis; please report it with the lines above: {error}", BUG)
    if command.json:
        print(json.dumps(result, ensure_ascii=False))
    else:
        show(result)
    return int(result.get("exit_code", 0))


def fail(command, error: BaseException, text: str, code: int) -> int:
    """Print an error on stderr, and as JSON on stdout if asked for."""
    if command.verbose or code == BUG:
        traceback.print_exception(error)
    print(f"visavis: {text}", file=sys.stderr)
    if command.json:
        print(json.dumps({"error": text, "exit_code": code}, ensure_ascii=False))
    return code


def show(result: dict, indent: str = "") -> None:
    """A result for human eyes."""
    for key, value in result.items():
        if isinstance(value, dict):
            print(f"{indent}{key}:")
            show(value, indent + "  ")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            print(f"{indent}{key}:")
            columns = list(value[0])
            print(indent + "  " + " | ".join(columns))
            for row in value:
                print(indent + "  " + " | ".join(str(row.get(c)) for c in columns))
        else:
            print(f"{indent}{key}: {value}")
