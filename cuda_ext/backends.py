"""Which rasteriser runs: a registry of backends that say for themselves whether they can run here, and why not.

Native code is loaded on first use, once. A backend is a module with the functions `rasterize`, `photometric_loss`,
`ssim` and `rig` (signatures: `cuda_ext.ops`).
"""

from __future__ import annotations

import importlib
from functools import lru_cache
from types import ModuleType

NAMES = ("cpu", "cuda", "gsplat", "reference")
PREFERENCE = {"cpu": ("cpu",), "cuda": ("cuda", "gsplat")}
"""What "auto" tries for tensors on a type of device, in order."""
_MODULES = {
    "cpu": "cuda_ext.ops",
    "cuda": "cuda_ext.gpu.backend",
    "gsplat": "cuda_ext.gsplat_backend",
    "reference": "cuda_ext.reference",
}
BUILD_COMMAND = "pip install --no-build-isolation -e ."


class BackendMissing(RuntimeError):
    """A backend can't be used here; the text says why and what to do."""


class NativeCodeMissing(BackendMissing):
    """The compiled kernels can't be loaded; the text says what was tried and the command that fixes it."""


class UnknownBackend(BackendMissing):
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
    reasons: dict[str, str | None] = {}
    for name in NAMES:
        try:
            get(name)
            reasons[name] = None
        except BackendMissing as error:
            reasons[name] = str(error)
    return reasons


def get(name: str = "auto", device_type: str = "cpu") -> ModuleType:
    """The backend called `name`, or for "auto" the best one for tensors on that type of device ("cpu" or "cuda").

    "auto" never takes the slow reference.

    Raises:
        UnknownBackend: there is none of that name, or for that type of device.
        BackendMissing: it can't run here.
    """
    if name == "auto":
        return _first(device_type)
    if name not in _MODULES:
        raise UnknownBackend(f"no rendering backend is called {name!r}; there are: auto, {', '.join(NAMES)}")
    if name == "cpu":
        native()
    module = importlib.import_module(_MODULES[name])
    if name in PREFERENCE["cuda"]:
        module.check_available()
    return module


def _first(device_type: str) -> ModuleType:
    """The first backend of the preference that runs; the reason of the first one if none does."""
    if device_type not in PREFERENCE:
        raise UnknownBackend(f"no backend renders tensors on {device_type!r}; expected {' or '.join(PREFERENCE)}")
    failures = []
    for name in PREFERENCE[device_type]:
        try:
            return get(name)
        except BackendMissing as error:
            failures.append(error)
    raise failures[0]
