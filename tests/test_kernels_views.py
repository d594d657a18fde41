"""Camera models, view-dependent colour, several cameras, gradients of poses, further images: against float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from raster_scenes import FLOAT_IMAGES, identity_view, leaves, moved, one_gaussian, relative, ring, scene, weighted
from torch import Tensor

from avatar.types import Camera
from cuda_ext import backends, ops, reference
from cuda_ext.types import CAMERA_MODELS, Cameras, Raster

LANES = backends.native().available_lanes()


def everything(backend, tensors: list[Tensor], cameras: Cameras, labels: Tensor | None = None) -> Raster:
    """All images; `tensors` are the five inputs, the features and the poses."""
    posed = replace(cameras, T_camera_world=tensors[6])
    return backend.rasterize(*tensors[:5], posed, features=tensors[5], labels=labels, median_depth=True, normals=True)


def harmonics(n: int, degree: int) -> Tensor:
    return 0.4 * torch.randn(n, (degree + 1) ** 2, 3, generator=torch.Generator().manual_seed(degree))


def compare(tensors: list[Tensor], cameras: Cameras) -> None:
    labels = torch.arange(len(tensors[0]), dtype=torch.int32) % 7
    got_in, want_in = leaves(tensors), leaves(tensors, torch.float64)
    got, want = everything(ops, got_in, cameras, labels), everything(reference, want_in, cameras, labels)
    for name in (*FLOAT_IMAGES, "median_depth"):
        assert relative(getattr(got, name), getattr(want, name)) < 2e-5, name
    assert got.labels is not None and got.labels.dtype == torch.int32 and torch.equal(got.labels, want.labels)
    names = ("means", "quats_wxyz", "scales", "opacities", "colors", "features", "pose")
    gradients = (torch.autograd.grad(weighted(r), i) for r, i in ((got, got_in), (want, want_in)))
    for name, gradient, twin in zip(names, *gradients, strict=True):
        assert relative(gradient, twin) < 1e-3, name


@pytest.mark.parametrize("model", CAMERA_MODELS)
@pytest.mark.parametrize("degree", [None, 0, 1, 2, 3])
def test_every_image_and_gradient_matches_float64(model, degree):
    tensors, cameras = scene(300, 37, 33)
    cameras = ring(cameras, [0.0, 0.4], model)
    colors = tensors[4] if degree is None else harmonics(300, degree)
    features = torch.randn(300, 5, generator=torch.Generator().manual_seed(1))
    compare([*tensors[:4], colors, features, cameras.T_camera_world], cameras)


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("channels", [1, 4, 32])
def test_every_vector_width_and_number_of_channels(lanes, channels):
    backends.native().set_lanes(lanes)
    tensors, cameras = scene(300, 37, 33)
    features = torch.randn(300, channels, generator=torch.Generator().manual_seed(1))
    compare([*tensors[:4], harmonics(300, 2), features, cameras.T_camera_world], ring(cameras, [0.2], "fisheye"))


@pytest.mark.parametrize("model", CAMERA_MODELS)
def test_reference_passes_gradcheck(model):
    tensors, cameras = scene(4, 5, 4, seed=3)
    cameras = ring(cameras, [0.3], model)
    inputs = leaves([*tensors[:4], harmonics(4, 2), tensors[4][:, :2], cameras.T_camera_world], torch.float64)

    def images(*tensors: Tensor) -> tuple[Tensor, ...]:
        raster = everything(reference, list(tensors), cameras)
        return tuple(getattr(raster, name) for name in FLOAT_IMAGES)

    assert torch.autograd.gradcheck(images, inputs, eps=1e-7, atol=1e-5, fast_mode=True)


def test_wide_fisheye_sees_beside_itself():
    """A pinhole camera of 86 pixels' focal length would need 2,000 pixels for what is 80 degrees off the axis."""
    angle = np.radians(80.0)
    tensors = one_gaussian(means=[float(np.sin(angle)), 0.0, float(np.cos(angle))], scales=[0.03] * 3)
    cameras = Cameras(151, 151, torch.tensor([[50.0, 50.0, 75.5, 75.5]]), torch.eye(4)[None], "fisheye")
    alpha = ops.rasterize(*tensors, cameras).alpha[0]
    y, x = divmod(int(alpha.argmax()), 151)
    assert y == 75 and x + 0.5 == pytest.approx(75.5 + 50 * angle, abs=0.6)
    want = reference.rasterize(*(t.double() for t in tensors), cameras).alpha[0]
    assert relative(alpha, want) < 2e-5


def test_orthographic_size_does_not_depend_on_distance():
    cameras = replace(identity_view(), model="orthographic", intrinsics=torch.tensor([[60.0, 60.0, 16.5, 10.5]]))
    near, far = (ops.rasterize(*one_gaussian(means=[0.0, 0.0, z]), cameras) for z in (0.5, 5.0))
    assert torch.equal(near.alpha, far.alpha) and not torch.equal(near.depth, far.depth)


