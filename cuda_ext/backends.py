"""Which rasteriser runs: a registry of backends that say for themselves whether they can run here, and why not.

Native code is loaded on first use, once. A backend is a module with the functions `rasterize`, `photometric_loss`,
`ssim` and `rig` (signatures: `cuda_ext.ops`).
"""

from __future__ import annotations

import importlib
from functools import lru_cache
from types import ModuleType

PREFERENCE = ("cpu", "reference")
_MODULES = {"cpu": "cuda_ext.ops", "reference": "cuda_ext.reference"}
BUILD_COMMAND = "pip install --no-build-isolation -e ."


class NativeCodeMissing(RuntimeError):
    """The compiled kernels can't be loaded; the text says what was tried and the command that fixes it."""


class UnknownBackend(RuntimeError):
    """No backend has that name."""


@lru_cache(maxsize=1)
def native() -> ModuleType:
    """The compiled module `cuda_ext._native`.

    Raises:
        NativeCodeMissing: it was not built, or was built for another Python or processor.
    """
    try:
        module = importlib.import_module("cuda_ext._native")
        if not module.available_lanes():
            raise ImportError("this processor has no SSE 4.2")
    except ImportError as error:
        raise NativeCodeMissing(
            "the compiled CPU kernels can't be loaded\n"
            f"  tried: import cuda_ext._native ({type(error).__name__}: {error})\n"
            f"  next: in the source folder, with a C++17 compiler such as g++ installed: {BUILD_COMMAND}\n"
            "  or: use the slow backend 'reference'"
        ) from error
    return module


def available() -> dict[str, str | None]:
    """Every backend by name; the value is None when it can run here, else the reason and the fix."""
    reasons: dict[str, str | None] = dict.fromkeys(PREFERENCE)
    try:
        native()
    except NativeCodeMissing as error:
        reasons["cpu"] = str(error)
    return reasons


def get(name: str = "auto") -> ModuleType:
    """The backend called `name`, or the first of `PREFERENCE` for "auto": never silently the slow reference.

    Raises:
        UnknownBackend: there is none of that name.
        NativeCodeMissing: it can't run here.
    """
    name = PREFERENCE[0] if name == "auto" else name
    if name not in _MODULES:
        raise UnknownBackend(f"no rendering backend is called {name!r}; there are: auto, {', '.join(_MODULES)}")
    if name == "cpu":
        native()
    return importlib.import_module(_MODULES[name])
