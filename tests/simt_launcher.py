"""Runs CUDA kernels without a GPU: g++ compiles the very .cu files with `simt/simt.h`, this launches the result.

`SimtLauncher` is a `cuda_ext.gpu.launch.Launcher`, so that the host code of the CUDA backend runs on it unchanged.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from cuda_ext.gpu.build import HEADERS, kernel_names
from cuda_ext.gpu.build import SOURCES as KERNELS

ROOT = Path(__file__).parent.parent
RUNTIME = Path(__file__).parent / "simt"
BUILD = ROOT / "build" / "simt"
FLAGS = ("-std=c++17", "-O2", "-march=native", "-fPIC", "-U_FORTIFY_SOURCE", "-Wall", "-Wextra", "-Wno-unknown-pragmas")
SANITIZE = ("-fsanitize=address,undefined", "-fsanitize-sections=simt_shared", "-fno-sanitize-recover", "-O1")
DTYPES = {
    "f": torch.float32, "i": torch.int32, "u": torch.int32, "b": torch.uint8, "c": torch.int8, "h": torch.float16,
    "d": torch.float64, "q": torch.int64,
}  # fmt: skip
"""What a pointer of that letter in `simt::describe` may point to."""


class SimtError(RuntimeError):
    """A kernel did on the CPU what it must not do on a GPU, or its launch doesn't fit it."""


class _Launch(ctypes.Structure):
    _fields_ = [
        ("grid", ctypes.c_uint * 3), ("block", ctypes.c_uint * 3), ("shared", ctypes.c_uint), ("seed", ctypes.c_uint)
    ]  # fmt: skip


@cache
def _machine() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    compiler = subprocess.run(["g++", "--version"], capture_output=True, text=True, check=True).stdout
    return compiler + next((line for line in lines if line.startswith(("flags", "Features"))), "")


