"""Gauss-Newton matrices of tracking against their float64 twin."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cuda_ext import backends, ops, reference

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
