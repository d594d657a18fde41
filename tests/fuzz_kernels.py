"""Calls every native kernel through its public function with random arguments: sound, extreme and wrong ones.

    python tests/fuzz_kernels.py --seconds 600 --seed 1     # compiles the kernels with sanitizers, then runs under them
    python tests/fuzz_kernels.py --installed --seconds 10   # the kernels as they are installed
    python tests/fuzz_kernels.py --only 1:4711              # one case again, by the name that a finding has

A finding is anything but a result, a ValueError, TypeError or MemoryError (and IndexError or BadInput for a frame or
background that is not there): another exception, a crash, whatever AddressSanitizer and UBSan report (also conversions
of floats that do not fit; buffers are as long as their content); and for sound arguments a number that is not finite or
was never written, or a bit that changes with the number of threads. Leaks are not looked for: Python itself leaks.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import os
import random
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
BUILD = ROOT / "build" / "sanitized"
ASAN_OPTIONS = "detect_leaks=0:allocator_may_return_null=1:detect_stack_use_after_return=0"
UBSAN_OPTIONS = "print_stacktrace=1:halt_on_error=1"
MODULE = "cuda_ext._native"
FINDING = "finding"


def build(folder: Path = BUILD) -> Path:
    """The native module compiled with sanitizers (up to some minutes the first time)."""
    settings = [f"-DPython_EXECUTABLE={sys.executable}", "-DVISAVIS_SANITIZE=ON", "-DCMAKE_BUILD_TYPE=Debug"]
    commands = [
        ["cmake", "-S", ROOT / "cuda_ext", "-B", folder, "-G", "Ninja", *settings],
        ["cmake", "--build", folder],
    ]
    for command in commands:
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    return next(folder.glob("_native*.so"))


def sanitizer() -> str | None:
    """What has to be loaded before everything else, if it is there: GCC's AddressSanitizer, and the C++ library whose
    exceptions it looks at."""
    libraries = []
    for name in ("libasan.so", "libstdc++.so"):
        command = ["g++", f"-print-file-name={name}"]
        try:
            libraries.append(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())
        except (OSError, subprocess.CalledProcessError):
            return None
    return " ".join(libraries) if all(os.sep in path for path in libraries) else None


def restart_under_sanitizer(arguments: list[str], module: Path) -> int:
    """Run this program again with the sanitizer loaded before everything else; the case it ends in is named."""
    with tempfile.NamedTemporaryFile("r") as at:
        environment = os.environ | {
            "LD_PRELOAD": str(sanitizer()), "ASAN_OPTIONS": ASAN_OPTIONS, "UBSAN_OPTIONS": UBSAN_OPTIONS
        }  # fmt: skip
        command = [sys.executable, __file__, *arguments, "--module", str(module), "--at", at.name]
        code = subprocess.run(command, env=environment, check=False).returncode
        if code:
            print(f"finding in case {at.read().strip()} (exit code {code})", file=sys.stderr)
    return code


def load(module: str) -> None:
    spec = importlib.util.spec_from_file_location(MODULE, module)
    assert spec is not None and spec.loader is not None
    native = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(native)
    sys.modules[MODULE] = native


def tensors_in(result: Any) -> list[Any]:
    import numpy as np
    from torch import Tensor

    if isinstance(result, np.ndarray | Tensor):
        return [result]
    if dataclasses.is_dataclass(result):
        result = vars(result).values()
    return [t for r in result for t in tensors_in(r)] if isinstance(result, (tuple, list, type({}.values()))) else []


def outcome(call, arguments: dict[str, Any], draw) -> list[Any]:
    """All arrays that the call gives, and those of its backward pass."""
    import torch

    results = tensors_in(call(**arguments))
    ends = [t for t in results if isinstance(t, torch.Tensor) and t.requires_grad and draw.chance(0.8)]
    leaves = [t for t in tensors_in(tuple(arguments.values())) if isinstance(t, torch.Tensor) and t.requires_grad]
    if not ends or not leaves:
        return results
    generator = torch.Generator().manual_seed(1)
    slopes = [torch.randn(t.shape, generator=generator) for t in ends]
    if draw.chance(0.2):
        slopes = [s.new_ones(()).expand(s.shape) for s in slopes]
    twice = draw.chance(0.1)
    gradients = torch.autograd.grad(ends, leaves, slopes, allow_unused=True, retain_graph=twice)
    if twice:
        again = torch.autograd.grad(ends, leaves, slopes, allow_unused=True)
        check_same(present(gradients), present(again), "a second backward pass")
    return results + present(gradients)


def present(values: Any) -> list[Any]:
    return [v for v in values if v is not None]


def check_same(first: list[Any], second: list[Any], what: str) -> None:
    import numpy as np

    for a, b in zip(first, second, strict=True):
        if not np.array_equal(np.asarray(a.detach()), np.asarray(b.detach()), equal_nan=True):
            raise AssertionError(f"{what} gave other bits")


def run_case(name: str) -> str:
    """One case by name ("seed:number"); says what became of it. Raises if that is a finding."""
    import torch
    from fuzz_cases import CASES, Draw, spoiled

    from avatar.errors import BadInput
    from cuda_ext import ops
    from cuda_ext.backends import native

    plan = random.Random(name)
    kind, wild, wrong = plan.choice(list(CASES)), plan.random() < 0.4, plan.random() < 0.35
    native().set_lanes(plan.choice(native().available_lanes()))
    ops.set_threads(plan.randint(1, 4))
    # Fills new tensors with NaN: a number that a kernel should have written and did not is then seen.
    torch.use_deterministic_algorithms(not wild)
    ops.set_memory_limit(512)
    draw = Draw(name, wild)
    try:
        call, arguments = CASES[kind](draw)
        if wrong:
            at = draw.rng.choice(list(arguments))
            arguments[at] = spoiled(arguments[at], draw)
        state = draw.rng.getstate()
        got = outcome(call, arguments, draw)
    except (ValueError, TypeError, MemoryError):
        return f"{kind} refused"
    except (IndexError, BadInput):
        if kind == "playback":
            return f"{kind} refused"
        raise
    if wild or wrong:
        return f"{kind} ran"
    for tensor in got:
        if tensor.dtype.is_floating_point if isinstance(tensor, torch.Tensor) else False:
            if not torch.isfinite(tensor.detach()).all():
                raise AssertionError("sound arguments gave a NaN or infinity, or a value was never written")
    if kind not in ("adam", "fit_step", "packed", "playback"):  # these change their arguments, or give numpy
        ops.set_threads(plan.randint(1, 4))
        draw.rng.setstate(state)
        check_same(got, outcome(call, arguments, draw), "another number of threads")
    return f"{kind} ran"


def fuzz(seed: int, seconds: float, at: int | None) -> dict[str, int]:
    """How often each thing happened within that time."""
    counts: dict[str, int] = {}
    end, number = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        name = f"{seed}:{number}"
        if at is not None:
            os.pwrite(at, name.ljust(40).encode(), 0)
        try:
            result = run_case(name)
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            print(f"finding in case {name}: {error!r} at {last.filename}:{last.lineno}", file=sys.stderr)
            result = FINDING
        counts[result] = counts.get(result, 0) + 1
        number += 1
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--seed", type=int, default=None, help="at first a random one, which is printed")
    parser.add_argument("--installed", action="store_true")
    parser.add_argument("--only", help="one case by name")
    parser.add_argument("--module", help="a compiled module to load (for the program's own use)")
    parser.add_argument("--at", help="file that is told which case runs (for the program's own use)")
    options = parser.parse_args()
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(10**6)
    if not options.installed and not options.module:
        if sanitizer() is None:
            raise SystemExit("no AddressSanitizer found; next: apt-get install g++, or --installed")
        rest = ["--seconds", str(options.seconds), "--seed", str(options.seed)]
        return restart_under_sanitizer(rest + (["--only", options.only] if options.only else []), build())
    if options.module:
        load(options.module)
    if options.only:
        print(run_case(options.only))
        return 0
    at = None if options.at is None else os.open(options.at, os.O_WRONLY)
    counts = fuzz(options.seed, options.seconds, at)
    found = counts.pop(FINDING, 0)
    print(f"seed {options.seed}: {sum(counts.values()) + found} cases, {found or 'nothing'} found")
    print("  " + ", ".join(f"{what}: {count}" for what, count in sorted(counts.items())))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
