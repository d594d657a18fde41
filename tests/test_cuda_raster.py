"""The CUDA rasteriser's own source and host code, run on the CPU, against float64 and against the CPU kernels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from simt_launcher import SimtLauncher
from torch import Tensor

from avatar.evaluation.bench_kernels import head_scene
from cuda_ext import ops, reference
from cuda_ext.gpu import raster
from cuda_ext.gpu.ops import GpuOps

FIELDS = ("means", "quats_wxyz", "scales", "opacities", "colors")
SEEDS = (0, 1, 2)


def gpu(seed: int = 0) -> GpuOps:
    launcher = SimtLauncher(seed=seed)
    return GpuOps(lambda device: launcher)


def relative(got: Tensor, want: Tensor) -> float:
    return float((got.detach().double() - want.detach()).norm() / want.detach().norm().clamp(min=1e-30))


def scene(n: int, width: int = 64, height: int = 48, seed: int = 0) -> tuple[list[Tensor], dict]:
    g, camera = head_scene(n, height, seed)
    view = dict(
        width=width, height=height, fx=camera.fx, fy=camera.fy * 1.05, cx=width / 2 + 1.7, cy=height / 2 - 0.4,
        T_camera_world=camera.T_camera_world,
    )  # fmt: skip
    return [getattr(g, f) for f in FIELDS], view


def leaves(tensors: list[Tensor], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    return [t.detach().to(dtype).clone().requires_grad_() for t in tensors]


def slopes(images: tuple[Tensor, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(i.shape, generator=generator) for i in images]


def pull(images: tuple[Tensor, ...], inputs: list[Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(sum((i * s).sum() for i, s in zip(images, slopes(images), strict=True)), inputs)


@pytest.mark.parametrize("seed", SEEDS)
def test_matches_float64_reference_and_cpu_kernels(seed):
    tensors, view = scene(600)
    tensors[3][:150] = 0.9999  # reaches the cap on alpha
    tensors[0][300:310] = tensors[0][300]  # equal depths
    on_gpu, on_cpu, exact = leaves(tensors), leaves(tensors), leaves(tensors, torch.float64)
    got, cpu, want = (
        gpu(seed).rasterize(*on_gpu, **view), ops.rasterize(*on_cpu, **view), reference.rasterize(*exact, **view)
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
    tensors[4] = torch.rand(300, channels, generator=torch.Generator().manual_seed(1))
    on_gpu, exact = leaves(tensors), leaves(tensors, torch.float64)
    got = gpu(3).rasterize(*on_gpu, **view)
    threes = torch.nn.functional.pad(exact[4], (0, -channels % 3)).split(3, 1)  # the twin draws three at a time
    want = torch.cat([reference.rasterize(*exact[:4], part, **view)[0] for part in threes], -1)
    assert relative(got[0], want[..., :channels]) < 1e-5
    weights = torch.randn(channels, generator=torch.Generator().manual_seed(2))
    gradients = torch.autograd.grad((got[0] * weights).sum() + got[1].sum(), on_gpu)
    mixed = exact[4] @ weights.double()[:, None]
    drawn = reference.rasterize(*exact[:4], mixed.expand(-1, 3), **view)
    for name, gradient, twin in zip(
        FIELDS, gradients, torch.autograd.grad(drawn[0][..., 0].sum() + drawn[1].sum(), exact), strict=True
    ):
        assert relative(gradient, twin) < 1e-4, name


def test_the_camera_gets_gradients():
    tensors, view = scene(200, 33, 40)
    pose = torch.from_numpy(view["T_camera_world"]).requires_grad_()
    exact = pose.detach().double().requires_grad_()
    got = pull(gpu(1).rasterize(*tensors, **dict(view, T_camera_world=pose)), [pose])[0]
    want = pull(reference.rasterize(*leaves(tensors, torch.float64), **dict(view, T_camera_world=exact)), [exact])[0]
    assert relative(got[:3], want[:3]) < 1e-4


@pytest.mark.parametrize("shared", [True, False])
def test_a_batch_is_its_views_one_by_one(shared):
    launcher = SimtLauncher(seed=4)
    parts, view = scene(400, 40, 37)
    turned = view["T_camera_world"] @ np.diag([-1, 1, -1, 1]).astype(np.float32)
    matrices = [view["T_camera_world"], turned, turned]
    rows = [[*(view[k] for k in ("fx", "fy", "cx", "cy")), *m[:3].ravel().tolist()] for m in matrices]
    views = raster.Views(torch.tensor(rows), view["width"], view["height"])
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
        single = ops.rasterize(*inputs, **dict(view, T_camera_world=matrix))
        for image, twin in zip((images.values[v], images.alpha[v], images.depth[v]), single, strict=True):
            assert relative(image, twin.double()) < 1e-5
        singles.append(pull(single, inputs))
    for k, gradient in enumerate(gradients):
        want = sum(s[k] for s in singles) if shared else torch.stack([s[k] for s in singles])
        assert relative(gradient, want.double()) < 1e-3, FIELDS[k]


def test_overflow_is_flagged_and_harmless():
    launcher, (tensors, view) = SimtLauncher(seed=1), scene(300)
    row = [*(view[k] for k in ("fx", "fy", "cx", "cy")), *view["T_camera_world"][:3].ravel().tolist()]
    views = raster.Views(torch.tensor([row]), view["width"], view["height"])
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
    got, want = gpu().rasterize(*tensors, **view), ops.rasterize(*tensors, **view)
    assert relative(got[0], want[0].double()) < 1e-5


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
    empty = gpu().rasterize(*(t[:0] for t in tensors), **view)
    assert not any(i.any() for i in empty)
    behind = [tensors[0] * torch.tensor([1, 1, -1.0]) + torch.tensor([0, 0, 5.0]), *tensors[1:]]
    inputs = leaves(behind)
    images = gpu().rasterize(*inputs, **view)
    assert not images[1].any() and not any(g.any() for g in pull(images, inputs))
    huge = [tensors[0], tensors[1], tensors[2] * 1e6, tensors[3], tensors[4]]
    got, want = gpu().rasterize(*huge, **view), ops.rasterize(*huge, **view)
    torch.testing.assert_close(got[1], want[1], atol=1e-4, rtol=1e-3)
    tiny = dict(view, width=1, height=1)
    torch.testing.assert_close(gpu().rasterize(*tensors, **tiny)[0], ops.rasterize(*tensors, **tiny)[0])


def test_bad_input_is_explained(unchecked_shapes):
    tensors, view = scene(5)
    with pytest.raises(ValueError, match=r"image size: expected 1..16384 pixels a side, got 0 x 48"):
        gpu().rasterize(*tensors, **dict(view, width=0))
    with pytest.raises(ValueError, match=r"scales: expected shape \(5, 3\), got \(4, 3\)"):
        gpu().rasterize(*tensors[:2], tensors[2][:4], *tensors[3:], **view)
    with pytest.raises(TypeError, match=r"opacities: expected torch.float32 on the CPU, got torch.float64 on cpu"):
        gpu().rasterize(*tensors[:3], tensors[3].double(), tensors[4], **view)
    with pytest.raises(ValueError, match=r"colors: expected 1..32 channels, got 33"):
        gpu().rasterize(*tensors[:4], torch.rand(5, 33), **view)
    tensors[1][3, 2] = float("nan")
    with pytest.raises(ValueError, match="1 of 5 Gaussians hold a NaN or infinity"):
        gpu().rasterize(*tensors, **view)
