"""Thread counts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


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
