"""The native kernels against their float64 twins: values, gradients, reproducibility, odd input."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from torch import Tensor

from avatar.evaluation.bench_kernels import head_scene
from cuda_ext import backends, ops, reference

LANES = backends.native().available_lanes()
FIELDS = ("means", "quats_wxyz", "scales", "opacities", "colors")


@pytest.fixture(autouse=True)
def _restore():
    module = backends.native()
    lanes, threads = module.get_lanes(), module.get_threads()
    yield
    module.set_lanes(lanes)
    module.set_threads(threads)


def relative(got: Tensor, want: Tensor) -> float:
    return float((got.detach().double() - want.detach()).norm() / want.detach().norm().clamp(min=1e-30))


def scene(n: int, width: int = 70, height: int = 61, seed: int = 0) -> tuple[list[Tensor], dict]:
    g, camera = head_scene(n, height, seed)
    view = dict(
        width=width, height=height, fx=camera.fx, fy=camera.fy * 1.05, cx=width / 2 + 1.7, cy=height / 2 - 0.4,
        T_camera_world=camera.T_camera_world,
    )  # fmt: skip
    return [getattr(g, f) for f in FIELDS], view


def leaves(tensors: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    return [t.to(dtype).requires_grad_() for t in tensors]


def one_gaussian(**changes) -> list[Tensor]:
    values = dict(
        means=[0.0, 0.0, 1.0], quats_wxyz=[1.0, 0, 0, 0], scales=[0.05] * 3, opacities=0.8, colors=[1, 0.5, 0.25]
    )
    return [torch.tensor([dict(values, **changes)[f]], dtype=torch.float32) for f in FIELDS]


def identity_view(width: int = 33, height: int = 21) -> dict:
    return dict(width=width, height=height, fx=40.0, fy=40.0, cx=width / 2, cy=height / 2, T_camera_world=np.eye(4))


def image_slopes(images: tuple[Tensor, ...], depth: float) -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(i.shape, generator=generator) * s for i, s in zip(images, (1, 1, depth), strict=True)]


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("depth", [0.0, 1.0])
def test_rasterize_matches_float64_reference(lanes, depth):
    backends.native().set_lanes(lanes)
    tensors, view = scene(900, 53, 45)
    tensors[3][:200] = 0.9999  # reaches the cap on alpha
    got_in, want_in = leaves(tensors, torch.float32), leaves(tensors, torch.float64)
    got, want = ops.rasterize(*got_in, **view), reference.rasterize(*want_in, **view)
    for image, twin in zip(got, want, strict=True):
        assert relative(image, twin) < 2e-5
    slopes = image_slopes(got, depth)
    got_grads = torch.autograd.grad(sum((i * s).sum() for i, s in zip(got, slopes, strict=True)), got_in)
    want_grads = torch.autograd.grad(sum((i * s).sum() for i, s in zip(want, slopes, strict=True)), want_in)
    for name, gradient, twin in zip(FIELDS, got_grads, want_grads, strict=True):
        assert relative(gradient, twin) < 1e-3, name


def test_reference_passes_gradcheck():
    tensors, view = scene(4, 7, 6, seed=3)
    inputs = leaves(tensors, torch.float64)
    view["T_camera_world"] = view["T_camera_world"].astype(np.float64)
    assert torch.autograd.gradcheck(lambda *g: reference.rasterize(*g, **view), inputs, eps=1e-7, atol=1e-5)


@pytest.mark.parametrize("lanes", LANES)
def test_threads_do_not_change_a_bit(lanes):
    backends.native().set_lanes(lanes)
    tensors, view = scene(6000, 150, 131)
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(view["height"], view["width"], 3, generator=generator)
    results = []
    for threads in (1, 2, 4):
        ops.set_threads(threads)
        inputs = leaves(tensors, torch.float32)
        rgb, alpha, depth = ops.rasterize(*inputs, **view)
        loss = ops.photometric_loss(rgb, target) + alpha.mean() + depth.mean()
        results.append([rgb, alpha, depth, loss, *torch.autograd.grad(loss, inputs)])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_vector_widths_agree():
    tensors, view = scene(3000)
    images = []
    for lanes in LANES:
        backends.native().set_lanes(lanes)
        images.append(ops.rasterize(*tensors, **view)[0])
    for image in images[1:]:
        assert relative(image, images[0].double()) < 2e-5


def test_equal_depths_blend_in_index_order():
    red, green = one_gaussian(colors=[1, 0, 0]), one_gaussian(colors=[0, 1, 0])
    rgb = ops.rasterize(*(torch.cat(p) for p in zip(red, green, strict=True)), **identity_view())[0]
    centre = rgb[10, 16]
    assert centre[0] > 2 * centre[1] > 0


def test_one_gaussian_peaks_where_it_projects():
    rgb, alpha, depth = ops.rasterize(*one_gaussian(), **identity_view())
    assert alpha[10, 16] == pytest.approx(0.8, abs=1e-4)
    assert alpha.argmax() == 10 * 33 + 16
    assert depth[10, 16] == pytest.approx(1.0, abs=1e-5)
    torch.testing.assert_close(rgb[10, 16], alpha[10, 16] * torch.tensor([1, 0.5, 0.25]))
    assert (depth[alpha == 0] == 0).all()


def test_empty_scene_is_black_and_takes_gradients():
    inputs = [t[:0].requires_grad_() for t in one_gaussian()]
    rgb, alpha, depth = ops.rasterize(*inputs, **identity_view())
    assert not rgb.any() and not alpha.any() and not depth.any()
    assert all(g.shape == i.shape for g, i in zip(torch.autograd.grad(rgb.sum(), inputs), inputs, strict=True))


@pytest.mark.parametrize(
    "changes",
    [
        dict(means=[0, 0, -1.0]),
        dict(means=[0, 0, 0.005]),
        dict(means=[0, 0, 0.0]),
        dict(means=[1e6, 0, 1.0]),
        dict(means=[-1e9, 1e9, 1e-3]),
        dict(opacities=0.0),
        dict(opacities=-1.0),
        dict(opacities=0.003),
    ],
)
def test_unseen_gaussians_leave_no_trace(changes):
    inputs = [t.requires_grad_() for t in one_gaussian(**changes)]
    rgb, alpha, _ = ops.rasterize(*inputs, **identity_view())
    assert not alpha.any()
    assert not any(g.any() for g in torch.autograd.grad(rgb.sum() + alpha.sum(), inputs))


@pytest.mark.parametrize(
    "changes",
    [
        dict(scales=[100.0] * 3),
        dict(scales=[1e7] * 3),
        dict(scales=[0.0] * 3),
        dict(scales=[1e-20, 0.3, 0.0]),
        dict(quats_wxyz=[0.0] * 4),
        dict(quats_wxyz=[1e-3, 0, 0, 1e-3]),
        dict(opacities=1.0),
        dict(opacities=5.0),
        dict(means=[0.1, 0.1, 0.0101]),
    ],
)
def test_extreme_gaussians_stay_finite_and_match(changes):
    inputs = [t.requires_grad_() for t in one_gaussian(**changes)]
    images = ops.rasterize(*inputs, **identity_view())
    gradients = torch.autograd.grad(sum(i.sum() for i in images), inputs)
    assert all(torch.isfinite(t).all() for t in (*images, *gradients))
    want = reference.rasterize(*(t.detach().double() for t in inputs), **identity_view())
    torch.testing.assert_close(images[1].double(), want[1], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (33, 3), (31, 65), (64, 32)])
def test_any_image_size(size):
    tensors, view = scene(300, *size)
    got, want = ops.rasterize(*tensors, **view), reference.rasterize(*(t.double() for t in tensors), **view)
    for image, twin in zip(got, want, strict=True):
        torch.testing.assert_close(image.double(), twin, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("field", range(5))
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_input_is_refused(field, value):
    tensors, view = scene(50)
    tensors[field].view(-1)[7] = value
    with pytest.raises(ValueError, match="1 of 50 Gaussians hold a NaN or infinity"):
        ops.rasterize(*tensors, **view)
    with pytest.raises(ValueError, match="NaN or infinity"):
        reference.rasterize(*tensors, **view)


def test_wrong_input_is_explained(unchecked_shapes):
    tensors, view = scene(5)
    with pytest.raises(ValueError, match=r"image size: expected 1..16384 pixels a side, got 0 x 61"):
        ops.rasterize(*tensors, **dict(view, width=0))
    with pytest.raises(ValueError, match=r"scales: expected shape \(5, 3\), got \(4, 3\)"):
        ops.rasterize(tensors[0], tensors[1], tensors[2][:4], *tensors[3:], **view)
    with pytest.raises(TypeError, match=r"means: expected torch.float32 on the CPU, got torch.float64"):
        ops.rasterize(tensors[0].double(), *tensors[1:], **view)
    with pytest.raises(ValueError, match="T_camera_world"):
        ops.rasterize(*tensors, **dict(view, T_camera_world=np.eye(3)))
    with pytest.raises(ValueError, match="fx, fy"):
        ops.rasterize(*tensors, **dict(view, fx=float("nan")))


def test_strided_input_equals_contiguous():
    tensors, view = scene(200)
    strided = [torch.stack([t, t], 1)[:, 0] for t in tensors]
    assert not strided[0].is_contiguous()
    torch.testing.assert_close(ops.rasterize(*strided, **view), ops.rasterize(*tensors, **view), atol=0, rtol=0)


def test_several_forwards_before_a_backward():
    scenes = [scene(400, seed=s) for s in (1, 2, 3)]
    alone = []
    for tensors, view in scenes:
        inputs = leaves(tensors, torch.float32)
        alone.append(torch.autograd.grad(ops.rasterize(*inputs, **view)[0].square().sum(), inputs))
    inputs = [leaves(t, torch.float32) for t, _ in scenes]
    images = [ops.rasterize(*i, **v)[0] for i, (_, v) in zip(inputs, scenes, strict=True)]
    together = torch.autograd.grad(sum(i.square().sum() for i in images), [t for i in inputs for t in i])
    assert all(torch.equal(a, b) for a, b in zip([g for gs in alone for g in gs], together, strict=True))


def test_a_graph_can_be_walked_twice():
    tensors, view = scene(300)
    inputs = leaves(tensors, torch.float32)
    loss = ops.rasterize(*inputs, **view)[0].square().sum()
    first = torch.autograd.grad(loss, inputs, retain_graph=True)
    assert all(torch.equal(a, b) for a, b in zip(first, torch.autograd.grad(loss, inputs), strict=True))


def test_changing_an_output_in_place_is_caught():
    tensors, view = scene(50)
    inputs = leaves(tensors, torch.float32)
    rgb, _, _ = ops.rasterize(*inputs, **view)
    rgb.mul_(2)
    with pytest.raises(RuntimeError, match="in-?place"):
        rgb.sum().backward()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_kernels_work_in_a_forked_child():
    ops.set_threads(2)
    tensors, view = scene(2000, 128, 128)
    want = ops.rasterize(*tensors, **view)[0]
    child = os.fork()
    if child == 0:
        # Compared by numpy: torch's own OpenMP pool does not survive a fork.
        same = np.array_equal(ops.rasterize(*tensors, **view)[0].numpy(), want.numpy()) and ops.get_threads() == 2
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_threads_are_checked():
    ops.set_threads(3)
    assert ops.get_threads() == 3
    with pytest.raises(ValueError, match="at least 1"):
        ops.set_threads(0)
