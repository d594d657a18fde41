"""The CUDA rasteriser's own source and host code, run on the CPU, against float64 and against the CPU kernels."""

from __future__ import annotations

from dataclasses import replace

import pytest
import raster_scenes
import torch
from raster_scenes import FIELDS, images_of, leaves, relative
from simt_launcher import SimtLauncher
from torch import Tensor

from cuda_ext import ops, reference
from cuda_ext.gpu import raster
from cuda_ext.gpu.ops import GpuOps
from cuda_ext.types import Cameras

SEEDS = (0, 1, 2)


def gpu(seed: int = 0) -> GpuOps:
    launcher = SimtLauncher(seed=seed)
    return GpuOps(lambda device: launcher)


def scene(n: int, width: int = 64, height: int = 48, seed: int = 0) -> tuple[list[Tensor], Cameras]:
    return raster_scenes.scene(n, width, height, seed)


def slopes(images: tuple[Tensor, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(i.shape, generator=generator) for i in images]


def pull(images: tuple[Tensor, ...], inputs: list[Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(sum((i * s).sum() for i, s in zip(images, slopes(images), strict=True)), inputs)


def views_of(cameras: list[Cameras]) -> raster.Views:
    rows = [torch.cat([c.intrinsics, c.T_camera_world[:, :3].flatten(1)], 1) for c in cameras]
    return raster.Views(torch.cat(rows), cameras[0].width, cameras[0].height)


@pytest.mark.parametrize("seed", SEEDS)
def test_matches_float64_reference_and_cpu_kernels(seed):
    tensors, view = scene(600)
    tensors[3][:150] = 0.9999  # reaches the cap on alpha
    tensors[0][300:310] = tensors[0][300]  # equal depths
    on_gpu, on_cpu, exact = leaves(tensors), leaves(tensors), leaves(tensors, torch.float64)
    got, cpu, want = (
        images_of(gpu(seed).rasterize(*on_gpu, view)), images_of(ops.rasterize(*on_cpu, view)),
        images_of(reference.rasterize(*exact, view)),
    )  # fmt: skip
    for image, other, twin in zip(got, cpu, want, strict=True):
        assert relative(image, twin) < 1e-5
        assert relative(image, other.double()) < 1e-5
    gradients = pull(got, on_gpu), pull(cpu, on_cpu), pull(want, exact)
    for name, gradient, other, twin in zip(FIELDS, *gradients, strict=True):
        assert relative(gradient, twin) < 1e-4, name
        assert relative(gradient, other.double()) < 1e-3, name


@pytest.mark.parametrize("channels", [1, 8, 13, 32])
def test_features_blend_like_colours(channels):
    tensors, view = scene(300, 40, 33)
    tensors.append(torch.rand(300, channels, generator=torch.Generator().manual_seed(1)))
    on_gpu, exact = leaves(tensors), leaves(tensors, torch.float64)
    got = gpu(3).rasterize(*on_gpu[:5], view, features=on_gpu[5])
    want = reference.rasterize(*exact[:5], view, features=exact[5])
    assert got.features is not None and relative(got.features, want.features) < 1e-5
    gradients = (torch.autograd.grad(raster_scenes.weighted(r), i) for r, i in ((got, on_gpu), (want, exact)))
    for name, gradient, twin in zip((*FIELDS, "features"), *gradients, strict=True):
        assert relative(gradient, twin) < 1e-4, name
    bare = gpu(3).rasterize(*on_gpu[:4], None, view, features=on_gpu[5])
    assert bare.rgb is None and relative(bare.features, want.features) < 1e-5


def test_the_camera_gets_gradients():
    tensors, view = scene(200, 33, 40)
    pose = view.T_camera_world.clone().requires_grad_()
    exact = pose.detach().double().requires_grad_()
    got = images_of(gpu(1).rasterize(*tensors, replace(view, T_camera_world=pose)))
    twin = reference.rasterize(*leaves(tensors, torch.float64), replace(view, T_camera_world=exact))
    assert relative(pull(got, [pose])[0], pull(images_of(twin), [exact])[0]) < 1e-4


@pytest.mark.parametrize("shared", [True, False])
def test_a_batch_is_its_views_one_by_one(shared):
    launcher = SimtLauncher(seed=4)
    parts, view = scene(400, 40, 37)
    turned = view.T_camera_world @ torch.diag(torch.tensor([-1.0, 1, -1, 1]))
    matrices = [view.T_camera_world, turned, turned]
    views = views_of([replace(view, T_camera_world=m) for m in matrices])
    sets = [parts if shared else [t.roll(7 * v, 0).contiguous() for t in parts] for v in range(3)]
    batch = sets[0] if shared else [torch.stack(p) for p in zip(*sets, strict=True)]
    scene_ = raster.Scene(*batch[:4])
    projected = raster.project(launcher, scene_, views, 1 << 16)
    images = raster.draw(launcher, projected, batch[4], views)
    stacked = [torch.stack([i] * 3) for i in slopes((images.values[0], images.alpha[0], images.depth[0]))]
    sums = raster.draw_backward(launcher, projected, batch[4], views, images, tuple(stacked))
    gradients, _ = raster.project_backward(launcher, scene_, views, projected.rects, sums, with_views=True)
    gradients.append(raster.values_backward(launcher, sums, batch[4]))
    singles = []
    for v, matrix in enumerate(matrices):
        inputs = leaves(sets[v])
        single = [i[0] for i in images_of(ops.rasterize(*inputs, replace(view, T_camera_world=matrix)))]
        for image, twin in zip((images.values[v], images.alpha[v], images.depth[v]), single, strict=True):
            assert relative(image, twin.double()) < 1e-5
        singles.append(pull(single, inputs))
    for k, gradient in enumerate(gradients):
        want = sum(s[k] for s in singles) if shared else torch.stack([s[k] for s in singles])
        assert relative(gradient, want.double()) < 1e-3, FIELDS[k]


def test_overflow_is_flagged_and_harmless():
    launcher, (tensors, view) = SimtLauncher(seed=1), scene(300)
    views = views_of([view])
    whole = raster.project(launcher, raster.Scene(*tensors[:4]), views, 1 << 16)
    needed = int(whole.needed)
    cut = raster.project(launcher, raster.Scene(*tensors[:4]), views, needed // 3)
    assert int(cut.needed) == needed and int(cut.offsets.max()) == needed // 3
    assert torch.equal(cut.lists[0], whole.lists[0, : needed // 3])
    image = raster.draw(launcher, cut, tensors[4], views).values
    assert torch.isfinite(image).all() and image.any()


def test_lists_grow_when_they_must(monkeypatch):
    monkeypatch.setattr(raster, "default_capacity", lambda count: 64)
    tensors, view = scene(300)
    got, want = gpu().rasterize(*tensors, view), ops.rasterize(*tensors, view)
    assert relative(got.rgb, want.rgb.double()) < 1e-5


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("n", [1, 255, 2049, 5000])
def test_sort_is_stable(seed, n):
    generator = torch.Generator().manual_seed(n)
    keys = torch.randint(-(2**31), 2**31 - 1, (2, n), generator=generator, dtype=torch.int32)
    keys[:, n // 3 :] = keys[:, n // 3 :] % 7  # many ties
    order = raster.sort_by_key(SimtLauncher(seed=seed), keys)
    assert torch.equal(order.long(), torch.argsort(keys.long() % 2**32, dim=1, stable=True))


def test_odd_scenes():
    tensors, view = scene(5)
    empty = images_of(gpu().rasterize(*(t[:0] for t in tensors), view))
    assert not any(i.any() for i in empty)
    behind = [tensors[0] * torch.tensor([1, 1, -1.0]) + torch.tensor([0, 0, 5.0]), *tensors[1:]]
    inputs = leaves(behind)
    images = images_of(gpu().rasterize(*inputs, view))
    assert not images[1].any() and not any(g.any() for g in pull(images, inputs))
    huge = [tensors[0], tensors[1], tensors[2] * 1e6, tensors[3], tensors[4]]
    got, want = gpu().rasterize(*huge, view), ops.rasterize(*huge, view)
    torch.testing.assert_close(got.alpha, want.alpha, atol=1e-4, rtol=1e-3)
    tiny = replace(view, width=1, height=1)
    torch.testing.assert_close(gpu().rasterize(*tensors, tiny).rgb, ops.rasterize(*tensors, tiny).rgb)


def test_bad_input_is_explained(unchecked_shapes):
    tensors, view = scene(5)
    with pytest.raises(ValueError, match=r"image size: expected 1..16384 pixels a side, got 0 x 48"):
        gpu().rasterize(*tensors, replace(view, width=0))
    with pytest.raises(ValueError, match=r"scales: expected shape \(5, 3\), got \(4, 3\)"):
        gpu().rasterize(*tensors[:2], tensors[2][:4], *tensors[3:], view)
    with pytest.raises(TypeError, match=r"opacities: expected torch.float32 on the CPU, got torch.float64 on cpu"):
        gpu().rasterize(*tensors[:3], tensors[3].double(), tensors[4], view)
    tensors[1][3, 2] = float("nan")
    with pytest.raises(ValueError, match="1 of 5 Gaussians hold a NaN or infinity"):
        gpu().rasterize(*tensors, view)
