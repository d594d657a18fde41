"""The CUDA kernels of Adam and the fields: their own source, run on the CPU, against float64 and the CPU kernels."""

from __future__ import annotations

import copy

import pytest
import torch
from simt_launcher import SimtLauncher
from test_kernels_adam import SHAPES
from test_kernels_adam import tensors as adam_tensors
from test_kernels_fields import edges, relative, triplane
from torch import Tensor

from cuda_ext import ops, reference
from cuda_ext.gpu.ops import GpuOps
from cuda_ext.ops import AdamRates
from cuda_ext.triplane_layout import TriplaneLayout

SEEDS = (0, 1)
LAYOUTS = (
    TriplaneLayout(levels=3, features=2, log2_rows=8, coarsest=4, finest=60),
    TriplaneLayout(levels=1, features=1, log2_rows=2, coarsest=1, finest=1),
    TriplaneLayout(levels=2, features=8, log2_rows=6, coarsest=5, finest=90),
)
EDGES = ((36, 32, 8), (3, 1, 4), (40, 35, 7), (1, 10, 20))


def gpu(seed: int = 0) -> GpuOps:
    launcher = SimtLauncher(seed=seed)
    return GpuOps(lambda device: launcher)


def three(seed: int, operation: str, inputs: list[Tensor], *rest) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Value and gradients on the "GPU", on the CPU and in float64."""
    columns = []
    for backend, dtype in ((gpu(seed), torch.float32), (ops, torch.float32), (reference, torch.float64)):
        leaves = [t.detach().to(dtype).requires_grad_() for t in inputs]
        value = getattr(backend, operation)(*leaves, *rest)
        slope = torch.cos(torch.arange(value.numel(), dtype=torch.float64) * 0.7).view(value.shape).to(dtype)
        columns.append([value, *torch.autograd.grad((value * slope).sum(), leaves)])
    return list(zip(*columns, strict=True))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("n", [1, 300])
def test_triplane_matches_float64_reference_and_cpu_kernels(seed, layout, n):
    for got, cpu, want in three(seed, "hash_triplane", triplane(layout, n), layout):
        assert relative(got, want) < 2e-6 + 1e-7 * layout.finest
        assert relative(got, cpu.double()) < 1e-5


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("shape", EDGES, ids=str)
@pytest.mark.parametrize("n", [1, 150])
def test_kan_matches_float64_reference_and_cpu_kernels(seed, shape, n):
    for got, cpu, want in three(seed, "kan_layer", edges(shape, n), (-1.5, 1.0)):
        assert relative(got, want) < 2e-6
        assert relative(got, cpu.double()) < 2e-6


def test_kan_sums_chunks_of_points():
    for got, _, want in three(0, "kan_layer", edges((2, 3, 8), 2100)):
        assert relative(got, want) < 3e-6


@pytest.mark.parametrize("seed", SEEDS)
def test_adam_does_what_the_cpu_kernel_does(seed):
    state = [adam_tensors(0), adam_tensors(1), adam_tensors(2), [t.square() for t in adam_tensors(3)]]
    on_gpu, on_cpu = copy.deepcopy(state), copy.deepcopy(state)
    steps = [4 + i for i in range(len(SHAPES))]
    rates = [AdamRates(1e-2, 0.9, 0.99, 1e-15) if i % 2 else AdamRates(3e-4) for i in range(len(SHAPES))]
    gpu(seed).adam_step(*on_gpu, steps, rates)
    ops.adam_step(*on_cpu, steps, rates)
    for mine, other in zip(on_gpu, on_cpu, strict=True):
        for a, b in zip(mine, other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=2e-7)
    gpu(seed).adam_step([], [], [], [], [], [])


def test_a_bad_gradient_changes_nothing():
    state = [adam_tensors(0), adam_tensors(1), adam_tensors(2), [t.square() for t in adam_tensors(3)]]
    state[1][4].view(-1)[-1] = float("nan")
    before = copy.deepcopy(state)
    with pytest.raises(ValueError, match="gradient of tensor 4 holds a NaN or infinity: no tensor was changed"):
        gpu().adam_step(*state, [1] * len(SHAPES), [AdamRates(1e-2)] * len(SHAPES))
    for part, old in zip((state[0], state[2], state[3]), (before[0], before[2], before[3]), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(part, old, strict=True))


def test_nothing_in_nothing_out():
    layout = LAYOUTS[0]
    table = triplane(layout, 0)[1].requires_grad_()
    encoded = gpu().hash_triplane(torch.empty(0, 3), table, layout)
    assert encoded.shape == (0, layout.out_features)
    assert not torch.autograd.grad(encoded.sum(), table)[0].any()
    leaves = [t.requires_grad_() for t in edges((3, 2, 8), 0)]
    y = gpu().kan_layer(*leaves)
    assert y.shape == (0, 2)
    assert not any(g.any() for g in torch.autograd.grad(y.sum(), leaves))


def test_bad_input_is_refused(unchecked_shapes):
    layout = LAYOUTS[0]
    points, table = triplane(layout, 10)
    with pytest.raises(ValueError, match=r"points: expected shape \(n, 3\)"):
        gpu().hash_triplane(points[:, :2], table, layout)
    with pytest.raises(TypeError, match="table: expected torch.float32"):
        gpu().hash_triplane(points, table.double(), layout)
    points[3, 1] = float("inf")
    with pytest.raises(ValueError, match="points: expected finite numbers"):
        gpu().hash_triplane(points, table, layout)
    x, spline, base = edges((3, 2, 8), 10)
    with pytest.raises(ValueError, match="base_weight: expected shape"):
        gpu().kan_layer(x, spline, base.T)
    with pytest.raises(ValueError, match="at most 89 basis functions, got 90"):
        gpu().kan_layer(x, torch.zeros(2, 3, 90), base)
    points[3, 1], table[1, 5, 0] = 0, float("nan")
    with pytest.raises(ValueError, match="table: expected finite numbers"):
        gpu().hash_triplane(points, table, layout)
    x[4, 2] = float("nan")
    with pytest.raises(ValueError, match="x: expected finite numbers"):
        gpu().kan_layer(x, spline, base)
    with pytest.raises(ValueError, match="lists of one length"):
        gpu().adam_step([x], [x], [x], [], [1], [AdamRates(1e-2)])
