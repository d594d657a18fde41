"""render(), the backend registry and the kernel benchmark."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from avatar.errors import BackendUnavailable, BadInput
from avatar.evaluation import bench_kernels, bench_rivals, bench_timing
from avatar.evaluation.bench_scenes import head_scene
from avatar.renderer import render
from avatar.types import Camera, Gaussians
from cuda_ext import backends


@pytest.fixture(scope="module")
def head() -> tuple[Gaussians, Camera]:
    return head_scene(800, 48)


def test_colour_and_image_backgrounds(head):
    gaussians, camera = head
    plain = render(gaussians, camera)
    sky = torch.tensor([0.2, 0.4, 0.9])
    under = (1 - plain.alpha)[..., None] * sky
    torch.testing.assert_close(render(gaussians, camera, background=sky).rgb, plain.rgb + under)
    picture = sky.expand(48, 48, 3).clone()
    torch.testing.assert_close(render(gaussians, camera, background=picture).rgb, plain.rgb + under)
    assert torch.equal(render(gaussians, camera, background=sky).rgb[0, 0], sky)


def test_several_cameras_are_stacked(head):
    gaussians, camera = head
    other = Camera(48, 48, camera.fx, camera.fy, camera.cx + 5, camera.cy, camera.T_camera_world)
    both = render(gaussians, [camera, other])
    assert both.rgb.shape == (2, 48, 48, 3) and both.alpha.shape == both.depth.shape == (2, 48, 48)
    assert torch.equal(both.rgb[1], render(gaussians, other).rgb)
    assert render(gaussians, [camera]).rgb.shape == (1, 48, 48, 3)


def test_backends_agree(head):
    for got, want in zip(vars(render(*head)).values(), vars(render(*head, backend="reference")).values(), strict=True):
        torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)


def test_gradients_reach_gaussians_and_background(head):
    gaussians, camera = head
    means, sky = gaussians.means.clone().requires_grad_(), torch.rand(3).requires_grad_()
    moved = Gaussians(means, gaussians.quats_wxyz, gaussians.scales, gaussians.opacities, gaussians.colors)
    output = render(moved, camera, background=sky)
    assert all(g.any() for g in torch.autograd.grad(output.rgb.square().sum(), (means, sky)))
    assert not output.depth.requires_grad
    depth = render(moved, camera, with_depth=True).depth
    assert torch.autograd.grad(depth.sum(), means)[0].any()


def test_bad_views_are_explained(head):
    gaussians, camera = head
    with pytest.raises(BadInput, match="got: none"):
        render(gaussians, [])
    with pytest.raises(BadInput, match="pinhole 24 x 24, pinhole 48 x 48"):
        render(gaussians, [camera, camera.scaled(24, 24)])
    with pytest.raises(BadInput, match="background"):
        render(gaussians, camera, background=torch.zeros(47, 48, 3))


def test_unknown_and_missing_backends_say_what_to_do(head, monkeypatch):
    with pytest.raises(BackendUnavailable, match="there are: auto, cpu, cuda, gsplat, reference"):
        render(*head, backend="vulkan")
    backends.native.cache_clear()
    monkeypatch.setitem(sys.modules, "cuda_ext._native", None)
    try:
        reason = backends.available()["cpu"]
        assert reason is not None and backends.BUILD_COMMAND in reason and "import cuda_ext._native" in reason
        with pytest.raises(BackendUnavailable, match="pip install"):
            render(*head)
        assert render(*head, backend="reference").rgb.any()
    finally:
        monkeypatch.undo()
        backends.native.cache_clear()
    assert backends.available()["cpu"] is None and backends.available()["reference"] is None


def test_benchmark_rows(monkeypatch):
    monkeypatch.setattr(bench_timing, "MIN_SECONDS", 0.0)
    monkeypatch.setattr(bench_timing, "MIN_REPEATS", 1)
    monkeypatch.setattr(bench_timing, "BLOCK_SECONDS", 0.0)
    issue = {
        "raster_fwd 50k 512", "raster_fwd_bwd 50k 512", "stereo 50k 512", "ssim 512", "rig 50k", "adam 50k",
        "hash_triplane 50k", "kan 50k", "fit_step 50k 512", "fit_step 22k 256", "avatar_frame 512",
        "avatar_stereo 512",
    }  # fmt: skip
    assert issue <= set(bench_kernels.CASES)
    monkeypatch.setattr(bench_rivals, "find_spec", lambda _: None)  # others' code is not ours to test
    monkeypatch.setattr(bench_kernels, "peak_memory", lambda names, _: dict.fromkeys(names, 1.0))
    result = bench_kernels.run([1])
    assert [r["case"] for r in result["rows"]] == list(bench_kernels.CASES)
    assert {"cpu", "cores", "load", "load_after", "lanes"} <= set(result["machine"])
    for row in result["rows"]:
        assert row["median_ms"] > 0 and row["p95_ms"] >= row["median_ms"] and row["threads"] == 1
        assert all(ratio > 0 for ratio in row["ratio_to"].values()) and row["ratio_to"]
        assert row["peak_mb"] == 1.0 and row["busy_neighbours"] == 0


def test_benchmark_beside_a_busy_neighbour(monkeypatch):
    monkeypatch.setattr(bench_timing, "MIN_SECONDS", 0.0)
    (name,) = names = ["raster_fwd_bwd 22k 256"]
    rows = bench_kernels.run([1, 2], names=names, busy=True)["rows"]
    assert [(r["case"], r["threads"], r["busy_neighbours"]) for r in rows] == [(name, 2, 0), (name, 2, 1)]
    for row in rows:
        assert row["ratio_to"][bench_kernels.ONE_THREAD] > 0
        assert row["waited"] is None or 0 <= row["waited"] < 1


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is measured on Linux only")
def test_peak_memory_is_above_the_inputs():
    peak = bench_timing.peak_megabytes(bench_timing.Case("", lambda: bytearray(64 << 20)))
    assert peak is not None and 55 < peak < 75


def test_the_rival_in_warp_draws_our_picture():
    """In a process of its own: our checker of shapes would rewrite functions that Warp compiles."""
    pytest.importorskip("warp")
    code = """
from avatar.evaluation.bench_raster import _forward_case
case = _forward_case("", 800, 48)
for run in case.rivals.values():
    run()
print(*case.rivals)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert bench_rivals.WARP in done.stdout and "initialized" not in done.stdout
