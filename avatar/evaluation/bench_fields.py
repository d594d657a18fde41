"""What the benchmark times of deformation fields, baked maps and the optimiser: each beside what it replaces."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from cuda_ext import ops, reference
from cuda_ext.packed import pack_map
from cuda_ext.triplane_layout import TriplaneLayout

TWIN = "reference (torch)"
Timed = tuple[str, Callable[[], object], str, Callable[[], object]]
"""A case's name, what is timed, its rival's name, the rival."""

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


def _adam_case(n: int, generator: torch.Generator) -> Timed:
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
    return "adam 50k", ours, "torch.optim.Adam(fused=True)", theirs


def _triplane_cases(n: int, generator: torch.Generator) -> list[Timed]:
    layout = TriplaneLayout(levels=12, features=2, log2_rows=16)
    inputs = (torch.rand(n, 3, generator=generator), torch.randn(layout.table_shape, generator=generator))
    forward = [torch.no_grad()(lambda b=backend: b.hash_triplane(*inputs, layout)) for backend in (ops, reference)]
    both = [_gradients(backend.hash_triplane, inputs, layout) for backend in (ops, reference)]
    return [
        ("hash_triplane 50k fwd", forward[0], TWIN, forward[1]),
        ("hash_triplane 50k", both[0], TWIN, both[1]),
    ]


def _kan_cases(n: int, generator: torch.Generator) -> list[Timed]:
    inputs = [0.5 * torch.randn(n, KAN_WIDTHS[0], generator=generator)]
    for wide, narrow in zip(KAN_WIDTHS[:-1], KAN_WIDTHS[1:], strict=True):
        inputs += [0.1 * torch.randn(narrow, wide, 8, generator=generator)]
        inputs += [torch.randn(narrow, wide, generator=generator) / wide**0.5]

    def network(backend) -> Callable[..., Tensor]:
        return lambda x, s1, b1, s2, b2: backend.kan_layer(backend.kan_layer(x, s1, b1), s2, b2)

    forward = [torch.no_grad()(lambda b=backend: network(b)(*inputs)) for backend in (ops, reference)]
    both = [_gradients(network(backend), inputs) for backend in (ops, reference)]
    return [("kan 50k fwd", forward[0], TWIN, forward[1]), ("kan 50k", both[0], TWIN, both[1])]


def _packed_cases(n: int) -> list[Timed]:
    rng = np.random.default_rng(5)
    values, features = rng.normal(size=(n, 3, 24)).astype(np.float32), rng.normal(size=24).astype(np.float32)

    def case(storage) -> Timed:
        packed, out = pack_map(values, storage), np.empty((n, 3), np.float32)
        return f"map_{storage} 50k", lambda: packed.apply(features, out), "numpy float32", lambda: values @ features

    return [case("int8"), case("half")]


def field_cases(n: int = 50_000) -> list[Timed]:
    """All of them, on n Gaussians; forward and backward unless named fwd."""
    generator = torch.Generator().manual_seed(4)
    kan, triplane = _kan_cases(n, generator), _triplane_cases(n, generator)
    return [_adam_case(n, generator), *triplane, *kan, *_packed_cases(n)]
