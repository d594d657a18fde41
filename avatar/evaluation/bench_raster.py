"""What the benchmark times of rasteriser, image loss and rig."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager

import numpy as np
import torch

from avatar.evaluation import bench_rivals
from avatar.evaluation.bench_scenes import head_scene, rigged_head
from avatar.evaluation.bench_timing import Case
from avatar.export.cameras import stereo_pair
from avatar.renderer import camera_batch
from avatar.types import Gaussians
from cuda_ext import ops, reference
from cuda_ext.backends import native
from cuda_ext.rig_types import Part, each_array
from cuda_ext.types import Cameras

Scene = tuple[Gaussians, Cameras]
TWIN = "reference (torch)"
NARROW = "cpu, 4 lanes"
ONE_VIEW = "one view"


def _scene(n: int, size: int) -> Scene:
    gaussians, camera = head_scene(n, size)
    return gaussians, camera_batch([camera])


def _eyes(n: int, size: int) -> Scene:
    gaussians, camera = head_scene(n, size)
    return gaussians, camera_batch(stereo_pair(camera, np.zeros(3)))


def _rasterize(backend, g: Gaussians, cameras: Cameras):
    return backend.rasterize(g.means, g.quats_wxyz, g.scales, g.opacities, g.colors, cameras).rgb


def _forward(backend, scene: Scene) -> Callable[[], object]:
    return torch.no_grad()(lambda: _rasterize(backend, *scene))


def _both_ways(backend, scene: Scene) -> Callable[[], object]:
    """Forward and backward from a fixed random image gradient."""
    g, cameras = scene
    leaves = tuple(t.clone().requires_grad_() for t in (g.means, g.quats_wxyz, g.scales, g.opacities, g.colors))
    gaussians = Gaussians(*leaves)
    size = (len(cameras), cameras.height, cameras.width, 3)
    slope = torch.randn(size, generator=torch.Generator().manual_seed(1))
    return lambda: torch.autograd.grad(_rasterize(backend, gaussians, cameras), leaves, slope)


@contextmanager
def _narrow_vectors():
    module, lanes = native(), native().get_lanes()
    module.set_lanes(module.available_lanes()[0])
    try:
        yield
    finally:
        module.set_lanes(lanes)


def _narrow(run: Callable[[], object]) -> Callable[[], object]:
    """The same kernels on the narrowest vectors."""

    def narrow() -> object:
        with _narrow_vectors():
            return run()

    return narrow


def _forward_case(name: str, n: int, size: int) -> Case:
    scene = _scene(n, size)
    run = _forward(ops, scene)
    return Case(name, run, {NARROW: _narrow(run), **bench_rivals.forward_rivals(*scene)})


def _both_ways_case(name: str, n: int, size: int) -> Case:
    run = _both_ways(ops, _scene(n, size))
    return Case(name, run, {NARROW: _narrow(run)})


def _ssim_case(name: str, size: int) -> Case:
    generator = torch.Generator().manual_seed(2)
    image, target = torch.rand(2, size, size, 3, generator=generator)
    image.requires_grad_()

    def step(backend):
        return lambda: torch.autograd.grad(backend.photometric_loss(image, target), image)

    return Case(name, step(ops), {TWIN: step(reference)})


def _learned(part: Part) -> Part:
    """The same tensors as leaves of a graph."""
    return each_array(part, lambda t: t.clone().requires_grad_(t.is_floating_point()))


def _rig_case(name: str, n: int) -> Case:
    scene = rigged_head(n)
    forward = [torch.no_grad()(lambda b=backend: b.rig(*scene)) for backend in (ops, reference)]
    return Case(name, forward[0], {TWIN: forward[1]})


def _rig_both_ways_case(name: str, n: int) -> Case:
    mesh, pose, head, torso = rigged_head(n)
    learned = (_learned(pose), _learned(head), _learned(torso))
    leaves = [t for part in learned for t in part if t is not None and t.requires_grad]
    generator = torch.Generator().manual_seed(3)
    slopes = [torch.randn(n, *rest, generator=generator) for rest in ((3,), (4,), (3,), (), (3,))]

    def step(backend):
        return lambda: torch.autograd.grad(backend.rig(mesh, *learned), leaves, slopes, allow_unused=True)

    return Case(name, step(ops), {TWIN: step(reference)})


def _stereo_case(name: str, make: Callable[..., Callable[[], object]]) -> Case:
    return Case(name, make(ops, _eyes(50_000, 512)), {ONE_VIEW: make(ops, _scene(50_000, 512))})


def _tiny_case(name: str) -> Case:
    scene = _scene(1_000, 48)
    return Case(name, _both_ways(ops, scene), {TWIN: _both_ways(reference, scene)})


RASTER_CASES: dict[str, Callable[[str], Case]] = {
    "raster_fwd 50k 512": lambda name: _forward_case(name, 50_000, 512),
    "raster_fwd_bwd 50k 512": lambda name: _both_ways_case(name, 50_000, 512),
    "raster_fwd_bwd 22k 256": lambda name: _both_ways_case(name, 22_000, 256),
    "stereo 50k 512": lambda name: _stereo_case(name, _forward),
    "stereo_fwd_bwd 50k 512": lambda name: _stereo_case(name, _both_ways),
    "raster_fwd_bwd 1k 48": _tiny_case,
    "ssim 512": lambda name: _ssim_case(name, 512),
    "rig 50k": lambda name: _rig_case(name, 50_000),
    "rig_fwd_bwd 50k": lambda name: _rig_both_ways_case(name, 50_000),
}
"""How each case is made, by name; forward only unless the name says otherwise, "ssim" with its L1 and gradient."""
