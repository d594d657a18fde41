"""The native rasteriser against its float64 twin: values, gradients, reproducibility."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from raster_scenes import FIELDS, identity_view, images_of, leaves, one_gaussian, relative, scene, weighted

from cuda_ext import backends, ops, reference

LANES = backends.native().available_lanes()


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("names", [("rgb", "alpha"), ("rgb", "alpha", "depth"), ("depth",)])
def test_rasterize_matches_float64_reference(lanes, names):
    backends.native().set_lanes(lanes)
    tensors, cameras = scene(900, 53, 45)
    tensors[3][:200] = 0.9999  # reaches the cap on alpha
    got_in, want_in = leaves(tensors), leaves(tensors, torch.float64)
    got, want = ops.rasterize(*got_in, cameras), reference.rasterize(*want_in, cameras)
    for image, twin in zip(images_of(got), images_of(want), strict=True):
        assert relative(image, twin) < 2e-5
    inputs = slice(0, 4 if names == ("depth",) else 5)
    got_grads = torch.autograd.grad(weighted(got, names), got_in[inputs])
    want_grads = torch.autograd.grad(weighted(want, names), want_in[inputs])
    for name, gradient, twin in zip(FIELDS, got_grads, want_grads, strict=False):
        assert relative(gradient, twin) < 1e-3, name


@pytest.mark.parametrize("lanes", LANES)
def test_threads_do_not_change_a_bit(lanes):
    backends.native().set_lanes(lanes)
    tensors, cameras = scene(6000, 150, 131)
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(cameras.height, cameras.width, 3, generator=generator)
    results = []
    for threads in (1, 2, 4):
        ops.set_threads(threads)
        inputs = leaves(tensors)
        rgb, alpha, depth = images_of(ops.rasterize(*inputs, cameras))
        loss = ops.photometric_loss(rgb[0], target) + alpha.mean() + depth.mean()
        results.append([rgb, alpha, depth, loss, *torch.autograd.grad(loss, inputs)])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_vector_widths_agree():
    tensors, cameras = scene(3000)
    images = []
    for lanes in LANES:
        backends.native().set_lanes(lanes)
        images.append(images_of(ops.rasterize(*tensors, cameras))[0])
    for image in images[1:]:
        assert relative(image, images[0].double()) < 2e-5


def test_equal_depths_blend_in_index_order():
    red, green = one_gaussian(colors=[1, 0, 0]), one_gaussian(colors=[0, 1, 0])
    both = [torch.cat(p) for p in zip(red, green, strict=True)]
    centre = images_of(ops.rasterize(*both, identity_view()))[0][0, 10, 16]
    assert centre[0] > 2 * centre[1] > 0


def test_one_gaussian_peaks_where_it_projects():
    rgb, alpha, depth = (i[0] for i in images_of(ops.rasterize(*one_gaussian(), identity_view())))
    assert alpha[10, 16] == pytest.approx(0.8, abs=1e-4)
    assert alpha.argmax() == 10 * 33 + 16
    assert depth[10, 16] == pytest.approx(1.0, abs=1e-5)
    torch.testing.assert_close(rgb[10, 16], alpha[10, 16] * torch.tensor([1, 0.5, 0.25]))
    assert (depth[alpha == 0] == 0).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (33, 3), (31, 65), (64, 32)])
def test_any_image_size(size):
    tensors, cameras = scene(300, *size)
    got, want = ops.rasterize(*tensors, cameras), reference.rasterize(*(t.double() for t in tensors), cameras)
    for image, twin in zip(images_of(got), images_of(want), strict=True):
        torch.testing.assert_close(image.double(), twin, atol=2e-5, rtol=2e-5)


def test_strided_input_equals_contiguous():
    tensors, cameras = scene(200)
    strided = [torch.stack([t, t], 1)[:, 0] for t in tensors]
    assert not strided[0].is_contiguous()
    columns = replace(cameras, T_camera_world=cameras.T_camera_world.mT.contiguous().mT)
    got, want = ops.rasterize(*strided, columns), ops.rasterize(*tensors, cameras)
    torch.testing.assert_close(images_of(got), images_of(want), atol=0, rtol=0)


def test_several_forwards_before_a_backward():
    scenes = [scene(400, seed=s) for s in (1, 2, 3)]
    alone = []
    for tensors, cameras in scenes:
        inputs = leaves(tensors)
        alone.append(torch.autograd.grad(images_of(ops.rasterize(*inputs, cameras))[0].square().sum(), inputs))
    inputs = [leaves(t) for t, _ in scenes]
    images = [images_of(ops.rasterize(*i, c))[0] for i, (_, c) in zip(inputs, scenes, strict=True)]
    together = torch.autograd.grad(sum(i.square().sum() for i in images), [t for i in inputs for t in i])
    assert all(torch.equal(a, b) for a, b in zip([g for gs in alone for g in gs], together, strict=True))


def test_a_graph_can_be_walked_twice():
    tensors, cameras = scene(300)
    inputs = leaves(tensors)
    loss = images_of(ops.rasterize(*inputs, cameras))[0].square().sum()
    first = torch.autograd.grad(loss, inputs, retain_graph=True)
    assert all(torch.equal(a, b) for a, b in zip(first, torch.autograd.grad(loss, inputs), strict=True))


def test_changing_an_output_in_place_is_caught():
    tensors, cameras = scene(50)
    rgb = images_of(ops.rasterize(*leaves(tensors), cameras))[0]
    rgb.mul_(2)
    with pytest.raises(RuntimeError, match="in-?place"):
        rgb.sum().backward()


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts threads as Linux does")
def test_tiny_scenes_wake_no_other_thread():
    code = """
import os, sys, torch
sys.path.insert(0, sys.argv[1])
from raster_scenes import images_of, leaves, scene
from cuda_ext import ops
torch.set_num_threads(1)
ops.set_threads(3)
running = lambda: len(os.listdir("/proc/self/task"))
ops.photometric_loss(torch.ones(2, 2, 3, requires_grad=True), torch.ones(2, 2, 3)).backward()  # autograd's own threads
counts = [running()]
for n, size in ((1000, 48), (6000, 200)):
    tensors, cameras = scene(n, size, size)
    sum(image.sum() for image in images_of(ops.rasterize(*leaves(tensors), cameras))).backward()
    counts.append(running())
print(counts[1] - counts[0], counts[2] - counts[0])
"""
    command = [sys.executable, "-c", code, str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["0", "2"], done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_kernels_work_in_a_forked_child():
    ops.set_threads(2)
    tensors, cameras = scene(6000, 128, 128)
    want = ops.rasterize(*tensors, cameras).alpha
    child = os.fork()
    if child == 0:
        # Compared by numpy: torch's own OpenMP pool does not survive a fork.
        got = ops.rasterize(*tensors, cameras).alpha
        os._exit(0 if np.array_equal(got.numpy(), want.numpy()) and ops.get_threads() == 2 else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_threads_are_checked():
    ops.set_threads(3)
    assert ops.get_threads() == 3
    with pytest.raises(ValueError, match="at least 1"):
        ops.set_threads(0)
