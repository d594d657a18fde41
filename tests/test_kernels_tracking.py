"""The kernels of tracking against their float64 twins."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor

from cuda_ext import backends, ops, reference
from cuda_ext.ops import ColoredSurface, Views

LANES = backends.native().available_lanes()


def inputs(frames: int, points: int, actions: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(
        torch.randn(*shape, generator=generator)
        for shape in ((points, 3, actions), (frames, points, 3), (frames, points, 2, 3))
    )  # pyright: ignore[reportReturnType]


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize(
    "shape", [(3, 1000, 52), (1, 1, 52), (2, 33, 26), (2, 70, 27), (4, 5, 0), (2, 0, 52), (0, 7, 52)]
)
def test_matches_float64_reference(lanes, shape):
    backends.native().set_lanes(lanes)
    got = ops.normal_matrix(*inputs(*shape))
    want = reference.normal_matrix(*(t.double() for t in inputs(*shape)))
    assert got.shape == want.shape == (shape[0], 6 + shape[2], 6 + shape[2])
    assert torch.equal(got, got.mT)
    assert float((got - want).norm()) <= 2e-6 * float(want.norm())


def test_reference_is_the_square_of_the_jacobian_of_a_moving_head():
    """Against derivatives by automatic differentiation of the motion itself."""
    basis, head, rows = (t[0] if i else t for i, t in enumerate(inputs(1, 4, 5)))

    def measured(unknowns: Tensor) -> Tensor:
        moved = head + torch.linalg.cross(unknowns[:3].expand_as(head), head) + unknowns[3:6] + basis @ unknowns[6:]
        return (rows @ moved[..., None]).flatten()

    jacobian = torch.autograd.functional.jacobian(measured, torch.zeros(11))
    got = reference.normal_matrix(basis, head[None], rows[None])[0]
    torch.testing.assert_close(got, jacobian.T @ jacobian)


def test_threads_change_nothing():
    given, before = inputs(5, 200, 52), ops.get_threads()
    try:
        results = []
        for threads in (1, 2, 3):
            ops.set_threads(threads)
            results.append(ops.normal_matrix(*given))
    finally:
        ops.set_threads(before)
    assert all(torch.equal(results[0], other) for other in results[1:])


@pytest.mark.parametrize("which", range(3))
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_refused(which, value):
    given = inputs(2, 9, 6)
    given[which].view(-1)[-1] = value
    for backend in (ops, reference):
        with pytest.raises(ValueError, match="NaN or infinity"):
            backend.normal_matrix(*given)


def test_wrong_shapes_and_types_are_refused(unchecked_shapes):
    basis, head, rows = inputs(2, 9, 6)
    for wrong in (
        (basis[:8], head, rows),
        (basis, head[:1], rows),
        (basis, head, rows[..., :1, :]),
        (basis, head[0], rows),
    ):
        with pytest.raises(ValueError, match="expected shape"):
            ops.normal_matrix(*wrong)
    with pytest.raises(TypeError, match="float32"):
        ops.normal_matrix(basis.double(), head, rows)


def scene(
    frames: int = 3, points: int = 200, stride: int = 3, dtype=torch.float32
) -> tuple[Views, Tensor, Tensor, ColoredSurface]:
    """Smooth random pictures, and points of which some project outside of them."""
    generator = torch.Generator().manual_seed(1)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    turn = random(frames, 3, 3)
    rotation = torch.tensor([1.0, -1.0, -1.0], dtype=dtype)[:, None] * torch.linalg.matrix_exp(0.2 * (turn - turn.mT))
    translation = torch.tensor([0.02, -0.01, 0.6], dtype=dtype).repeat(frames, 1)
    pictures = torch.rand(frames, 24, 40, 9, generator=generator, dtype=torch.float64).to(dtype)
    normals = torch.nn.functional.normalize(random(points, 3), dim=1)
    colors = torch.rand(points, 3, generator=generator, dtype=torch.float64).to(dtype)
    precision = 20 * torch.rand(points, generator=generator, dtype=torch.float64).to(dtype) + 4
    weights = torch.rand(frames, points, generator=generator, dtype=torch.float64).to(dtype) * (
        random(frames, points) > -1
    )
    surface = ColoredSurface(normals, colors, precision, light_ridge=(0.0, 0.02, 0.02, 0.02), stride=stride)
    return Views(pictures, (50.0, 20.3, 11.8), rotation, translation), 0.1 * random(frames, points, 3), weights, surface


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("shape", [(3, 200, 3), (1, 17, 1), (2, 50, 7), (2, 50, 2**31 - 1), (0, 5, 3), (2, 0, 3)])
def test_alignment_matches_float64_reference(lanes, shape):
    backends.native().set_lanes(lanes)
    got, want = ops.align(*scene(*shape)), reference.align(*scene(*shape, dtype=torch.float64))
    for field in fields(got):
        mine, theirs = getattr(got, field.name), getattr(want, field.name)
        if field.name == "rows":  # only their square matters; where slopes are parallel, the second is lost in rounding
            mine, theirs = mine.mT @ mine, theirs.mT @ theirs
        assert mine.shape == theirs.shape
        # Places are found in float32, in pictures that change by 1 from pixel to pixel.
        assert float((mine - theirs).norm()) <= 2e-4 * float(theirs.norm())


def test_cost_of_an_alignment_is_its_value():
    views, head, weights, surface = scene()
    found = ops.align(views, head, weights, surface)
    torch.testing.assert_close(ops.alignment_cost(views, head, found.lit, found.trust), found.value)
    moved = replace(views, translation=views.translation + 0.01)
    want = reference.alignment_cost(moved, head, found.lit, found.trust)
    torch.testing.assert_close(ops.alignment_cost(moved, head, found.lit, found.trust), want, rtol=1e-4, atol=0)


def test_gradient_and_rows_are_derivatives():
    """In a picture that is linear in the place, with its true slopes: against automatic differentiation of the cost."""
    views, head, weights, surface = scene(1, 60, 1, torch.float64)
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in (24, 40)), indexing="ij")
    slopes = torch.tensor([[0.01, -0.02, 0.015], [0.02, 0.01, -0.03]], dtype=torch.float64)
    colors = 0.5 + slopes[0] * (x[..., None] - 20) + slopes[1] * (y[..., None] - 12)
    pictures = torch.cat((colors, *(s.expand(24, 40, 3) for s in slopes)), -1)[None]
    views, head = replace(views, pictures=pictures), 0.3 * head  # well inside the picture
    found = reference.align(views, head, weights, surface)
    place = head.clone().requires_grad_()
    cost = reference.alignment_cost(views, place, found.lit, found.trust).sum()
    torch.testing.assert_close(found.gradient, torch.autograd.grad(cost, place)[0])
    rows = found.rows[0]  # (n, 2, 3)

    def residuals(at: Tensor) -> Tensor:
        camera = at @ views.rotation[0].T + views.translation[0]
        pixel = views.lens[0] * camera[:, :2] / camera[:, 2:]
        return pixel @ slopes * found.trust[0, :, None].sqrt()

    jacobian = torch.autograd.functional.jacobian(residuals, head[0])  # (n, 3, n, 3)
    jacobian = torch.stack([jacobian[i, :, i] for i in range(60)])
    torch.testing.assert_close(rows.mT @ rows, jacobian.mT @ jacobian)


def test_light_of_a_frame_is_found():
    """A surface under a lamp: the lit colours are those of the picture, and nothing is left to explain."""
    views, head, weights, surface = scene(2, 300, 1, torch.float64)
    lamp = torch.tensor([0.3, -0.2, 0.25], dtype=torch.float64)
    factor = 1.1 + (surface.normals @ views.rotation.mT) @ lamp
    surface = replace(surface, light_ridge=(0.0,) * 4)
    flat = torch.full((2, 24, 40, 9), 0.4, dtype=torch.float64)  # what a point of colour 0.4 / factor looks like
    one = replace(surface, colors=(0.4 / factor[0])[:, None].repeat(1, 3), outlier=1e6)
    alone = Views(flat[:1], views.lens, views.rotation[:1], views.translation[:1])
    found = reference.align(alone, head[:1], torch.ones_like(weights[:1]), one)
    torch.testing.assert_close(found.lit, torch.full((1, 300, 3), 0.4, dtype=torch.float64), rtol=0, atol=1e-6)
    assert float(found.value) < 1e-9


@pytest.mark.parametrize("spoil", range(8))
def test_alignment_refuses_what_is_no_number(spoil):
    views, head, weights, surface = scene()
    given = (views.pictures, views.rotation, views.translation, head, weights, surface.normals, surface.colors)
    (*given, surface.precision)[spoil].fill_(float("nan"))
    with pytest.raises(ValueError, match="NaN or infinity"):
        ops.align(views, head, weights, surface)


def test_alignment_explains_wrong_shapes(unchecked_shapes):
    views, head, weights, surface = scene()
    for wrong in (
        (views, head[:, :5], weights, surface),
        (views, head, weights[:1], surface),
        (replace(views, pictures=views.pictures[..., :3]), head, weights, surface),
        (replace(views, pictures=views.pictures[:, :0]), head, weights, surface),
        (replace(views, rotation=views.rotation[:2]), head, weights, surface),
        (views, head, weights, replace(surface, colors=surface.colors[:3])),
        (views, head, weights, replace(surface, stride=0)),
        (replace(views, lens=(float("nan"), 20.0, 12.0)), head, weights, surface),
        (replace(views, lens=(50.0, 20.0, float("inf"))), head, weights, surface),
    ):
        with pytest.raises(ValueError, match="expected"):
            ops.align(*wrong)
    with pytest.raises(TypeError, match="float32"):
        ops.align(views, head, weights.double(), surface)
