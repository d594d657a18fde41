"""Who runs the CUDA kernels: one protocol, so that the very same host code drives a GPU or, in tests, the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class Launcher(Protocol):
    """Launches kernels of `cuda_ext/cuda/*.cu` by name, one after another, on tensors of its device."""

    device: torch.device

    def launch(
        self,
        kernel: str,
        grid: Sequence[int],
        block: Sequence[int],
        *arguments: Tensor | int | float | None,
        shared_bytes: int = 0,
    ) -> None:
        """Queue one kernel: `grid` blocks of `block` threads, 1 to 3 numbers each.

        Args:
            arguments: a contiguous tensor for each pointer (None is the null pointer), a Python int for each `int`, a
                Python float for each `float`; kernels take nothing else.
            shared_bytes: dynamic shared memory of a block.
        """
        ...


def blocks(count: int, threads: int) -> int:
    """How many blocks of `threads` cover `count` items; at least one, since an empty grid is an error."""
    return max(1, -(-count // threads))
