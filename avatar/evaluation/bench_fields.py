"""What the benchmark times of deformation fields, baked maps and the optimiser: each beside what it replaces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avatar.evaluation.bench_raster import TWIN
from avatar.evaluation.bench_timing import Case
from cuda_ext import ops, reference
from cuda_ext.packed import Storage, pack_map
from cuda_ext.triplane_layout import TriplaneLayout

KAN_WIDTHS = (36, 32, 10)
GAUSSIAN_SHAPES = ((3,), (4,), (3,), (), (3,), (3, 24), (24,))
"""Of one Gaussian's parameters in the fitting loop: 110 numbers."""


def _gradients(operation: Callable[..., Tensor], inputs: Sequence[Tensor], *rest: object) -> Callable[[], object]:
    """Forward and backward from a fixed random slope."""
    leaves = [t.detach().clone().requires_grad_() for t in inputs]
    with torch.no_grad():
        shape = operation(*leaves, *rest).shape
    slope = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    return lambda: torch.autograd.grad(operation(*leaves, *rest), leaves, slope)


def _adam_case(name: str, n: int) -> Case:
    generator = torch.Generator().manual_seed(4)

    def stepper(make: Callable[[list[dict]], torch.optim.Optimizer]) -> Callable[[], object]:
        groups = []
        for shape in GAUSSIAN_SHAPES:
            param = torch.randn(n, *shape, generator=generator).requires_grad_()
            param.grad = torch.randn(n, *shape, generator=generator)
            groups.append({"params": [param], "lr": 1e-3})
        return make(groups).step

    options = {"betas": (0.9, 0.99), "eps": 1e-15}
    ours = stepper(lambda groups: ops.Adam(groups, **options))
    theirs = stepper(lambda groups: torch.optim.Adam(groups, **options, fused=True))
    return Case(name, ours, {"torch.optim.Adam(fused=True)": theirs})


def _both_backends(
    name: str, network: Callable[[Any], Callable[..., Tensor]], inputs: Sequence[Tensor], gradients: bool
) -> Case:
    def run(backend) -> Callable[[], object]:
        operation = network(backend)
        return _gradients(operation, inputs) if gradients else torch.no_grad()(lambda: operation(*inputs))

    return Case(name, run(ops), {TWIN: run(reference)})


def _triplane_case(name: str, n: int, gradients: bool) -> Case:
    generator = torch.Generator().manual_seed(4)
    layout = TriplaneLayout(levels=12, features=2, log2_rows=16)
    inputs = (torch.rand(n, 3, generator=generator), torch.randn(layout.table_shape, generator=generator))
    return _both_backends(
        name, lambda b: lambda points, table: b.hash_triplane(points, table, layout), inputs, gradients
    )


def _kan_case(name: str, n: int, gradients: bool) -> Case:
    generator = torch.Generator().manual_seed(4)
    inputs = [0.5 * torch.randn(n, KAN_WIDTHS[0], generator=generator)]
    for wide, narrow in zip(KAN_WIDTHS[:-1], KAN_WIDTHS[1:], strict=True):
        inputs += [0.1 * torch.randn(narrow, wide, 8, generator=generator)]
        inputs += [torch.randn(narrow, wide, generator=generator) / wide**0.5]

    def network(backend) -> Callable[..., Tensor]:
        return lambda x, s1, b1, s2, b2: backend.kan_layer(backend.kan_layer(x, s1, b1), s2, b2)

    return _both_backends(name, network, inputs, gradients)


def _packed_case(name: str, n: int, storage: Storage) -> Case:
    rng = np.random.default_rng(5)
    values, features = rng.normal(size=(n, 3, 24)).astype(np.float32), rng.normal(size=24).astype(np.float32)
    packed, out = pack_map(values, storage), np.empty((n, 3), np.float32)
    return Case(name, lambda: packed.apply(features, out), {"numpy float32": lambda: values @ features})


FIELD_CASES: dict[str, Callable[[str], Case]] = {
    "adam 50k": lambda name: _adam_case(name, 50_000),
    "hash_triplane_fwd 50k": lambda name: _triplane_case(name, 50_000, gradients=False),
    "hash_triplane 50k": lambda name: _triplane_case(name, 50_000, gradients=True),
    "kan_fwd 50k": lambda name: _kan_case(name, 50_000, gradients=False),
    "kan 50k": lambda name: _kan_case(name, 50_000, gradients=True),
    "map_int8 50k": lambda name: _packed_case(name, 50_000, "int8"),
    "map_half 50k": lambda name: _packed_case(name, 50_000, "half"),
}
"""How each case is made, by name, for 50,000 Gaussians; forward and backward unless the name says otherwise."""
