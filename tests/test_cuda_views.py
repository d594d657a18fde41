"""Camera models, view-dependent colour, several cameras, further images: CUDA's kernels, run on the CPU."""

from __future__ import annotations

import pytest
import torch
from raster_scenes import FLOAT_IMAGES, leaves, relative, ring, scene, weighted
from test_cuda_raster import gpu
from test_kernels_views import everything, harmonics

from cuda_ext import ops, reference
from cuda_ext.types import CAMERA_MODELS

NAMES = ("means", "quats_wxyz", "scales", "opacities", "colors", "features", "pose")


@pytest.mark.parametrize(
    ("model", "degree", "channels", "seed"),
    [
        *((model, 3, 5, 0) for model in CAMERA_MODELS),
        ("pinhole", None, 32, 1),
        ("pinhole", 0, 1, 2),
        ("fisheye", 2, 9, 3),
    ],
)
def test_every_image_and_gradient_matches_float64_and_cpu_kernels(model, degree, channels, seed):
    tensors, cameras = scene(220, 33, 29)
    cameras = ring(cameras, [0.0, 0.4], model)
    colors = tensors[4] if degree is None else harmonics(220, degree)
    features = torch.randn(220, channels, generator=torch.Generator().manual_seed(1))
    tensors = [*tensors[:4], colors, features, cameras.T_camera_world]
    labels = torch.arange(220, dtype=torch.int32) % 7
    on_gpu, exact, on_cpu = leaves(tensors), leaves(tensors, torch.float64), leaves(tensors)
    got, want = everything(gpu(seed), on_gpu, cameras, labels), everything(reference, exact, cameras, labels)
    cpu = everything(ops, on_cpu, cameras, labels)
    for name in (*FLOAT_IMAGES, "median_depth"):
        assert relative(getattr(got, name), getattr(want, name)) < 1e-5, name
        assert relative(getattr(got, name), getattr(cpu, name).double()) < 1e-5, name
    assert got.labels is not None and torch.equal(got.labels, want.labels)
    gradients = (torch.autograd.grad(weighted(r), i) for r, i in ((got, on_gpu), (want, exact), (cpu, on_cpu)))
    for name, gradient, twin, other in zip(NAMES, *gradients, strict=True):
        assert relative(gradient, twin) < 1e-4, name
        assert relative(gradient, other.double()) < 1e-3, name


def test_alpha_and_depth_alone():
    tensors, cameras = scene(100, 20, 20)
    inputs = leaves(tensors[:4])
    got, want = gpu().rasterize(*inputs, None, cameras), ops.rasterize(*tensors[:4], None, cameras)
    assert got.rgb is None and got.features is None and got.normals is None and got.labels is None
    assert relative(got.alpha, want.alpha.double()) < 1e-5 and relative(got.depth, want.depth.double()) < 1e-5
    assert all(g.any() for g in torch.autograd.grad(got.alpha.sum() + got.depth.sum(), inputs))


def test_bad_input_is_explained(unchecked_shapes):
    tensors, cameras = scene(5, 20, 20)
    with pytest.raises(ValueError, match=r"features: expected 1..32 channels, got 33"):
        gpu().rasterize(*tensors, cameras, features=torch.rand(5, 33))
    with pytest.raises(ValueError, match=r"expected \(1, 4, 9, 16\) spherical harmonics, got shape \(5, 5, 3\)"):
        gpu().rasterize(*tensors[:4], torch.rand(5, 5, 3), cameras)
    with pytest.raises(ValueError, match=r"labels: expected 0..16777215, got -1..3"):
        gpu().rasterize(*tensors, cameras, labels=torch.arange(-1, 4, dtype=torch.int32))
    tensors[4][2, 1] = float("inf")
    with pytest.raises(ValueError, match="1 of 5 Gaussians hold a NaN or infinity"):
        gpu().rasterize(*tensors, cameras)
