"""Compiling and launching CUDA kernels, as far as that goes without a GPU."""

from __future__ import annotations

import ctypes
import sys

import pytest
import torch
from simt_launcher import KERNELS

from cuda_ext.gpu import build, device

needs_nvrtc = pytest.mark.skipif(not build.nvrtc_installed(), reason="NVRTC is not installed")
FAST = "tiles"


@needs_nvrtc
@pytest.mark.slow
def test_every_kernel_compiles_for_every_architecture_without_spills(tmp_path, capsys):
    reports = build.build(output=tmp_path)
    kernels = set(build.kernel_files())
    assert {(r.kernel, r.arch) for r in reports} == {(k, a) for k in kernels for a in build.ARCHS}
    assert all(r.spill_bytes == 0 and 0 < r.registers <= 255 for r in reports)
    assert all(r.shared_bytes <= 48 * 1024 for r in reports)
    with capsys.disabled():
        for kernel in sorted(kernels):
            rows = [r for r in reports if r.kernel == kernel]
            print(f"\n{kernel}: {rows[0].shared_bytes} B shared, no spills, registers:", end=" ")
            print(*(f"sm_{r.arch} {r.registers}" for r in rows), sep=", ", end="")
    for source in build.sources():
        assert build.shipped_code(source, 89, (13, 0), tmp_path) == tmp_path / f"{source.stem}.sm_89.cubin"
        assert (tmp_path / f"{source.stem}.compute_75.ptx").read_text().count(".entry") == len(
            build.kernel_names(source.read_text())
        )


@needs_nvrtc
def test_compiled_kernels_are_cached_by_content(tmp_path, monkeypatch):
    monkeypatch.setenv("VISAVIS_CACHE", str(tmp_path))
    source = KERNELS / f"{FAST}.cu"
    path = build.cached_code(source, 86)
    assert path.read_bytes()[:4] == b"\x7fELF" and path.parent == tmp_path / "kernels"
    stamp = path.stat().st_mtime_ns
    assert build.cached_code(source, 86) == path and path.stat().st_mtime_ns == stamp
    assert device.kernel_code("tile_scatter", 86, (13, 0)) == path


@needs_nvrtc
def test_a_spill_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "greedy.cu").write_text("""
extern "C" __global__ void __launch_bounds__(1024) greedy(const float* in, float* out) {
  float v[200];
#pragma unroll
  for (int i = 0; i < 200; i++) v[i] = in[i * 1024 + threadIdx.x];
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 200; i++) out[(199 - i) * 1024 + threadIdx.x] = v[i] * v[(i * 7) % 200];
}
""")
    monkeypatch.setattr(build, "SOURCES", tmp_path)
    with pytest.raises(build.KernelBuildError, match=r"greedy on sm_80: \d+ bytes"):
        build.build((80,))
    (tmp_path / "greedy.cu").write_text('extern "C" __global__ void broken() { nonsense; }')
    with pytest.raises(build.KernelBuildError, match=r'greedy.cu does not compile for sm_80(.|\n)*"nonsense"'):
        build.build((80,))


def test_reports_are_read_from_the_assembler():
    log = """ptxas info    : Compiling entry function 'k' for 'sm_90'
ptxas info    : Function properties for k
ptxas         .     64 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 78 registers, used 1 barriers, 41984 bytes smem"""
    assert build.parse_reports(log) == [build.KernelReport("k", 90, 78, 41984, 64, 20)]


def test_shipped_code_fits_device_driver_and_source(tmp_path):
    source = KERNELS / "sort.cu"
    assert build.shipped_code(source, 86, (13, 0), tmp_path) is None
    for arch in (75, 80, 86):
        (tmp_path / f"sort.sm_{arch}.cubin").write_bytes(b"")
    manifest = '{"nvrtc": [13, 5], "hashes": {"sort": "%s"}}'
    (tmp_path / "manifest.json").write_text(manifest % build.source_hash(source))

    def pick(capability: int, driver: int = 13) -> str | None:
        path = build.shipped_code(source, capability, (driver, 0), tmp_path)
        return path and path.name

    assert pick(86) == "sort.sm_86.cubin" and pick(87) == "sort.sm_86.cubin"
    assert pick(80) == "sort.sm_80.cubin" and pick(75) == "sort.sm_75.cubin"
    assert pick(90) is None and pick(70) is None  # other families
    assert pick(86, driver=12) is None
    (tmp_path / "manifest.json").write_text(manifest % "of other sources")
    assert pick(86) is None


def test_without_packages_the_fix_is_named(monkeypatch):
    for name in ("nvrtc", "driver"):
        monkeypatch.setitem(sys.modules, f"cuda.bindings.{name}", None)
    with pytest.raises(build.NvrtcMissing, match=r"next: pip install 'visavis\[gpu\]'"):
        build.nvrtc_version()
    with pytest.raises(device.CudaUnavailable, match=r"next: pip install 'visavis\[gpu\]'"):
        device.driver_version()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@needs_nvrtc
def test_without_a_driver_the_reason_is_named():
    with pytest.raises(device.CudaUnavailable, match="there is no NVIDIA driver on this machine"):
        device.check_available()
    with pytest.raises(device.CudaUnavailable, match="no NVIDIA driver"):
        device.launcher_of(torch.device("cuda", 0))
    with pytest.raises(TypeError, match="expected tensors on a CUDA device, got cpu"):
        device.launcher_of(torch.device("cpu"))


def test_an_old_driver_is_refused():
    with pytest.raises(device.CudaUnavailable, match=r"expected: CUDA 12.0 or newer, got: CUDA 11.8"):
        device.check_driver((11, 8))
    device.check_driver((12, 4))
    with pytest.raises(device.CudaUnavailable, match=r"expected: CUDA 13.0 or newer, got: CUDA 12.4"):
        device.check_driver((12, 4), 13)


def test_arguments_are_packed_as_the_kernels_declare_them():
    tensor, cpu = torch.arange(3), torch.device("cpu")
    packed = device.pack([tensor, None, -7, 1.5], cpu)
    assert packed[:2] == [tensor.data_ptr(), 0]
    holder = pytest.importorskip("cuda.core._kernel_arg_handler", exc_type=ImportError).ParamHolder(packed)
    cells = (ctypes.c_void_p * 4).from_address(holder.ptr)
    assert ctypes.c_uint64.from_address(cells[0]).value == tensor.data_ptr()
    assert ctypes.c_uint64.from_address(cells[1]).value == 0
    assert ctypes.c_int.from_address(cells[2]).value == -7
    assert ctypes.c_float.from_address(cells[3]).value == 1.5
    with pytest.raises(TypeError, match="argument 0: expected a contiguous tensor, got one on cpu"):
        device.pack([torch.zeros(3, 4).T], cpu)
    with pytest.raises(TypeError, match="argument 1: expected a tensor on meta, got one on cpu"):
        device.pack([1, tensor], torch.device("meta"))
