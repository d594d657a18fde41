"""Thread counts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch


def usable_cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Keep torch to one thread.

    For work on many small tensors (the tracker's matrices, a fit beside the native core, which has its own threads):
    torch's threads would only wait for each other, at several times the CPU time.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def workers(most: int, jobs: int) -> Executor:
    """At most `most` threads that work beside the caller; with one job, the caller itself, at once."""
    return ThreadPoolExecutor(min(most, jobs)) if jobs > 1 else _Caller()


class _Caller(Executor):
    def submit(self, fn, /, *args: Any, **kwargs: Any) -> Future:
        future: Future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # a thread's would come out of `result` too
            future.set_exception(error)
        return future

    def map(self, fn, *iterables: Iterable[Any], **_: Any) -> Iterator[Any]:
        return map(fn, *iterables)  # each when it is asked for: the caller shows progress in between
