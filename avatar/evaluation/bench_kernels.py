"""Timings of the CPU kernels on a synthetic fitted head, each beside a rival timed in the same run.

Absolute times depend on the machine and its neighbours; `ratio_to` compares measurements taken minutes apart at most.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from avatar.evaluation.bench_fields import field_cases
from avatar.evaluation.bench_scenes import HEAD_HEIGHT, HEAD_SEMI_AXES, rigged_head, splat_scales
from avatar.evaluation.bench_steps import step_cases
from avatar.export.cameras import stereo_pair
from avatar.renderer import camera_batch
from avatar.types import Camera, Gaussians
from cuda_ext import ops, reference
from cuda_ext.backends import native
from cuda_ext.rig_types import RigHead, RigPose, RigTorso
from cuda_ext.types import Cameras

CAMERA_DISTANCE = 0.6
MIN_SECONDS = 0.6
MIN_REPEATS = 7

Part = TypeVar("Part", RigPose, RigHead, RigTorso)


def head_scene(n: int, size: int, seed: int = 0) -> tuple[Gaussians, Camera]:
    """n Gaussians on a head-sized ellipsoid shell in a size x size image: as dense as a fitted avatar of that many.

    Standard deviations are 0.5..1.5 % of the head's height, scaled by sqrt(10,000 / n), half of that along the normal;
    the head fills 75 % of the image's height.
    """
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(n, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    means = directions * (HEAD_SEMI_AXES + rng.uniform(-0.003, 0.003, (n, 1)))
    normals = directions / HEAD_SEMI_AXES
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    scales = splat_scales(n, rng, n)
    tangents = np.cross(normals, rng.normal(size=(n, 3)))
    tangents /= np.linalg.norm(tangents, axis=1, keepdims=True)
    axes = np.stack([tangents, np.cross(normals, tangents), normals], axis=2)
    quats_xyzw = Rotation.from_matrix(axes).as_quat()
    colors = 0.5 + 0.4 * np.sin(means * [40.0, 31.0, 23.0] + [0.0, 1.0, 2.0]) + rng.uniform(-0.1, 0.1, (n, 3))
    arrays = (means, np.roll(quats_xyzw, 1, axis=1), scales, rng.uniform(0.1, 0.95, n), colors)
    T_camera_world = np.diag([1.0, -1.0, -1.0, 1.0]).astype(np.float32)
    T_camera_world[2, 3] = CAMERA_DISTANCE
    focal = 0.75 * size * CAMERA_DISTANCE / HEAD_HEIGHT
    camera = Camera(size, size, focal, focal, size / 2, size / 2, T_camera_world)
    return Gaussians(*(torch.from_numpy(np.ascontiguousarray(a, np.float32)) for a in arrays)), camera


@dataclass(frozen=True)
class Case:
    """One timed function and the rival that its ratio refers to."""

    name: str
    run: Callable[[], object]
    rival: str = ""
    run_rival: Callable[[], object] | None = None


def _rasterize(backend, g: Gaussians, cameras: Cameras):
    return backend.rasterize(g.means, g.quats_wxyz, g.scales, g.opacities, g.colors, cameras).rgb


def _with_gradients(g: Gaussians) -> tuple[Gaussians, tuple[torch.Tensor, ...]]:
    leaves = tuple(t.clone().requires_grad_() for t in (g.means, g.quats_wxyz, g.scales, g.opacities, g.colors))
    return Gaussians(*leaves), leaves


def _raster_step(backend, scene: tuple[Gaussians, Cameras]) -> Callable[[], object]:
    """Forward and backward from a fixed random image gradient."""
    gaussians, leaves = _with_gradients(scene[0])
    cameras = scene[1]
    size = (len(cameras), cameras.height, cameras.width, 3)
    slope = torch.randn(size, generator=torch.Generator().manual_seed(1))
    return lambda: torch.autograd.grad(_rasterize(backend, gaussians, cameras), leaves, slope)


@contextmanager
def _narrow_vectors():
    """The same kernels on four-lane vectors."""
    module, lanes = native(), native().get_lanes()
    module.set_lanes(module.available_lanes()[0])
    try:
        yield
    finally:
        module.set_lanes(lanes)


def _narrow(run: Callable[[], object]) -> Callable[[], object]:
    def narrow() -> object:
        with _narrow_vectors():
            return run()

    return narrow


def _raster_scene(n: int, size: int) -> tuple[Gaussians, Cameras]:
    gaussians, camera = head_scene(n, size)
    return gaussians, camera_batch([camera])


def _raster_cases() -> list[Case]:
    big, small, tiny = _raster_scene(50_000, 512), _raster_scene(22_000, 256), _raster_scene(1_000, 48)
    forward = torch.no_grad()(lambda: _rasterize(ops, *big))
    rows = [("raster_fwd 50k 512", forward)]
    rows += [("raster_fwd_bwd 50k 512", _raster_step(ops, big)), ("raster_fwd_bwd 22k 256", _raster_step(ops, small))]
    cases = [Case(name, run, "cpu, 4 lanes", _narrow(run)) for name, run in rows]
    eyes = big[0], camera_batch(stereo_pair(head_scene(1, 512)[1], np.zeros(3)))
    both = torch.no_grad()(lambda: _rasterize(ops, *eyes))
    cases += [
        Case("raster_fwd stereo 50k 512", both, "one view", forward),
        Case("raster_fwd_bwd stereo 50k 512", _raster_step(ops, eyes), "one view", _raster_step(ops, big)),
    ]
    twin = _raster_step(reference, tiny)
    return [*cases, Case("raster_fwd_bwd 1k 48", _raster_step(ops, tiny), "reference (torch)", twin)]


def _ssim_case() -> Case:
    generator = torch.Generator().manual_seed(2)
    image, target = torch.rand(2, 512, 512, 3, generator=generator)
    image.requires_grad_()

    def step(backend):
        return lambda: torch.autograd.grad(backend.photometric_loss(image, target), image)

    return Case("ssim 512", step(ops), "reference (torch)", step(reference))


def _rig_cases(n: int = 50_000) -> list[Case]:
    scene = mesh, pose, head, torso = rigged_head(n)
    slopes = [torch.randn_like(t) for t in ops.rig(*scene)]
    learned = (mesh, _learned(pose), _learned(head), _learned(torso))
    leaves = [t for part in learned for t in part if t.requires_grad]

    def forward(backend):
        return torch.no_grad()(lambda: backend.rig(*scene))

    def step(backend):
        return lambda: torch.autograd.grad(backend.rig(*learned), leaves, slopes, allow_unused=True)

    return [
        Case("rig 50k", forward(ops), "reference (torch)", forward(reference)),
        Case("rig_fwd_bwd 50k", step(ops), "reference (torch)", step(reference)),
    ]


def _learned(part: Part) -> Part:
    """The same tensors as leaves of a graph."""
    return type(part)(*(t.clone().requires_grad_(t.is_floating_point()) for t in part))


def _milliseconds(run: Callable[[], object]) -> np.ndarray:
    run()  # first use allocates
    times: list[float] = []
    while len(times) < MIN_REPEATS or sum(times) < MIN_SECONDS * 1e3:
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e3)
    return np.array(times)


def _row(case: Case, threads: int) -> dict:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = _milliseconds(case.run)
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    ratio = {}
    if case.run_rival is not None:
        ratio = {case.rival: round(float(np.median(_milliseconds(case.run_rival)) / np.median(times)), 2)}
    return {
        "case": case.name,
        "backend": "cpu",
        "threads": threads,
        "median_ms": round(float(np.median(times)), 3),
        "p95_ms": round(float(np.percentile(times, 95)), 3),
        "min_ms": round(float(times.min()), 3),
        "peak_mb": round(peak, 1),
        "ratio_to": ratio,
    }


def run(threads: list[int]) -> list[dict]:
    """Time every case with each number of threads.

    Returns:
        rows of {"case", "backend", "threads", "median_ms", "p95_ms", "min_ms", "peak_mb", "ratio_to"}. `peak_mb` is by
        how much the case raised the process's peak memory; `ratio_to` maps a rival to its median divided by ours. All
        but "raster_fwd", "rig" and "avatar_frame" are forward and backward, and all include the Python wrapper; "ssim"
        is the loss with its L1.
    """
    kernel_threads, torch_threads = ops.get_threads(), torch.get_num_threads()
    cases = [*_raster_cases(), _ssim_case(), *_rig_cases()]
    cases += [Case(*timed) for timed in (*field_cases(), *step_cases())]
    rows = []
    try:
        for count in threads:
            ops.set_threads(count)
            torch.set_num_threads(count)
            rows += [_row(case, count) for case in cases]
    finally:
        ops.set_threads(kernel_threads)
        torch.set_num_threads(torch_threads)
    return rows
