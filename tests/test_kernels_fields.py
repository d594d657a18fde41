"""Hash tri-plane encoder and KAN layer against their float64 twins."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cuda_ext import backends, ops, reference
from cuda_ext.reference.kan import b_splines
from cuda_ext.triplane_layout import TriplaneLayout

LANES = backends.native().available_lanes()
LAYOUTS = (
    TriplaneLayout(levels=5, features=2, log2_rows=8, coarsest=4, finest=60),  # dense and hashed levels
    TriplaneLayout(levels=1, features=1, log2_rows=2, coarsest=1, finest=1),
    TriplaneLayout(levels=3, features=4, log2_rows=6, coarsest=9, finest=900),
    TriplaneLayout(levels=2, features=8, log2_rows=12, coarsest=16, finest=32),
)
EDGES = ((36, 32, 8), (3, 1, 4), (1, 17, 20), (20, 10, 8))


def relative(got: Tensor, want: Tensor) -> float:
    return float((got.detach().double() - want.detach()).norm() / want.detach().norm().clamp(min=1e-30))


def both(operation: str, inputs: list[Tensor], *rest) -> list[tuple[Tensor, Tensor]]:
    """Value and gradients of the kernel beside those of its twin in float64."""
    columns = []
    for backend, dtype in ((ops, torch.float32), (reference, torch.float64)):
        leaves = [t.to(dtype).requires_grad_() for t in inputs]
        value = getattr(backend, operation)(*leaves, *rest)
        slope = torch.cos(torch.arange(value.numel(), dtype=torch.float64) * 0.7).view(value.shape).to(dtype)
        columns.append([value, *torch.autograd.grad((value * slope).sum(), leaves)])
    return list(zip(*columns, strict=True))


def triplane(layout: TriplaneLayout, n: int, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(n, 3, generator=generator) * 1.2 - 0.1  # some lie outside
    return [points, torch.randn(layout.table_shape, generator=generator)]


def edges(shape: tuple[int, int, int], n: int, seed: int = 0) -> list[Tensor]:
    inputs, outputs, bases = shape
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, inputs, generator=generator) * 1.2  # some lie beyond the grid
    return [
        x,
        torch.randn(outputs, inputs, bases, generator=generator),
        torch.randn(outputs, inputs, generator=generator),
    ]


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("n", [1, 777])
def test_triplane_matches_float64_reference(lanes, layout, n):
    backends.native().set_lanes(lanes)
    for got, want in both("hash_triplane", triplane(layout, n), layout):
        # A place in a cell loses the digits that the cell's number takes.
        assert relative(got, want) < 2e-6 + 1e-7 * layout.finest


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("shape", EDGES, ids=str)
@pytest.mark.parametrize("n", [1, 1333])
def test_kan_matches_float64_reference(lanes, shape, n):
    backends.native().set_lanes(lanes)
    for got, want in both("kan_layer", edges(shape, n), (-1.5, 1.0)):
        assert relative(got, want) < 2e-6


def test_twins_pass_gradcheck():
    layout = TriplaneLayout(levels=2, features=2, log2_rows=4, coarsest=2, finest=5)
    leaves = [t.double().requires_grad_() for t in triplane(layout, 3)]
    assert torch.autograd.gradcheck(lambda p, t: reference.hash_triplane(p, t, layout), leaves, eps=1e-7)
    inputs = [t.double().requires_grad_() for t in edges((3, 2, 8), 5)]
    assert torch.autograd.gradcheck(reference.kan_layer, inputs)


def test_basis_functions_sum_to_one_inside_the_grid():
    basis = b_splines(torch.linspace(-1, 0.999, 50).double()[:, None], 8, (-1, 1))
    assert torch.allclose(basis.sum(-1), torch.ones(50, 1, dtype=torch.float64))
    assert int((basis > 0).sum(-1).max()) == 4


def test_a_spline_reproduces_a_straight_line():
    # Marsden's identity: the coefficients of x are the means of three neighbouring knots.
    knots = torch.arange(-3, 9, dtype=torch.float32) * 0.4 - 1.0
    weights = torch.stack([knots[i + 1 : i + 4].mean() for i in range(8)]).view(1, 1, 8)
    x = torch.linspace(-1, 0.999, 101)[:, None]
    assert torch.allclose(ops.kan_layer(x, weights, torch.zeros(1, 1)), x, atol=1e-6)


def test_far_out_only_the_base_branch_is_left():
    x = torch.tensor([[-1e30], [-50.0], [-2.3], [2.3], [50.0], [1e30]], requires_grad=True)
    y = ops.kan_layer(x, torch.full((1, 1, 8), 5.0), torch.ones(1, 1))
    assert torch.allclose(y, torch.nn.functional.silu(x), atol=1e-6)
    slope = torch.autograd.grad(y.sum(), x)[0]
    assert torch.allclose(slope[[0, 1, 4, 5], 0], torch.tensor([0.0, 0, 1, 1]), atol=1e-5)


@pytest.mark.parametrize("operation", ["hash_triplane", "kan_layer"])
def test_threads_do_not_change_a_bit(operation):
    if operation == "hash_triplane":
        layout = TriplaneLayout(levels=6, log2_rows=10, finest=200)
        inputs, rest = triplane(layout, 20_011), (layout,)
    else:
        inputs, rest = edges((12, 10, 8), 20_011), ()
    results = []
    for threads in (1, 2, 5):
        ops.set_threads(threads)
        leaves = [t.requires_grad_() for t in inputs]
        value = getattr(ops, operation)(*leaves, *rest)
        results.append([value, *torch.autograd.grad(value.square().sum(), leaves)])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("lanes", LANES)
def test_nothing_in_nothing_out(lanes):
    backends.native().set_lanes(lanes)
    layout = LAYOUTS[0]
    table, weights = triplane(layout, 0)[1].requires_grad_(), edges((3, 2, 8), 0)
    encoded = ops.hash_triplane(torch.empty(0, 3), table, layout)
    assert encoded.shape == (0, layout.out_features)
    assert not torch.autograd.grad(encoded.sum(), table)[0].any()
    leaves = [t.requires_grad_() for t in weights]
    y = ops.kan_layer(*leaves)
    assert y.shape == (0, 2)
    assert not any(g.any() for g in torch.autograd.grad(y.sum(), leaves))


def test_outside_counts_as_the_border_without_gradient():
    layout = LAYOUTS[0]
    table = triplane(layout, 0)[1]
    points = torch.tensor([[1.7, 0.5, -3.0], [1.0, 0.5, 0.0], [-0.0, 1.0, 1.0]], requires_grad=True)
    encoded = ops.hash_triplane(points, table, layout)
    assert torch.equal(encoded[0], encoded[1])
    slope = torch.autograd.grad(encoded.sum(), points)[0]
    assert (slope[0, [0, 2]] == 0).all() and (slope[1] != 0).all()


def test_corners_give_their_own_features():
    layout = TriplaneLayout(levels=1, features=2, log2_rows=8, coarsest=4, finest=4)
    table = triplane(layout, 0)[1]
    encoded = ops.hash_triplane(torch.tensor([[0.25, 0.5, 1.0]]), table, layout).view(3, 2)
    rows = (1 + 5 * 2, 2 + 5 * 4, 4 + 5 * 1)  # (x, y), (y, z), (z, x) in a grid of 5 x 5 corners
    assert torch.equal(encoded, torch.stack([table[plane, row] for plane, row in enumerate(rows)]))


def test_layout_counts_rows():
    layout = TriplaneLayout()
    assert (layout.resolutions[0], layout.resolutions[-1], layout.out_features) == (16, 512, 72)
    assert layout.hashed == tuple(r > 255 for r in layout.resolutions)
    assert layout.table_shape == (3, sum(min((r + 1) ** 2, 65536) for r in layout.resolutions), 2)
    for changes in (
        {"levels": 0},
        {"levels": 33},
        {"features": 3},
        {"log2_rows": 1},
        {"coarsest": 600},
        {"finest": 1 << 20},
    ):
        with pytest.raises(ValueError, match="expected"):
            TriplaneLayout(**changes)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("backend", [ops, reference])
def test_nan_and_infinity_are_refused(bad, backend):
    layout = LAYOUTS[0]
    points, table = triplane(layout, 300)
    points[299, 2] = bad
    with pytest.raises(ValueError, match="points: expected finite numbers"):
        backend.hash_triplane(points, table, layout)
    inputs = edges((3, 2, 8), 100)
    inputs[0][57, 1] = bad
    with pytest.raises(ValueError, match="x: expected finite numbers"):
        backend.kan_layer(*inputs)
    points[299, 2], inputs[0][57, 1] = 0, 0
    table[2, -1, 1] = bad
    with pytest.raises(ValueError, match="table: expected finite numbers"):
        backend.hash_triplane(points, table, layout)
    for which, name in ((1, "spline_weight"), (2, "base_weight")):
        spoiled = [t.clone() for t in inputs]
        spoiled[which].view(-1)[-1] = bad
        with pytest.raises(ValueError, match=f"{name}: expected finite numbers"):
            backend.kan_layer(*spoiled)


def test_wrong_tensors_are_refused(unchecked_shapes):
    layout = LAYOUTS[0]
    points, table = triplane(layout, 10)
    with pytest.raises(ValueError, match=r"points: expected shape \(n, 3\), got \(10, 2\)"):
        ops.hash_triplane(points[:, :2], table, layout)
    with pytest.raises(ValueError, match="table: expected shape"):
        ops.hash_triplane(points, table[:, 1:], layout)
    with pytest.raises(TypeError, match="table: expected torch.float32 on the CPU, got torch.float64"):
        ops.hash_triplane(points, table.double(), layout)
    with pytest.raises(TypeError, match="on meta"):
        ops.hash_triplane(points.to("meta"), table, layout)
    x, spline, base = edges((3, 2, 8), 10)
    with pytest.raises(ValueError, match="base_weight: expected shape"):
        ops.kan_layer(x, spline, base.T)
    with pytest.raises(ValueError, match="4 basis functions"):
        ops.kan_layer(x, spline[..., :3], base)
    with pytest.raises(ValueError, match="grid_range"):
        ops.kan_layer(x, spline, base, (1.0, 1.0))
    with pytest.raises(TypeError, match="x: expected"):
        ops.kan_layer(x.half(), spline, base)


def test_strided_tensors_are_copied():
    layout = LAYOUTS[0]
    points, table = triplane(layout, 50)
    turned = points.T.contiguous().T
    assert torch.equal(ops.hash_triplane(turned, table, layout), ops.hash_triplane(points, table, layout))
