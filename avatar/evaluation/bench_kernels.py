"""Timings of the CPU kernels on a synthetic fitted head, each beside rivals timed in the same run.

Absolute times depend on the machine and its neighbours; `ratio_to` compares measurements that took turns.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch

from avatar.evaluation.bench_fields import FIELD_CASES
from avatar.evaluation.bench_raster import RASTER_CASES
from avatar.evaluation.bench_steps import STEP_CASES
from avatar.evaluation.bench_timing import Case, busy_neighbour, measure, peak_megabytes
from avatar.evaluation.bench_tracking import TRACKING_CASES
from avatar.info import machine
from cuda_ext import ops
from cuda_ext.backends import native

CASES = RASTER_CASES | FIELD_CASES | STEP_CASES | TRACKING_CASES
ONE_THREAD = "one thread"
BUSY_CASES = ("raster_fwd_bwd 50k 512", "ssim 512", "fit_step 22k 256", "fit_step 50k 512")


def run(threads: list[int], *, names: list[str] | None = None, busy: bool = False) -> dict:
    """Time every case (or those of `names`) with each number of threads.

    Args:
        busy: time a few cases alone and beside a process that keeps one processor busy all the time, and nothing else.
            One thread is then the rival of the others: they take turns.

    Returns:
        {"machine", "rows"}. Rows are {"case", "backend", "threads", "busy_neighbours", "median_ms", "p95_ms", "min_ms",
        "peak_mb", "waited", "ratio_to"}. `peak_mb` is the rise of the process's memory above the case's inputs.
        `ratio_to` maps a rival to its median divided by ours. `waited` measures contention: of the time in which our
        threads could have run, the share that they waited for a processor. All times include the Python wrapper.
    """
    names = list(names or (BUSY_CASES if busy else CASES))
    about = machine() | {"lanes": native().get_lanes(), "torch": torch.__version__}
    peaks = {} if busy else peak_memory(names, max(threads))
    rows = []
    for name in names:
        print(f"timing {name}", file=sys.stderr)
        case = CASES[name](name)
        if busy:
            rows += _busy_rows(case, max(2, *threads))
            continue
        for count in threads:
            with _threads(count):
                rows.append(_row(case, count, 0) | {"peak_mb": peaks.get(name)})
    return {"machine": about | {"load_after": os.getloadavg()[0]}, "rows": rows}


def peak_memory(names: list[str], threads: int) -> dict[str, float | None]:
    """Megabytes above the inputs that each case needs: each in a process that did nothing before."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with context.Pool(1, maxtasksperchild=1) as pool:
        found = pool.starmap(_peak, [(name, threads) for name in names], chunksize=1)
    return dict(zip(names, found, strict=True))


def _peak(name: str, threads: int) -> float | None:
    leaf = torch.zeros(1, requires_grad=True)
    torch.autograd.grad(2 * leaf, leaf, torch.ones(1))  # with its first gradient torch loads 486 modules of its own
    with _threads(threads):
        peak = peak_megabytes(CASES[name](name))
    return None if peak is None else round(peak, 1)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    kernel_threads, torch_threads = ops.get_threads(), torch.get_num_threads()
    ops.set_threads(count)
    torch.set_num_threads(count)
    try:
        yield
    finally:
        ops.set_threads(kernel_threads)
        torch.set_num_threads(torch_threads)


def _busy_rows(case: Case, count: int) -> list[dict]:
    """`count` threads beside one thread, without and with a busy neighbour."""

    def on(threads: int) -> Callable[[], object]:
        def run() -> None:
            ops.set_threads(threads)  # nothing happens where it is so already
            torch.set_num_threads(threads)
            case.run()

        return run

    turns = Case(case.name, on(count), {ONE_THREAD: on(1)})
    with _threads(count):
        rows = [_row(turns, count, 0)]
        with busy_neighbour():
            rows.append(_row(turns, count, 1))
    return [row | {"peak_mb": None} for row in rows]


def _row(case: Case, threads: int, neighbours: int) -> dict:
    timing = measure(case)
    times = timing.milliseconds
    return {
        "case": case.name,
        "backend": "cpu",
        "threads": threads,
        "busy_neighbours": neighbours,
        "median_ms": round(float(np.median(times)), 3),
        "p95_ms": round(float(np.percentile(times, 95)), 3),
        "min_ms": round(float(times.min()), 3),
        "waited": None if timing.waited is None else round(timing.waited, 3),
        "ratio_to": {name: round(ratio, 2) for name, ratio in timing.rivals.items()},
    }
