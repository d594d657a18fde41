"""The gsplat adapter around a function of gsplat's signature that draws with our reference, so that it runs anywhere:
which channels go in, in which order, and what comes out. gsplat itself meets the conformance suite where it is."""

from __future__ import annotations

import pytest
import torch
from raster_scenes import FLOAT_IMAGES, leaves, relative, ring, scene
from test_kernels_views import harmonics

from cuda_ext import gsplat_backend, reference
from cuda_ext.backends import BackendMissing
from cuda_ext.types import Cameras


def like_gsplat(means, quats, scales, opacities, colors, viewmats, Ks, width, height, *, camera_model, **options):
    assert options == dict(near_plane=0.01, eps2d=0.3, render_mode="RGB+ED", packed=False)
    assert colors.shape[:2] == (len(viewmats), len(means))
    model = "orthographic" if camera_model == "ortho" else camera_model
    numbers = torch.stack([Ks[:, 0, 0], Ks[:, 1, 1], Ks[:, 0, 2], Ks[:, 1, 2]], 1)
    drawn = [
        reference.rasterize(
            means, quats, scales, opacities, None, Cameras(width, height, K[None], T[None], model), features=values
        )
        for values, T, K in zip(colors, viewmats, numbers, strict=True)
    ]
    images = torch.cat([torch.cat([d.features, d.depth[..., None]], -1) for d in drawn])
    return images, torch.cat([d.alpha for d in drawn])[..., None], {}


@pytest.mark.parametrize("model", ["pinhole", "orthographic"])
@pytest.mark.parametrize("degree", [None, 0, 2])
@pytest.mark.parametrize("extras", [True, False])
def test_channels_go_in_and_come_out_in_order(model, degree, extras):
    (*tensors, colors), view = scene(60, 30, 24)
    cameras = ring(view, [0.0, 0.4], model)
    if degree is not None:
        colors = harmonics(60, degree)
    features = torch.rand(60, 5, generator=torch.Generator().manual_seed(3)) if extras else None
    inputs = leaves([*tensors, colors])
    raster = gsplat_backend.draw(like_gsplat, gsplat_backend.Scene.checked(*inputs, features), cameras, normals=extras)
    exact = leaves([*tensors, colors])
    want = reference.rasterize(*exact, cameras, features=features, normals=extras)
    for name in FLOAT_IMAGES:
        got, twin = getattr(raster, name), getattr(want, name)
        assert (got is None) == (twin is None), name
        assert got is None or (got.shape == twin.shape and relative(got, twin) < 1e-5), name
    for got, twin in zip(
        torch.autograd.grad(raster.rgb.square().sum(), inputs), torch.autograd.grad(want.rgb.square().sum(), exact),
        strict=True,
    ):  # fmt: skip
        assert relative(got, twin) < 1e-4


def test_without_colours_there_is_no_rgb():
    (*tensors, _), view = scene(20, 30, 24)
    raster = gsplat_backend.draw(like_gsplat, gsplat_backend.Scene.checked(*tensors, None, None), view, normals=False)
    assert raster.rgb is None and raster.features is None
    assert relative(raster.alpha, reference.rasterize(*tensors, None, view).alpha) < 1e-5


@pytest.mark.parametrize("wanted", [dict(labels=torch.zeros(20, dtype=torch.int32)), dict(median_depth=True)])
def test_what_gsplat_cannot_draw_is_refused(wanted):
    tensors, view = scene(20, 30, 24)
    with pytest.raises(BackendMissing, match="neither labels nor a median depth\n  next: use the backend"):
        gsplat_backend.rasterize(*tensors, view, **wanted)
