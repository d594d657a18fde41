"""The launcher for real GPUs, through NVIDIA's `cuda-core`: kernels run on torch's current stream of their device."""

from __future__ import annotations

import ctypes
import importlib
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cuda_ext.backends import BackendMissing
from cuda_ext.gpu.build import (
    INSTALL_COMMAND,
    NvrtcMissing,
    cached_code,
    kernel_files,
    nvrtc_version,
    shipped_code,
)

OLDEST_CUDA = 12
OLDEST_CAPABILITY = 75


class CudaUnavailable(BackendMissing):
    """The CUDA backend can't run here; the text says why and what to do."""


def driver_version() -> tuple[int, int]:
    """The newest CUDA version that the installed driver knows.

    Raises:
        CudaUnavailable: the packages or the driver are missing.
    """
    try:
        driver: Any = importlib.import_module("cuda.bindings.driver")
    except ImportError as error:
        raise CudaUnavailable(
            "the CUDA backend needs packages that are not installed\n"
            f"  tried: import cuda.bindings.driver ({error})\n  next: {INSTALL_COMMAND}"
        ) from error
    try:
        status, version = driver.cuDriverGetVersion()
    except RuntimeError as error:  # the library libcuda is not there
        raise CudaUnavailable(
            "there is no NVIDIA driver on this machine\n"
            f"  tried: cuDriverGetVersion ({str(error).splitlines()[0]})\n"
            "  next: install the NVIDIA display driver, or use the backend 'cpu'"
        ) from error
    if status.value != 0:
        raise CudaUnavailable(f"the NVIDIA driver does not answer: {status.name}\n  next: check `nvidia-smi`")
    return version // 1000, version % 1000 // 10


def check_driver(version: tuple[int, int], needed: int = OLDEST_CUDA) -> None:
    """Refuse a driver that is older than CUDA version `needed`."""
    if version[0] < needed:
        raise CudaUnavailable(
            "the NVIDIA driver is too old\n"
            f"  expected: CUDA {needed}.0 or newer, got: CUDA {version[0]}.{version[1]}\n"
            "  next: update the display driver (580 or newer knows CUDA 13)"
        )


def check_available() -> None:
    """Raise CudaUnavailable with the reason if there is no way to run the kernels on this machine."""
    check_driver(driver_version())
    if not torch.cuda.is_available():
        raise CudaUnavailable(
            f"this build of torch ({torch.__version__}) sees no CUDA device\n"
            "  next: pip install --force-reinstall torch  (the CUDA build), and check `nvidia-smi`"
        )
    try:
        importlib.import_module("cuda.core")
    except ImportError as error:
        raise CudaUnavailable(f"cuda-core can't be loaded ({error})\n  next: {INSTALL_COMMAND}") from error


def kernel_code(kernel: str, capability: int, driver: tuple[int, int]) -> Path:
    """Path of the machine code that holds `kernel`: the wheel's own, else compiled here and kept.

    Raises:
        CudaUnavailable: neither is possible.
    """
    source = kernel_files()[kernel]
    shipped = shipped_code(source, capability, driver)
    if shipped is not None:
        return shipped
    try:
        check_driver(driver, nvrtc_version()[0])
        return cached_code(source, capability)
    except NvrtcMissing as error:
        raise CudaUnavailable(
            f"no kernels in this install fit compute capability {capability}, and\n{error}"
        ) from error


def pack(arguments: Sequence[Tensor | int | float | None], device: torch.device) -> list[Any]:
    """Arguments as cuda-core takes them: pointers as Python ints, numbers as 32-bit ctypes."""
    packed: list[Any] = []
    for position, value in enumerate(arguments):
        if value is None:
            packed.append(0)
        elif isinstance(value, Tensor):
            if value.device != device or not value.is_contiguous():
                kind = "a contiguous tensor" if value.device == device else f"a tensor on {device}"
                raise TypeError(f"argument {position}: expected {kind}, got one on {value.device}, {value.stride()}")
            packed.append(value.data_ptr())
        else:
            packed.append(ctypes.c_int(value) if isinstance(value, int) else ctypes.c_float(value))
    return packed


class _TorchStream:
    """What torch queues on right now, as cuda-core's protocol wants it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, torch.cuda.current_stream(self._device).cuda_stream


class CudaLauncher:
    """Launches on one CUDA device. `$VISAVIS_CUDA_SYNC=1` waits after each kernel, to find the one that fails."""

    def __init__(self, device: torch.device) -> None:
        """
        Raises:
            CudaUnavailable: no driver, no device, or one older than compute capability 7.5.
        """
        check_available()
        self.device = torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)
        with torch.cuda.device(self.device):
            torch.cuda.synchronize()  # makes torch's context, which cuda-core then shares
            self._core: Any = importlib.import_module("cuda.core")
            self._device = self._core.Device(self.device.index)
            self._device.set_current()
        major, minor = self._device.compute_capability
        self._capability = 10 * major + minor
        if self._capability < OLDEST_CAPABILITY:
            raise CudaUnavailable(
                f"{self._device.name} is too old\n  expected: compute capability 7.5 or newer, got: {major}.{minor}"
            )
        self._driver = driver_version()
        self._stream = _TorchStream(self.device)
        self._kernels: dict[str, Any] = {}
        self._wait = os.environ.get("VISAVIS_CUDA_SYNC") == "1"

    def launch(
        self,
        kernel: str,
        grid: Sequence[int],
        block: Sequence[int],
        *arguments: Tensor | int | float | None,
        shared_bytes: int = 0,
    ) -> None:
        """See `Launcher.launch`. A launch that the driver refuses raises cuda-core's CUDAError at once."""
        config = self._core.LaunchConfig(grid=tuple(grid), block=tuple(block), shmem_size=shared_bytes)
        packed = pack(arguments, self.device)
        with torch.cuda.device(self.device):
            self._core.launch(self._stream, config, self._kernel(kernel), *packed)
            if self._wait:
                try:
                    torch.cuda.current_stream().synchronize()
                except RuntimeError as error:
                    raise RuntimeError(f"the CUDA kernel {kernel} failed: {error}") from error

    def _kernel(self, name: str) -> Any:
        if name not in self._kernels:
            path = kernel_code(name, self._capability, self._driver)
            code = self._core.ObjectCode.from_cubin(str(path), name=path.name)
            files = kernel_files()
            self._kernels.update({k: code.get_kernel(k) for k in files if files[k] == files[name]})
        return self._kernels[name]


@lru_cache(maxsize=16)
def launcher_of(device: torch.device) -> CudaLauncher:
    """The launcher of a device; made on first use.

    Raises:
        TypeError: it is not a CUDA device.
        CudaUnavailable: it can't be used.
    """
    if device.type != "cuda":
        raise TypeError(f"expected tensors on a CUDA device, got {device}")
    return CudaLauncher(device)
