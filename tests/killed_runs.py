"""Runs of `preprocess.track` that are killed in the middle of one stage after the other, then one that is left alone.

    python tests/killed_runs.py CLIP OUTPUT

Every run is a process of its own, forked before anything has started a thread, and is stopped while it is in a stage:
its files are written, but it has not said so. Prints what each run did, as JSON lines.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from avatar.errors import Interrupted
from avatar.progress import set_quiet
from preprocess import PreprocessConfig, track
from preprocess.stages.records import FILES
from preprocess.stages.workspace import Workspace

SIGNALS = (signal.SIGKILL, signal.SIGINT)


def run(clip: Path, output: Path, stop_in: str | None, told: int) -> None:
    """One run; says so on `told` and waits for its end when the work of stage `stop_in` is done."""
    plain = Workspace.run

    def patched(self: Workspace, name: str, key: str, make: Callable[[], dict]) -> dict:
        def stopping() -> dict:
            facts = make()
            if name == stop_in:
                os.write(told, json.dumps({"reused": self.reused}).encode())
                time.sleep(600)
            return facts

        return plain(self, name, key, stopping)

    Workspace.run = patched
    capture = track(clip, output, config=PreprocessConfig(long_side=128), jobs=2)
    reused = [name for name, stage in capture.info["stages"].items() if stage["reused"]]
    os.write(told, json.dumps({"reused": reused}).encode())


def forked(clip: Path, output: Path, stop_in: str | None, how: signal.Signals) -> dict:
    """Start a run, stop it where it is to stop, and tell how it ended."""
    listen, told = os.pipe()
    child = os.fork()
    if not child:
        try:
            run(clip, output, stop_in, told)
        except Interrupted as error:
            os._exit(error.exit_code)
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
        os._exit(0)
    os.close(told)
    said = json.loads(os.read(listen, 10_000) or b"{}")
    if stop_in is not None:
        os.kill(child, how)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.close(listen)
    return {"stage": stop_in, "signal": how.name, "status": status, "output": output.exists(), **said}


def main() -> None:
    """All of them, one after the other, on the same output."""
    set_quiet(True)
    clip, output = Path(sys.argv[1]), Path(sys.argv[2])
    for number, stage in enumerate([*FILES, None]):
        print(json.dumps(forked(clip, output, stage, SIGNALS[number % 2])), flush=True)


if __name__ == "__main__":
    main()
