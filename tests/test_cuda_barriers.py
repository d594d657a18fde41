"""Every barrier in the CUDA kernels is needed, and its absence is noticed; memory is used as declared."""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
import torch
from simt_launcher import KERNELS, SimtLauncher, compiled
from simt_scenarios import SCENARIOS, pose, rasterize, run_and_compare
from torch.utils._python_dispatch import TorchDispatchMode

from cuda_ext.gpu import build

BARRIER = re.compile(r"__syncthreads(_count)?\(([^()]*)\)")
HEADERS_SHOWN_BY = {"device": "sort"}
"""Which kernel file's scenario reaches the barriers of a header."""

ASAN_OPTIONS = "detect_leaks=0:detect_stack_use_after_return=0"  # Python leaks; fibers change stacks


def barriers() -> list[tuple[str, int]]:
    files = [p for p in sorted(KERNELS.iterdir()) if p.stem in SCENARIOS or p.stem in HEADERS_SHOWN_BY]
    return [(p.name, i) for p in files for i in range(len(BARRIER.findall(p.read_text(encoding="utf-8"))))]


def without_barrier(folder: Path, name: str, index: int) -> None:
    """A copy of all kernels, in which one barrier of one file is gone."""
    shutil.copytree(KERNELS, folder, ignore=shutil.ignore_patterns("cubins"))
    text = (folder / name).read_text(encoding="utf-8")
    match = list(BARRIER.finditer(text))[index]
    instead = f"(0 * ({match[2]}))" if match[1] else "(void)0"
    (folder / name).write_text(text[: match.start()] + instead + text[match.end() :], encoding="utf-8")


@cache
def intact(stem: str) -> list[torch.Tensor]:
    return SCENARIOS[stem](SimtLauncher())


@cache
def forks() -> ForkServerContext:
    """Forks of a process that has torch and the scenarios, but unlike this one no threads, which forks would lose."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["simt_scenarios"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)  # it doesn't take over sys.path
        forkserver.ensure_running()
    return context


def goes_wrong(folder: Path, stem: str, seed: int) -> bool:
    """Whether a run fails, crashes, hangs or gives other results; in a process of its own, since it may break anything.

    The same on every machine: order comes from the seed alone, fresh memory holds NaN, tensors have margins.
    """
    want = [t.numpy() for t in intact(stem)]
    compiled(folder / f"{stem}.cu")  # here, where a failure is the test's own
    child = forks().Process(target=run_and_compare, args=(folder, stem, seed, want))
    child.start()
    child.join(120)
    child.kill()
    child.join()
    return child.exitcode != 0


@pytest.mark.slow
@pytest.mark.parametrize(("name", "index"), barriers(), ids=str)
def test_a_missing_barrier_is_noticed(tmp_path, name, index):
    stem = HEADERS_SHOWN_BY.get(Path(name).stem, Path(name).stem)
    without_barrier(tmp_path / "cuda", name, index)
    assert any(goes_wrong(tmp_path / "cuda", stem, seed) for seed in (0, 1, 2))


@pytest.mark.slow
@pytest.mark.parametrize("stem", ["kan", "mesh", "photometric", "raster"])
def test_nothing_is_noticed_with_all_barriers(stem):
    assert not goes_wrong(KERNELS, stem, 3)


def test_one_missing_barrier_is_noticed(tmp_path):
    """The quick version of both."""
    without_barrier(tmp_path / "cuda", "sort.cu", 1)
    assert goes_wrong(tmp_path / "cuda", "sort", 0)
    assert not goes_wrong(KERNELS, "sort", 3)


def sanitizer() -> str | None:
    found = subprocess.run(["g++", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    return found.stdout.strip() if os.sep in found.stdout else None


@pytest.mark.slow
@pytest.mark.timeout(900)  # compiling every kernel for the sanitizers takes most of it
@pytest.mark.skipif(sanitizer() is None, reason="g++ has no address sanitizer")
def test_kernels_touch_only_their_memory():
    environment = os.environ | {
        "LD_PRELOAD": str(sanitizer()), "ASAN_OPTIONS": ASAN_OPTIONS, "UBSAN_OPTIONS": "print_stacktrace=1"
    }  # fmt: skip
    command = [sys.executable, str(Path(__file__).parent / "simt_scenarios.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "ERROR" not in done.stderr and "runtime error" not in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(sanitizer() is None, reason="g++ has no address sanitizer")
def test_the_sanitizer_sees_shared_memory(tmp_path):
    """That the test above could fail at all: a kernel that writes one element past a shared array."""
    (tmp_path / "past.cu").write_text("""
extern "C" __global__ void past(float* out, int n) {
  __shared__ float tile[32];
  __shared__ float other[32];
  float* cells = tile;  // or the compiler itself would know how many there are
  cells[threadIdx.x + n] = 1.f, other[threadIdx.x] = 2.f;
  __syncthreads();
  out[threadIdx.x] = tile[threadIdx.x] + other[threadIdx.x];
}""")
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
import torch
from simt_launcher import SANITIZE, SimtLauncher
SimtLauncher(Path({str(tmp_path)!r}), flags=SANITIZE).launch("past", (1,), (32,), torch.zeros(32), int(sys.argv[1]))
"""
    environment = os.environ | {"LD_PRELOAD": str(sanitizer()), "ASAN_OPTIONS": ASAN_OPTIONS}
    for shift, clean in ((0, True), (1, False)):
        command = [sys.executable, "-c", code, str(shift)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode == 0) == clean, done.stderr[-2000:]
    assert re.search("global-buffer-overflow|insufficient space|out of bounds", done.stderr)  # whichever sees it first


class _NoWaiting(TorchDispatchMode):
    """Refuses what would make the host wait for a GPU."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert "_local_scalar_dense" not in str(func) and "nonzero" not in str(func), f"{func} waits for the device"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("scenario", [rasterize, pose])
def test_nothing_waits_for_the_device(scenario):
    with _NoWaiting():
        scenario(SimtLauncher())


def test_kernel_files_share_no_kernel_name():
    names = [n for p in build.sources() for n in build.kernel_names(p.read_text(encoding="utf-8"))]
    assert len(names) == len(set(names)) == len(build.kernel_files())
