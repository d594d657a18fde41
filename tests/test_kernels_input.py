"""The rasteriser and odd or wrong input: empty, one, behind, huge, degenerate, NaN, wrong shapes, too much."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from raster_scenes import identity_view, images_of, leaves, one_gaussian, scene

from cuda_ext import ops, reference
from cuda_ext.types import CAMERA_MODELS, Cameras


@pytest.mark.parametrize("backend", [ops, reference])
def test_empty_scene_is_black_and_takes_gradients(backend):
    inputs = leaves([t[:0] for t in one_gaussian()])
    features, labels = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int32)
    raster = backend.rasterize(
        *inputs, identity_view(), features=features, labels=labels, median_depth=True, normals=True
    )
    images = (*images_of(raster), raster.features, raster.normals, raster.median_depth)
    assert not any(i.any() for i in images) and (raster.labels == -1).all()
    assert all(g.shape == i.shape for g, i in zip(torch.autograd.grad(raster.rgb.sum(), inputs), inputs, strict=True))


def test_empty_scene_shows_the_background():
    from avatar.renderer import render
    from avatar.types import Camera, Gaussians

    sky = torch.tensor([0.2, 0.4, 0.9])
    output = render(Gaussians(*(t[:0] for t in one_gaussian())), Camera(9, 7, 10, 10, 4, 3), background=sky)
    assert torch.equal(output.rgb, sky.expand(7, 9, 3))


@pytest.mark.parametrize("model", CAMERA_MODELS)
@pytest.mark.parametrize(
    "changes",
    [
        dict(means=[0, 0, -1.0]),
        dict(means=[0, 0, 0.005]),
        dict(means=[0, 0, 0.0]),
        dict(means=[1e6, 0, 1.0]),
        dict(means=[-1e9, 1e9, 1e-3]),
        dict(means=[0, 3e38, -3e38], scales=[1e20] * 3),
        dict(opacities=0.0),
        dict(opacities=-1.0),
        dict(opacities=0.003),
    ],
)
def test_unseen_gaussians_leave_no_trace(model, changes):
    if model == "fisheye" and changes.get("means") == [1e6, 0, 1.0]:
        pytest.skip("not even 90 degrees off its axis")
    cameras = replace(identity_view(), model=model)
    inputs = leaves([*one_gaussian(**changes), cameras.T_camera_world])
    rgb, alpha, _ = images_of(ops.rasterize(*inputs[:5], replace(cameras, T_camera_world=inputs[5])))
    assert not alpha.any()
    assert not any(g.any() for g in torch.autograd.grad(rgb.sum() + alpha.sum(), inputs))


@pytest.mark.parametrize("model", CAMERA_MODELS)
@pytest.mark.parametrize(
    "changes",
    [
        dict(scales=[100.0] * 3),
        dict(scales=[1e7] * 3),
        dict(scales=[0.0] * 3),
        dict(scales=[1e-20, 0.3, 0.0]),
        dict(scales=[-0.05, 0.05, 0.05]),
        dict(quats_wxyz=[0.0] * 4),
        dict(quats_wxyz=[1e-3, 0, 0, 1e-3]),
        dict(opacities=1.0),
        dict(opacities=5.0),
        dict(means=[0.1, 0.1, 0.0101]),
    ],
)
def test_extreme_gaussians_stay_finite_and_match(model, changes):
    cameras = replace(identity_view(), model=model)
    inputs = leaves([*one_gaussian(**changes), cameras.T_camera_world])
    raster = ops.rasterize(*inputs[:5], replace(cameras, T_camera_world=inputs[5]), normals=True)
    images = images_of(raster)
    gradients = torch.autograd.grad(sum(i.sum() for i in images), inputs)
    assert all(torch.isfinite(t).all() for t in (*images, *gradients))
    want = reference.rasterize(*(t.detach().double() for t in inputs[:5]), cameras)
    torch.testing.assert_close(images[1].double(), want.alpha, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("field", range(7))
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_non_finite_input_is_refused(field, value):
    tensors, cameras = scene(50)
    colors = torch.zeros(50, 16, 3) if field == 6 else tensors[4]
    features = torch.zeros(50, 32)
    [*tensors, features, colors][field].view(-1)[7] = value
    for backend, message in ((ops, "1 of 50 Gaussians hold a NaN or infinity"), (reference, "NaN or infinity")):
        with pytest.raises(ValueError, match=message):
            backend.rasterize(*tensors[:4], colors, cameras, features=features)


WRONG = [
    (dict(scales=torch.ones(4, 3)), ValueError, r"scales: expected shape \(5, 3\), got \(4, 3\)"),
    (dict(means=torch.ones(5)), ValueError, r"means: expected shape \(n, 3\), got \(5,\)"),
    (dict(means=torch.ones(5, 3).double()), TypeError, "means: expected torch.float32 on the CPU, got torch.float64"),
    (dict(means=torch.ones(5, 3).half()), TypeError, "got torch.float16"),
    (dict(opacities=torch.ones(5, device="meta")), TypeError, "opacities: .* on meta"),
    (dict(quats_wxyz=[1, 0, 0, 0]), TypeError, "quats_wxyz: expected a torch.Tensor, got list"),
    (dict(colors=torch.ones(5, 4)), ValueError, r"colors: expected shape \(5, 3\)"),
    (dict(colors=torch.ones(5, 5, 3)), ValueError, r"colors: expected \(1, 4, 9, 16\) spherical harmonics"),
    (dict(colors=torch.ones(4, 9, 3)), ValueError, r"colors: expected shape \(5, 9, 3\)"),
    (dict(features=torch.ones(5, 33)), ValueError, r"features: expected 1..32 channels, got 33"),
    (dict(features=torch.ones(5, 0)), ValueError, r"features: expected 1..32 channels, got 0"),
    (dict(features=torch.ones(4, 2)), ValueError, r"features: expected shape \(5, n\), got \(4, 2\)"),
    (dict(labels=torch.ones(5)), TypeError, "labels: expected torch.int32"),
    (dict(labels=torch.full((5,), -2, dtype=torch.int32)), ValueError, r"labels: expected 0..16777215, got -2..-2"),
]


@pytest.mark.parametrize(("changes", "error", "message"), WRONG)
def test_wrong_tensors_are_explained(unchecked_shapes, changes, error, message):
    tensors, cameras = scene(5)
    given = dict(zip(("means", "quats_wxyz", "scales", "opacities", "colors"), tensors, strict=True)) | changes
    with pytest.raises(error, match=message):
        ops.rasterize(cameras=cameras, **given)  # pyright: ignore[reportArgumentType]


WRONG_CAMERAS = [
    (dict(width=0), ValueError, r"image size: expected 1..16384 pixels a side, got 0 x 61"),
    (dict(height=-5), ValueError, "got 70 x -5"),
    (dict(width=20_000), ValueError, "got 20000 x 61"),
    (dict(model="panorama"), ValueError, "one of pinhole, fisheye, orthographic, got 'panorama'"),
    (dict(intrinsics=torch.ones(1, 3)), ValueError, r"intrinsics: expected shape \(1, 4\)"),
    (dict(intrinsics=torch.full((1, 4), float("nan"))), ValueError, "fx, fy, cx, cy: expected finite"),
    (dict(intrinsics=torch.ones(2, 4)), ValueError, r"T_camera_world: expected shape \(2, 4, 4\), got \(1, 4, 4\)"),
    (dict(T_camera_world=torch.eye(3)[None]), ValueError, r"T_camera_world: expected shape \(1, 4, 4\)"),
    (dict(T_camera_world=torch.full((1, 4, 4), float("inf"))), ValueError, "T_camera_world: expected finite"),
    (dict(intrinsics=torch.ones(0, 4), T_camera_world=torch.ones(0, 4, 4)), ValueError, "cameras: expected 1..64"),
    (dict(intrinsics=torch.ones(65, 4), T_camera_world=torch.ones(65, 4, 4)), ValueError, "cameras: .* got 65"),
]


@pytest.mark.parametrize(("changes", "error", "message"), WRONG_CAMERAS)
def test_wrong_cameras_are_explained(unchecked_shapes, changes, error, message):
    tensors, cameras = scene(5)
    fields = {k: getattr(cameras, k) for k in ("width", "height", "intrinsics", "T_camera_world", "model")}
    with pytest.raises(error, match=message):
        ops.rasterize(*tensors, Cameras(**(fields | changes)))


@pytest.fixture
def memory_limit():
    before = ops.get_memory_limit()
    yield ops.set_memory_limit
    ops.set_memory_limit(before)


def test_ten_million_gaussians_are_refused_before_anything_is_allocated():
    tensors = [t.expand(10_000_000, *t.shape[1:]) for t in one_gaussian()]  # no memory of its own
    with pytest.raises(MemoryError, match=r"10,000,000 Gaussians .* need at least 762 MB .* limit of 512 MB"):
        ops.rasterize(*tensors, identity_view())


def test_too_many_tiles_are_refused(memory_limit):
    tensors, cameras = scene(2000, 1000, 1000)
    tensors[2] = tensors[2] * 1000  # each in all of 1,024 tiles
    memory_limit(20)
    with pytest.raises(MemoryError, match="31 MB of working memory, more than the limit of 20 MB"):
        ops.rasterize(*tensors, cameras)
    memory_limit(64)
    inputs = leaves(tensors)
    rgb = images_of(ops.rasterize(*inputs, cameras))[0]
    with pytest.raises(MemoryError, match="limit of 64 MB"):
        torch.autograd.grad(rgb.sum(), inputs)
    with pytest.raises(ValueError, match="at least 1"):
        ops.set_memory_limit(0)
