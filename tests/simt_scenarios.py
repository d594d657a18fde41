"""One run of every kernel file at sizes that reach all of its loops, for the tests of missing barriers and of memory.

As a program it runs all scenarios with the address and undefined-behaviour sanitizers compiled in:

    LD_PRELOAD=libasan.so python simt_scenarios.py
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from raster_scenes import leaves, ring, scene, weighted
from rig_parts import rig_parts
from simt_launcher import SANITIZE, GuardedLauncher, SimtLauncher
from test_kernels_fields import edges
from torch import Tensor

from cuda_ext.gpu import photometric, raster
from cuda_ext.gpu import rig as rigs
from cuda_ext.gpu.ops import GpuOps


def random_splats(n: int, seed: int = 0) -> raster.Scene:
    """Gaussians that fill a small image at z = 1..2."""
    generator = torch.Generator().manual_seed(seed)
    means = torch.rand(n, 3, generator=generator) - torch.tensor([0.5, 0.5, -1.0])
    shape = torch.rand(n, 8, generator=generator)
    return raster.Scene(means, shape[:, :4] - 0.5, 0.02 + 0.05 * shape[:, 4:7], 0.05 + 0.3 * shape[:, 7])


def small_views(count: int, width: int, height: int, distance: float = 0.0) -> raster.Views:
    """Equal cameras that look along z, so far before the origin."""
    pose = torch.eye(4)
    pose[2, 3] = distance
    row = [float(width), float(width), width / 2, height / 2, *pose[:3].flatten().tolist()]
    return raster.Views(torch.tensor([row] * count), width, height)


def rasterize(launcher: SimtLauncher, channels: int = 3, n: int = 900) -> list[Tensor]:
    """Tiles with several batches of splats, forward and backward."""
    scene, views = random_splats(n), small_views(2, 20, 18)
    values = torch.rand(n, channels, generator=torch.Generator().manual_seed(1))
    projected = raster.project(launcher, scene, views, 1 << 13)
    images = raster.draw(launcher, projected, values, views)
    slopes = (torch.ones_like(images.values), torch.ones_like(images.alpha), torch.ones_like(images.depth))
    sums = raster.draw_backward(launcher, projected, values, views, images, slopes)
    gradients, rows = raster.project_backward(launcher, scene, views, projected.rects, sums, with_views=True)
    drawn = [images.values, images.alpha, images.depth, raster.values_backward(launcher, sums, values)]
    return [*drawn, *gradients, *([] if rows is None else [rows]), projected.offsets]


def rasterize_every_width(launcher: SimtLauncher) -> list[Tensor]:
    """All raster kernels."""
    return [t for channels in raster.CHANNELS for t in rasterize(launcher, channels, n=200)]


def sort(launcher: SimtLauncher) -> list[Tensor]:
    """Histograms that are longer than a block is wide."""
    keys = torch.randint(0, 1 << 30, (2, 9000), generator=torch.Generator().manual_seed(2), dtype=torch.int32)
    return [raster.sort_by_key(launcher, keys)]


def compare(launcher: SimtLauncher) -> list[Tensor]:
    """Images of several blocks, whose borders lie inside blocks."""
    image, target = torch.rand(2, 2, 37, 41, 3, generator=torch.Generator().manual_seed(3))
    same = photometric.compare(launcher, image, target, with_maps=True)
    assert same.maps is not None
    gradient = photometric.compare_backward(launcher, image, target, same.maps, torch.ones(2), 0.5)
    return [same.l1, same.ssim, gradient]


def pose(launcher: SimtLauncher) -> list[Tensor]:
    """Mesh, riders, and riders drawn, forward and backward."""
    mesh, one, head, torso = rig_parts(200, 50, k=9, kt=11, color_map=True)
    poses = type(one)(*(torch.stack([t, t]) for t in one))
    leaves = [t.requires_grad_() for t in (poses.expression, poses.rotation, poses.translation)]
    moves = rigs.joint_moves(poses.joints, mesh.joint_regressor @ mesh.neutral).requires_grad_()
    vertices = rigs.PoseMesh.apply(launcher, mesh, leaves[0], moves, *leaves[1:])
    moving = (vertices, poses.features, poses.torso_features, poses.torso)
    riders = rigs.Riders(head, torso, mesh.faces, *moving)  # pyright: ignore[reportArgumentType]
    views = small_views(2, 33, 20, distance=6.0)  # nearer, gradients would hang on the order of sums
    inputs = rigs.inputs_of(riders)
    placed = rigs.PlaceRiders.apply(launcher, mesh.faces, *inputs)
    *drawn, _ = rigs.DrawRiders.apply(  # pyright: ignore[reportGeneralTypeIssues]
        launcher, views, 1 << 13, views.table, mesh.faces, *inputs
    )
    outputs = [*placed, *drawn]  # pyright: ignore[reportGeneralTypeIssues]
    gradients = torch.autograd.grad(sum(o.sum() for o in outputs), [*leaves, moves])
    return [vertices.detach(), *(o.detach() for o in outputs), *gradients]  # pyright: ignore[reportAttributeAccessIssue]


def kan(launcher: SimtLauncher) -> list[Tensor]:
    """More inputs than a tile has, more points than a block takes."""
    leaves = [t.detach().requires_grad_() for t in edges((40, 35, 7), 150)]
    value = GpuOps(lambda device: launcher).kan_layer(*leaves, (-1.5, 1.0))
    return [value.detach(), *torch.autograd.grad(value.sin().sum(), leaves)]


def show(launcher: SimtLauncher) -> list[Tensor]:
    """Harmonics, features, normals, labels and two cameras, forward and backward."""
    tensors, cameras = scene(150, 20, 18)
    colors = torch.rand(150, 9, 3, generator=torch.Generator().manual_seed(4))
    inputs = leaves([*tensors[:4], colors, tensors[4]])
    drawn = GpuOps(lambda device: launcher).rasterize(
        *inputs[:5], ring(cameras, [0.0, 0.3], "fisheye"), features=inputs[5], median_depth=True, normals=True,
        labels=torch.arange(150, dtype=torch.int32),
    )  # fmt: skip
    return [drawn.alpha.detach(), *torch.autograd.grad(weighted(drawn), inputs)]


SCENARIOS: dict[str, Callable[[SimtLauncher], list[Tensor]]] = {
    "kan": kan,
    "mesh": pose,
    "photometric": compare,
    "project": rasterize,
    "raster": rasterize,
    "rig": pose,
    "sort": sort,
    "tiles": rasterize,
}
"""By kernel file; one that is not here has a test of its own that would notice."""


def run_and_compare(folder: Path, stem: str, seed: int, want: list[np.ndarray]) -> None:
    """What a process does that runs broken kernels: it ends with an error unless all results are as wanted."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)  # fresh memory must not still hold the right results of an earlier run
    got = SCENARIOS[stem](GuardedLauncher(folder, seed=seed))
    same = all(np.allclose(a.numpy(), b, atol=1e-4, rtol=1e-3) for a, b in zip(got, want, strict=True))
    sys.exit(0 if same else 1)


def main() -> None:
    """Every scenario under the sanitizers, in a shuffled order; they end the program when they find something."""
    for scenario in (rasterize_every_width, sort, compare, pose, kan, show):
        launcher = SimtLauncher(seed=1, flags=SANITIZE)
        assert all(torch.isfinite(t.float()).all() for t in scenario(launcher))
        print(f"{scenario.__name__}: {len(launcher.launched)} launches", file=sys.stderr)


if __name__ == "__main__":
    main()
