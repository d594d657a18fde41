"""Compiles the CUDA kernels with NVRTC: no GPU, no driver, no CUDA toolkit, only the packages of `visavis[gpu]`.

    python -m cuda_ext.gpu.build [--output FOLDER] [--arch 75 ...]

prints registers, shared memory and spills of every kernel on every architecture and fails on a spill; with --output it
also writes the cubins and their manifest, which is what a wheel ships. Exit code 3: the compiler is not installed.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import re
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SOURCES = Path(__file__).parent.parent / "cuda"
HEADERS = Path(__file__).parent.parent / "include"
SHIPPED = SOURCES / "cubins"
ARCHS = (75, 80, 86, 89, 90, 100, 120)
"""Compute capabilities that wheels bring machine code for: from Turing to Blackwell."""
INSTALL_COMMAND = "pip install 'visavis[gpu]'"
_KERNEL = re.compile(r"__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s+)?(\w+)\s*\(")
_ENTRY = re.compile(
    r"Compiling entry function '(?P<kernel>\w+)' for 'sm_(?P<arch>\d+)'.*?"
    r"(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads.*?"
    r"Used (?P<registers>\d+) registers(?P<rest>[^\n]*)",
    re.DOTALL,
)


class NvrtcMissing(RuntimeError):
    """The compiler is not installed; the text names the command that does."""


class KernelBuildError(RuntimeError):
    """A kernel does not compile, or spills registers."""


@dataclass(frozen=True)
class KernelReport:
    """What one kernel takes of one architecture."""

    kernel: str
    arch: int
    registers: int
    shared_bytes: int
    """Static shared memory of a block."""
    stack_bytes: int
    spill_bytes: int


def sources() -> list[Path]:
    """All kernel files."""
    return sorted(SOURCES.glob("*.cu"))


def kernel_names(text: str) -> list[str]:
    """Kernels that a CUDA source text defines."""
    return _KERNEL.findall(text)


def kernel_files() -> dict[str, Path]:
    """The file of each kernel, by the kernel's name."""
    return {name: p for p in sources() for name in kernel_names(p.read_text(encoding="utf-8"))}


def source_hash(source: Path) -> str:
    """A key of a kernel file and of everything it may include."""
    files = [source, *sorted(SOURCES.glob("*.h")), *sorted((HEADERS / "maths").glob("*.h"))]
    return hashlib.sha256(b"\0".join(p.read_bytes() for p in files)).hexdigest()


def nvrtc_version() -> tuple[int, int]:
    """Version of the compiler that is installed.

    Raises:
        NvrtcMissing: none is.
    """
    try:
        _, major, minor = _nvrtc().nvrtcVersion()
    except (ImportError, RuntimeError) as error:
        raise NvrtcMissing(
            f"the CUDA kernel compiler NVRTC can't be loaded\n  tried: cuda.bindings.nvrtc ({_first_line(error)})\n"
            f"  next: {INSTALL_COMMAND}"
        ) from error
    return major, minor


def _nvrtc() -> Any:
    return importlib.import_module("cuda.bindings.nvrtc")


def nvrtc_installed() -> bool:
    """Whether kernels can be compiled here."""
    try:
        nvrtc_version()
    except NvrtcMissing:
        return False
    return True


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"


def compile_kernels(source: Path, target: str) -> tuple[bytes, str]:
    """Machine code for `sm_NN` (a cubin) or portable code for `compute_NN` (PTX), and what the assembler reports.

    Through the compiler's own bindings: cuda-core asks for a driver when it makes PTX.

    Raises:
        NvrtcMissing: the compiler is not installed.
        KernelBuildError: the source has an error.
    """
    nvrtc_version()
    nvrtc, ptx = _nvrtc(), target.startswith("compute_")
    options = [f"--gpu-architecture={target}", "--std=c++17", f"--include-path={SOURCES}", f"--include-path={HEADERS}"]
    options += [] if ptx else ["--ptxas-options=-v"]
    text, name = source.read_bytes(), source.name.encode()
    program = _done(nvrtc.nvrtcCreateProgram(text, name, 0, None, None))
    try:
        status = nvrtc.nvrtcCompileProgram(program, len(options), [o.encode() for o in options])[0]
        log = bytearray(_done(nvrtc.nvrtcGetProgramLogSize(program)))
        _done(nvrtc.nvrtcGetProgramLog(program, log))
        report = log.rstrip(b"\0").decode(errors="replace")
        if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            raise KernelBuildError(f"{source.name} does not compile for {target}: {status.name}\n{report}")
        size, get = (
            (nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX) if ptx else (nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN)
        )
        code = bytearray(_done(size(program)))
        _done(get(program, code))
    finally:
        nvrtc.nvrtcDestroyProgram(program)
    return bytes(code), report


def _done(result: tuple) -> Any:
    """What a call of NVRTC returned, past its status."""
    status, *values = result
    if status.value != 0:
        raise KernelBuildError(f"NVRTC: {status.name}")
    return values[0] if values else None