def compiled(source: Path, flags: tuple[str, ...] = ()) -> Path:
    """The shared library of one .cu file; compiled once per content, flags and machine."""
    text = source.read_text(encoding="utf-8")
    runtime = sorted(RUNTIME.iterdir())
    seen = [p.read_bytes() for p in (*runtime, *sorted(HEADERS.rglob("*.h")), *sorted(source.parent.glob("*.h")))]
    key = hashlib.sha256(b"\0".join([*seen, text.encode(), " ".join(flags).encode(), _machine().encode()]))
    library = BUILD / f"{source.stem}-{key.hexdigest()[:20]}.so"
    if library.exists():
        return library
    BUILD.mkdir(parents=True, exist_ok=True)
    partial = library.with_suffix(f".{os.getpid()}")
    glue = "".join(
        f'extern "C" const char* run_{k}(const simt::Launch* l, void** a) {{ return simt::launch({k}, *l, a); }}\n'
        f'extern "C" const char* signature_{k}() {{ static auto s = simt::signature({k}); return s.c_str(); }}\n'
        for k in kernel_names(text)
    )
    unit = partial.with_suffix(".cpp")
    unit.write_text(f'#include "simt.h"\n#include "{source}"\n#include "simt.cpp"\n{glue}', encoding="utf-8")
    include = (f"-I{RUNTIME}", f"-I{HEADERS}")
    command = ["g++", *FLAGS, *flags, *include, "-shared", str(unit), "-o", str(partial)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    unit.unlink()
    if done.returncode:
        raise SimtError(f"{' '.join(command)}\n{done.stderr}")
    partial.rename(library)
    return library


class SimtLauncher:
    """Launches the kernels of a folder on CPU tensors; `seed` shuffles the order of threads and blocks, unless 0."""

    def __init__(self, folder: Path = KERNELS, *, seed: int = 0, flags: Sequence[str] = ()) -> None:
        self.device = torch.device("cpu")
        self.seed = seed
        self.launched: list[str] = []
        """Names of the kernels launched so far."""
        self._flags = tuple(flags)
        self._source = {k: p for p in sorted(folder.glob("*.cu")) for k in kernel_names(p.read_text(encoding="utf-8"))}
        self._library: dict[Path, ctypes.CDLL] = {}

    def launch(
        self, kernel: str, grid: Sequence[int], block: Sequence[int], *arguments: Tensor | int | float | None,
        shared_bytes: int = 0,
    ) -> None:  # fmt: skip
        """Run one kernel to its end. Tensors go as pointers (None as null), Python ints as int, floats as float.

        Raises:
            SimtError: no such kernel, arguments that don't fit its signature, a deadlock or a divergent barrier.
        """
        if kernel not in self._source:
            raise SimtError(f"no kernel is called {kernel}; there are: {', '.join(self._source)}")
        library = self._load(self._source[kernel])
        signature = getattr(library, f"signature_{kernel}")
        signature.restype = ctypes.c_char_p
        wanted = signature().decode().split()
        if len(wanted) != len(arguments):
            raise SimtError(f"{kernel}: expected {len(wanted)} arguments, got {len(arguments)}")
        cells = [_cell(f"{kernel}, argument {i}", w, a) for i, (w, a) in enumerate(zip(wanted, arguments, strict=True))]
        pointers = (ctypes.c_void_p * len(cells))(*(ctypes.addressof(c) for c in cells))
        run = getattr(library, f"run_{kernel}")
        run.restype = ctypes.c_char_p
        self.launched.append(kernel)
        # Every launch of a run gets another order.
        seed = (self.seed * 1_000_003 + len(self.launched)) % 2**32 if self.seed else 0
        grid, block = ((*dims, 1, 1)[:3] for dims in (grid, block))
        launch = _Launch((ctypes.c_uint * 3)(*grid), (ctypes.c_uint * 3)(*block), shared_bytes, seed)
        failure = run(ctypes.byref(launch), pointers)
        if failure:
            raise SimtError(f"{kernel}: {failure.decode()}")

    def _load(self, source: Path) -> ctypes.CDLL:
        if source not in self._library:
            self._library[source] = ctypes.CDLL(str(compiled(source, self._flags)))
        return self._library[source]


class GuardedLauncher(SimtLauncher):
    """Kernels get copies of their tensors with margins around, so that what they do outside doesn't depend on luck.

    Slow: for kernels that are broken on purpose, whose stray writes would else hit whatever the process holds there.
    """

    MARGIN_BYTES = 1 << 18

    def launch(
        self, kernel: str, grid: Sequence[int], block: Sequence[int], *arguments: Tensor | int | float | None,
        shared_bytes: int = 0,
    ) -> None:  # fmt: skip
        """Like `SimtLauncher.launch`. Raises: SimtError also when a margin was written to."""
        margin = self.MARGIN_BYTES
        tensors = [a for a in arguments if isinstance(a, Tensor)]
        own = {
            t.untyped_storage().data_ptr(): torch.empty(0, dtype=torch.uint8).set_(t.untyped_storage()) for t in tensors
        }
        wide = {k: torch.nn.functional.pad(v, (margin, margin), value=255) for k, v in own.items()}

        def guarded(t: Tensor) -> Tensor:
            storage = wide[t.untyped_storage().data_ptr()].untyped_storage()
            return t.new_empty(0).set_(storage, margin // t.itemsize + t.storage_offset(), t.shape, t.stride())

        copies = [guarded(a) if isinstance(a, Tensor) else a for a in arguments]
        super().launch(kernel, grid, block, *copies, shared_bytes=shared_bytes)
        for k, v in own.items():
            v.copy_(wide[k][margin:-margin])
            if not ((wide[k][:margin] == 255).all() and (wide[k][-margin:] == 255).all()):
                raise SimtError(f"{kernel} wrote outside of a tensor of {len(v)} bytes")


def _cell(where: str, wanted: str, value: Tensor | int | float | None) -> ctypes._SimpleCData:
    if wanted.endswith("*"):
        if value is None:
            return ctypes.c_void_p(0)
        if not isinstance(value, Tensor) or value.dtype != DTYPES.get(wanted[0]) or not value.is_contiguous():
            got = f"{value.dtype}, strides {value.stride()}" if isinstance(value, Tensor) else repr(value)
            raise SimtError(f"{where}: expected a contiguous tensor of {DTYPES.get(wanted[0], wanted)}, got {got}")
        return ctypes.c_void_p(value.data_ptr())
    if wanted in ("i", "u") and type(value) is int:
        return (ctypes.c_int if wanted == "i" else ctypes.c_uint)(value)
    if wanted == "f" and type(value) is float:
        return ctypes.c_float(value)
    raise SimtError(f"{where}: expected {'an int' if wanted in 'iu' else 'a float'}, got {value!r}")
