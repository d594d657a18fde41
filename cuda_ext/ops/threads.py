"""How many threads the kernels use."""

from __future__ import annotations

from cuda_ext.backends import native


def set_threads(threads: int) -> None:
    """Number of threads that the kernels use, the caller's included; at first all processors this process may use."""
    if threads < 1:
        raise ValueError(f"threads: expected at least 1, got {threads}")
    native().set_threads(threads)


def get_threads() -> int:
    """Number of threads that the kernels use."""
    return native().get_threads()