@pytest.mark.parametrize("model", CAMERA_MODELS)
def test_camera_type_projects_to_where_its_render_peaks(model):
    from avatar.renderer import render
    from avatar.types import Gaussians

    focal = 300.0 if model == "orthographic" else 150.0
    camera = Camera(81, 61, focal, focal * 1.1, 40.0, 31.0, np.eye(4, dtype=np.float32), model)
    gaussian = Gaussians(*one_gaussian(means=[0.07, -0.05, 0.5], scales=[0.005] * 3))
    output = render(gaussian, camera)
    y, x = divmod(int(output.alpha.argmax()), 81)
    u, v = camera.project(gaussian.means.numpy())[0]
    assert (x + 0.5, y + 0.5) == (pytest.approx(u, abs=0.51), pytest.approx(v, abs=0.51))
    twin = render(gaussian, camera, backend="reference")
    torch.testing.assert_close(output.rgb, twin.rgb, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("model", CAMERA_MODELS)
@pytest.mark.parametrize("kind", ["stereo", "ring"])
def test_several_cameras_equal_them_one_by_one(model, kind):
    tensors, cameras = scene(2500, 90, 75)
    several = moved(ring(cameras, [0.0], model), 0.06) if kind == "stereo" else ring(cameras, [-0.5, 0.0, 2.8], model)
    features = torch.randn(2500, 3, generator=torch.Generator().manual_seed(1))
    inputs = leaves([*tensors[:4], harmonics(2500, 1), features, several.T_camera_world])
    together = everything(ops, inputs, several)
    gradients = torch.autograd.grad(weighted(together), inputs)
    parts = []
    for c in range(len(several)):
        one = Cameras(90, 75, several.intrinsics[c : c + 1], several.T_camera_world[c : c + 1], model)
        parts.append(everything(ops, [*inputs[:6], inputs[6][c : c + 1]], one))
    for name in (*FLOAT_IMAGES, "median_depth"):
        assert torch.equal(getattr(together, name), torch.cat([getattr(p, name) for p in parts])), name
    joined = Raster(*(torch.cat([getattr(p, n) for p in parts]) for n in ("rgb", "alpha", "depth", "features")))
    joined = replace(joined, normals=torch.cat([p.normals for p in parts if p.normals is not None]))
    for gradient, twin in zip(gradients, torch.autograd.grad(weighted(joined), inputs), strict=True):
        assert relative(gradient, twin.double()) < 1e-5


def test_threads_do_not_change_a_bit_of_anything():
    tensors, cameras = scene(3000, 100, 90)
    several = moved(ring(cameras, [0.0, 0.7]), 0.06)
    features = torch.randn(3000, 6, generator=torch.Generator().manual_seed(1))
    results = []
    for threads in (1, 3):
        ops.set_threads(threads)
        inputs = leaves([*tensors[:4], harmonics(3000, 3), features, several.T_camera_world])
        raster = everything(ops, inputs, several)
        results.append([*(getattr(raster, n) for n in FLOAT_IMAGES), *torch.autograd.grad(weighted(raster), inputs)])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_nothing_is_given_that_was_not_asked_for():
    tensors, cameras = scene(50)
    plain = ops.rasterize(*tensors, cameras)
    assert plain.features is plain.normals is plain.median_depth is plain.labels is None
    bare = ops.rasterize(*tensors[:4], None, cameras, features=tensors[4])
    assert bare.rgb is None and torch.equal(bare.alpha, plain.alpha)
    torch.testing.assert_close(bare.features, plain.rgb, atol=1e-6, rtol=1e-5)


def test_median_depth_and_labels_of_a_stack():
    """Three sheets: the first too thin to hide half, the second takes what is left below one half."""
    sheets = [
        one_gaussian(means=[0, 0, z], opacities=o) for z, o in ((1.0, 0.3), (1.2, 0.6), (1.4, 0.9))
    ]  # weights at the centre: 0.3, 0.42, 0.25
    tensors = [torch.cat(parts) for parts in zip(*sheets, strict=True)]
    labels = torch.tensor([4, 9, 2], dtype=torch.int32)
    raster = ops.rasterize(*tensors, identity_view(), labels=labels, median_depth=True)
    assert raster.median_depth is not None and raster.labels is not None
    assert raster.median_depth[0, 10, 16] == pytest.approx(1.2) and raster.labels[0, 10, 16] == 9
    assert (raster.labels[raster.alpha == 0] == -1).all() and (raster.median_depth[raster.alpha < 0.5] == 0).all()
    assert not raster.median_depth.requires_grad


def test_normals_face_the_camera():
    """A disc whose shortest axis is z, seen from both sides."""
    disc = one_gaussian(scales=[0.05, 0.05, 0.001])
    for z, turn in ((1.0, 1.0), (-1.0, -1.0)):
        pose = torch.diag(torch.tensor([1.0, turn, turn, 1.0]))[None]
        tensors = [torch.tensor([[0.0, 0.0, z]]), *disc[1:]]
        raster = ops.rasterize(*tensors, replace(identity_view(), T_camera_world=pose), normals=True)
        assert raster.normals is not None
        got = raster.normals[0, 10, 16] / raster.alpha[0, 10, 16]
        torch.testing.assert_close(got, torch.tensor([0.0, 0.0, -1.0]), atol=1e-5, rtol=0)


def test_pose_gradient_predicts_a_small_move():
    tensors, cameras = scene(500, 60, 50)
    pose = cameras.T_camera_world.clone().requires_grad_()
    target = ops.rasterize(*tensors, cameras).rgb
    assert target is not None

    def loss(matrix: Tensor) -> Tensor:
        rgb = ops.rasterize(*tensors, replace(cameras, T_camera_world=matrix)).rgb
        return (rgb * target.flip(2)).sum()

    gradient = torch.autograd.grad(loss(pose), pose)[0]
    assert not gradient[:, 3].any()
    step = torch.zeros(1, 4, 4)
    step[0, :3] = 2e-4 * torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        change = loss(pose + step) - loss(pose - step)
    # Not closer: alpha jumps at 1/255.
    assert float(change) == pytest.approx(2 * float((gradient * step).sum()), rel=0.15)
