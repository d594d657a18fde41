"""One BLAS thread for small products: several wait for each other wherever something else runs."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController


def one_blas_thread() -> AbstractContextManager:
    """Keep numpy's and scipy's BLAS to one thread while it is open; microseconds to enter.

    The network's products are of some thirty rows: several threads gain nothing on quiet cores, and on busy ones each
    product waits for the thread that has no processor, many times as long as it computes.
    """
    return _controller().limit(limits=1, user_api="blas")


@lru_cache(maxsize=1)
def _controller() -> ThreadpoolController:
    """Looks through the loaded libraries, which takes a while."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
