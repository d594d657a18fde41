"""The harness that runs CUDA kernels on the CPU: it computes what CUDA would, and catches what CUDA forbids."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from simt_launcher import SimtError, SimtLauncher

SOURCE = """
#ifndef DYNAMIC_SHARED
#define DYNAMIC_SHARED(T, name) extern __shared__ T name[]
#endif
#ifdef WITHOUT_BARRIER
#define BARRIER()
#else
#define BARRIER() __syncthreads()
#endif

extern "C" __global__ void __launch_bounds__(256) reverse(const float* in, float* out, int n) {
  __shared__ float tile[256];
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) tile[threadIdx.x] = in[i];
  BARRIER();
  if (i < n) out[i] = tile[min(blockDim.x, n - blockIdx.x * blockDim.x) - 1 - threadIdx.x];
}

extern "C" __global__ void sums(const int* in, int* total, int* highest, int* lanes) {
  int v = in[blockIdx.x * blockDim.x + threadIdx.x], all = v;
  for (int d = 16; d; d >>= 1) all += __shfl_xor_sync(0xffffffffu, all, d);
  if (threadIdx.x % 32 == 0) atomicAdd(total, all), atomicMax(highest, all);
  const unsigned odd = __ballot_sync(0xffffffffu, v & 1);
  const int next = __shfl_down_sync(0xffffffffu, v, 1), before = __shfl_up_sync(0xffffffffu, v, 2);
  const int many = __syncthreads_count(v > 5), any = __syncthreads_or(v == 7), every = __syncthreads_and(v >= 0);
  int* out = lanes + 7 * (blockIdx.x * blockDim.x + threadIdx.x);
  out[0] = __popc(odd), out[1] = next, out[2] = before, out[3] = many, out[4] = any, out[5] = every;
  out[6] = threadIdx.x % 32 < 8 ? __shfl_xor_sync(0xffu, v, 1) : __shfl_sync(0xffffff00u, v, 20);
}

extern "C" __global__ void dynamic(float* out, int n) {
  DYNAMIC_SHARED(float, cells);
  cells[threadIdx.x] = threadIdx.x;
  __syncthreads();
  out[threadIdx.x] = cells[(threadIdx.x + n) % blockDim.x];
}

extern "C" __global__ void unset(float* out) {
  __shared__ float never[32];
  out[threadIdx.x] = never[threadIdx.x];
  never[threadIdx.x] = 1.f;
}

extern "C" __global__ void divergent(int how) {
  if (how == 0 && threadIdx.x < 3) return;
  if (how == 1 && threadIdx.x == 5) __syncwarp();
  if (how == 2) {
    if (threadIdx.x % 2) __syncthreads();
    else
      __syncthreads();
  }
  if (how == 3 && threadIdx.x == 3) __shfl_sync(0x8u, 1, 4);
  __syncthreads();
}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("kernels")
    (folder / "lesson.cu").write_text(SOURCE)
    return folder


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_barriers_and_shared_memory(folder, seed):
    values, out = torch.arange(600, dtype=torch.float32), torch.zeros(600)
    SimtLauncher(folder, seed=seed).launch("reverse", (3,), (256,), values, out, 600)
    assert torch.equal(out, torch.cat([part.flip(0) for part in values.split(256)]))


@pytest.mark.parametrize("seed", [0, 1])
def test_a_missing_barrier_is_caught(folder, seed):
    values, out = torch.arange(600, dtype=torch.float32), torch.zeros(600)
    SimtLauncher(folder, seed=seed, flags=["-DWITHOUT_BARRIER"]).launch("reverse", (3,), (256,), values, out, 600)
    assert out.isnan().any()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_collectives_and_atomics(folder, seed):
    v = torch.randint(0, 10, (4, 2, 32), generator=torch.Generator().manual_seed(seed), dtype=torch.int32)
    total, highest = torch.zeros(1, dtype=torch.int32), torch.zeros(1, dtype=torch.int32)
    lanes = torch.zeros(4, 2, 32, 7, dtype=torch.int32)
    SimtLauncher(folder, seed=seed).launch("sums", (4,), (64,), v, total, highest, lanes)
    assert total == v.sum() and highest == v.sum(-1).max()
    whole = torch.zeros_like(v)
    assert torch.equal(lanes[..., 0], whole + (v & 1).sum(-1, keepdim=True))
    assert torch.equal(lanes[..., 1], torch.cat([v[..., 1:], v[..., -1:]], -1))
    assert torch.equal(lanes[..., 2], torch.cat([v[..., :2], v[..., :-2]], -1))
    assert torch.equal(lanes[..., 3], whole + (v > 5).sum((1, 2), keepdim=True))
    assert torch.equal(lanes[..., 4], whole + (v == 7).any(2, keepdim=True).any(1, keepdim=True))
    assert (lanes[..., 5] == 1).all()
    assert torch.equal(lanes[..., :8, 6], v[..., [1, 0, 3, 2, 5, 4, 7, 6]])
    assert (lanes[..., 8:, 6] == v[..., 20:21]).all()


def test_dynamic_shared_memory(folder):
    out = torch.zeros(96)
    SimtLauncher(folder, seed=3).launch("dynamic", (1,), (96,), out, 5, shared_bytes=4 * 96)
    assert torch.equal(out, (torch.arange(96) + 5) % 96.0)


def test_shared_memory_starts_spoilt(folder):
    out = torch.zeros(32)
    SimtLauncher(folder).launch("unset", (2,), (32,), out)
    assert out.isnan().all()


@pytest.mark.parametrize(
    "how, message",
    [
        (0, r"block \(0, 0, 0\): deadlock: thread \(3, 0, 0\) waits at the barrier in line \d+, which only 61 of 64"),
        (1, r"deadlock: thread \(5, 0, 0\) waits at line \d+ for lanes of its warp that never come there"),
        (2, r"threads of one block meet at the barriers in line (\d+) and line (?!\1)\d+"),
        (3, r"a shuffle reads lane 4, which takes no part"),
    ],
)
@pytest.mark.parametrize("seed", [0, 7])
def test_divergence_is_an_error(folder, how, message, seed):
    launcher = SimtLauncher(folder, seed=seed)
    with pytest.raises(SimtError, match=message if not (seed and how == 0) else "which only 61 of 64"):
        launcher.launch("divergent", (2,), (64,), how)
    launcher.launch("divergent", (2,), (64,), 9)  # and the harness lives on


def test_arguments_are_checked(folder):
    launcher, out = SimtLauncher(folder), torch.zeros(4)
    with pytest.raises(SimtError, match="no kernel is called nothing; there are: reverse, sums"):
        launcher.launch("nothing", (1,), (1,))
    with pytest.raises(SimtError, match="reverse: expected 3 arguments, got 2"):
        launcher.launch("reverse", (1,), (1,), out, out)
    with pytest.raises(SimtError, match=r"argument 1: expected a contiguous tensor of torch.float32, got torch.int32"):
        launcher.launch("reverse", (1,), (1,), out, out.int(), 4)
    with pytest.raises(SimtError, match="argument 2: expected an int, got 4.0"):
        launcher.launch("reverse", (1,), (1,), out, out, 4.0)
    with pytest.raises(SimtError, match="bad launch: 0 blocks"):
        launcher.launch("reverse", (0,), (1,), out, out, 4)
