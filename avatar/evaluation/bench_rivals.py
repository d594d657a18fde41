"""What others' code takes for the same picture, where it is installed: none of it is a dependency of ours."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib.util import find_spec

import torch

from avatar.types import Gaussians
from cuda_ext import ops
from cuda_ext.types import Cameras

WARP = "the same algorithm in Warp (CPU)"
GSPLAT = "gsplat's torch projection alone"
SAME_PICTURE = 1e-3
"""Relative difference below which a rival draws what we draw."""


def forward_rivals(gaussians: Gaussians, cameras: Cameras) -> dict[str, Callable[[], object]]:
    """Forward passes of one view by name; empty where nothing is installed."""
    rivals: dict[str, Callable[[], object]] = {}
    if find_spec("gsplat") is not None:
        rivals[GSPLAT] = _gsplat_projection(gaussians, cameras)
    if find_spec("warp") is not None:
        with redirect_stdout(sys.stderr):  # it says what it compiles
            rivals[WARP] = _warp(gaussians, cameras)
    return rivals


def _warp(gaussians: Gaussians, cameras: Cameras) -> Callable[[], object]:
    """It is compiled, and its picture compared with ours, when it runs first."""
    from avatar.evaluation.bench_warp import forward

    draw, same = forward(gaussians, cameras), False

    def run() -> None:
        nonlocal same
        with redirect_stdout(sys.stderr):  # it says what it compiles
            image = draw()
        if not same:
            g = gaussians
            ours = ops.rasterize(g.means, g.quats_wxyz, g.scales, g.opacities, g.colors, cameras).rgb
            assert ours is not None
            difference = float((image - ours).norm() / image.norm())
            if difference > SAME_PICTURE:
                raise RuntimeError(f"the rasteriser in Warp draws another picture: they differ by {difference:.1e}")
            same = True

    return run


def _gsplat_projection(gaussians: Gaussians, cameras: Cameras) -> Callable[[], object]:
    """The first stage of gsplat's rasteriser in its own torch functions. Its later stages exist for CUDA only or are
    loops in Python over single Gaussians, so that this is less than its whole time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for CUDA
        from gsplat.cuda._torch_impl import _fully_fused_projection, _quat_scale_to_covar_preci

    g, (fx, fy, cx, cy) = gaussians, cameras.intrinsics[0].tolist()
    matrix = torch.tensor([[[fx, 0, cx], [0, fy, cy], [0, 0, 1]]])

    @torch.no_grad()
    def run() -> object:
        covariances, _ = _quat_scale_to_covar_preci(g.quats_wxyz, g.scales, True, False, False)
        return _fully_fused_projection(
            g.means, covariances, cameras.T_camera_world, matrix, cameras.width, cameras.height
        )

    return run
