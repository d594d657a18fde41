"""How many processors a run uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from avatar.errors import BadInput
from avatar.threads import one_torch_thread, usable_cores
from cuda_ext import ops


@contextmanager
def cores(jobs: int) -> Iterator[int]:
    """Keep the native core to `jobs` threads, torch and OpenCV to one for each that we make; gives that number.

    Args:
        jobs: 0 stands for all processors that this process may use.

    Raises:
        BadInput: `jobs` is negative.
    """
    import cv2

    if jobs < 0:
        raise BadInput("--jobs can't be negative", expected="0 (all cores) or more", got=str(jobs))
    jobs = jobs or usable_cores()
    before = ops.get_threads(), cv2.getNumThreads()
    ops.set_threads(jobs)
    cv2.setNumThreads(1)
    try:
        with one_torch_thread():
            yield jobs
    finally:
        ops.set_threads(before[0])
        cv2.setNumThreads(before[1])
