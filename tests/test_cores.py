"""How many processors a run uses."""

from __future__ import annotations

import threading

import pytest
import torch

from avatar.errors import BadInput
from avatar.threads import usable_cores, workers
from cuda_ext import ops
from preprocess.stages.cores import cores


def test_thread_counts_hold_inside_and_come_back():
    import cv2

    def counts() -> tuple[int, int, int]:
        return ops.get_threads(), torch.get_num_threads(), cv2.getNumThreads()

    before = counts()
    for jobs, native in ((1, 1), (3, 3), (0, usable_cores())):
        with cores(jobs) as count:
            assert count == native and counts() == (native, 1, 1)
        assert counts() == before
    with pytest.raises(BadInput, match="--jobs"), cores(-1):
        pass


@pytest.mark.parametrize("jobs", [1, 2])
def test_one_job_needs_no_thread(jobs):
    names = []

    def work(number: int) -> float:
        names.append(threading.current_thread() is threading.main_thread())
        return 1 / number

    with workers(2, jobs) as pool:
        first = pool.map(work, [1, 2])
        assert len(names) == 0 or jobs > 1
        assert list(first) == [1.0, 0.5]
        failed = pool.submit(work, 0)
        with pytest.raises(ZeroDivisionError):
            failed.result()
    assert names == [jobs == 1] * 3