def parse_reports(log: str) -> list[KernelReport]:
    """One report per kernel from the assembler's verbose output."""
    reports = []
    for match in _ENTRY.finditer(log):
        shared = re.search(r"(\d+) bytes smem", match["rest"])
        reports.append(
            KernelReport(
                match["kernel"],
                int(match["arch"]),
                int(match["registers"]),
                int(shared[1]) if shared else 0,
                int(match["stack"]),
                int(match["stores"]) + int(match["loads"]),
            )
        )
    return reports


def cubin_name(source: Path, target: str) -> str:
    """File name of the code of one kernel file for one target."""
    return f"{source.stem}.{target}.{'ptx' if target.startswith('compute_') else 'cubin'}"


def build(archs: tuple[int, ...] = ARCHS, output: Path | None = None) -> list[KernelReport]:
    """Compile every kernel for every architecture, and PTX of the oldest; with `output`, write what a wheel ships.

    Raises:
        NvrtcMissing: the compiler is not installed.
        KernelBuildError: a source has an error, or a kernel spills registers.
    """
    reports = []
    version = nvrtc_version()
    for source in sources():
        for target in [*(f"sm_{a}" for a in archs), f"compute_{min(archs)}"]:
            code, log = compile_kernels(source, target)
            if target.startswith("sm_"):
                reports += parse_reports(log)
            if output:
                output.mkdir(parents=True, exist_ok=True)
                (output / cubin_name(source, target)).write_bytes(code)
    spilling = [r for r in reports if r.spill_bytes]
    if spilling:
        lines = "\n".join(f"  {r.kernel} on sm_{r.arch}: {r.spill_bytes} bytes" for r in spilling)
        raise KernelBuildError(f"these kernels spill registers; expected none to\n{lines}")
    if output:
        manifest = {"nvrtc": version, "hashes": {s.stem: source_hash(s) for s in sources()}}
        (output / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    return reports


def cache_dir() -> Path:
    """Where kernels that are compiled at run time are kept: beside visavis's other cached files."""
    explicit = os.environ.get("VISAVIS_CACHE")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return (Path(explicit) if explicit else base / "visavis") / "kernels"


def shipped_code(source: Path, capability: int, driver: tuple[int, int], folder: Path = SHIPPED) -> Path | None:
    """The cubin in the wheel that a device of that compute capability runs, if there is one of these very sources.

    A cubin runs on devices of its own major version with the same or a higher minor one, under a driver that knows the
    CUDA version which made it.
    """
    manifest_path = folder / "manifest.json"
    if not manifest_path.exists():
        return None
    manifest = json.loads(manifest_path.read_text(encoding="utf-8"))
    if manifest["hashes"].get(source.stem) != source_hash(source) or driver[0] < manifest["nvrtc"][0]:
        return None
    for arch in range(capability, capability // 10 * 10 - 1, -1):
        path = folder / cubin_name(source, f"sm_{arch}")
        if path.exists():
            return path
    return None


def cached_code(source: Path, capability: int) -> Path:
    """The cubin of a kernel file for one compute capability, compiled now unless that was done before.

    Raises:
        NvrtcMissing: the compiler is not installed.
        KernelBuildError: it does not compile, e.g. because the compiler does not know so new a device.
    """
    target = f"sm_{capability}"
    version = nvrtc_version()
    key = hashlib.sha256(f"{source_hash(source)} {target} {version}".encode()).hexdigest()[:24]
    path = cache_dir() / f"{source.stem}-{target}-{key}.cubin"
    if not path.exists():
        code, _ = compile_kernels(source, target)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_bytes(code)
        partial.replace(path)  # whole or not at all, whoever else does the same now
    return path


def main() -> int:
    """Command line: see the module's text."""
    parser = argparse.ArgumentParser(description="Compile the CUDA kernels; fail on register spills.")
    parser.add_argument("--output", type=Path, help="folder to write cubins and their manifest to")
    parser.add_argument("--arch", type=int, nargs="+", default=list(ARCHS), help="compute capabilities, e.g. 75 120")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    try:
        reports = build(tuple(arguments.arch), arguments.output)
    except NvrtcMissing as error:
        print(error, file=sys.stderr)
        return 3
    except KernelBuildError as error:
        print(error, file=sys.stderr)
        return 2
    if arguments.json:
        print(json.dumps({"kernels": [asdict(r) for r in reports]}))
        return 0
    print(f"{'kernel':24} {'arch':>6} {'registers':>10} {'shared B':>9} {'stack B':>8} {'spill B':>8}")
    for r in sorted(reports, key=lambda r: (r.kernel, r.arch)):
        numbers = f"{r.registers:10} {r.shared_bytes:9} {r.stack_bytes:8} {r.spill_bytes:8}"
        print(f"{r.kernel:24} {f'sm_{r.arch}':>6} {numbers}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
