"""Small scenes and cameras for the tests of the rasterisers."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from avatar.evaluation.bench_scenes import head_scene
from cuda_ext.types import Cameras, Raster

FIELDS = ("means", "quats_wxyz", "scales", "opacities", "colors")
FLOAT_IMAGES = ("rgb", "alpha", "depth", "features", "normals")
"""What passes gradients."""


def scene(n: int, width: int = 70, height: int = 61, seed: int = 0) -> tuple[list[Tensor], Cameras]:
    """A head and a camera with its principal point off the middle."""
    g, camera = head_scene(n, height, seed)
    intrinsics = torch.tensor([[camera.fx, camera.fy * 1.05, width / 2 + 1.7, height / 2 - 0.4]])
    pose = torch.from_numpy(camera.T_camera_world)[None]
    return [getattr(g, f) for f in FIELDS], Cameras(width, height, intrinsics, pose)


def ring(cameras: Cameras, yaws: list[float], model: str = "pinhole") -> Cameras:
    """The camera turned about the head, in the given model, seeing about the same."""
    turns = torch.eye(4).repeat(len(yaws), 1, 1)
    angle = torch.tensor(yaws)
    turns[:, 0, 0] = turns[:, 2, 2] = angle.cos()
    turns[:, 0, 2], turns[:, 2, 0] = angle.sin(), -angle.sin()
    intrinsics = cameras.intrinsics.repeat(len(yaws), 1)
    if model == "orthographic":
        intrinsics[:, :2] /= 0.6
    return Cameras(cameras.width, cameras.height, intrinsics, cameras.T_camera_world @ turns, model)


def one_gaussian(**changes) -> list[Tensor]:
    values = dict(
        means=[0.0, 0.0, 1.0], quats_wxyz=[1.0, 0, 0, 0], scales=[0.05] * 3, opacities=0.8, colors=[1, 0.5, 0.25]
    )
    return [torch.tensor([dict(values, **changes)[f]], dtype=torch.float32) for f in FIELDS]


def identity_view(width: int = 33, height: int = 21) -> Cameras:
    return Cameras(width, height, torch.tensor([[40.0, 40.0, width / 2, height / 2]]), torch.eye(4)[None])


def leaves(tensors: list[Tensor], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    return [t.detach().to(dtype).clone().requires_grad_() for t in tensors]


def relative(got: Tensor, want: Tensor) -> float:
    return float((got.detach().double() - want.detach()).norm() / want.detach().norm().clamp(min=1e-30))


def images_of(raster: Raster) -> tuple[Tensor, ...]:
    """rgb, alpha and depth."""
    assert raster.rgb is not None
    return raster.rgb, raster.alpha, raster.depth


def weighted(raster: Raster, names: tuple[str, ...] = FLOAT_IMAGES) -> Tensor:
    """A loss that pulls every value of these images its own way."""
    generator = torch.Generator().manual_seed(5)
    images = [i for i in (getattr(raster, name) for name in names) if i is not None]
    return torch.stack([(i * torch.randn(i.shape, generator=generator).to(i)).sum() for i in images]).sum()


def moved(cameras: Cameras, shift: float) -> Cameras:
    """The cameras and beside each the same, `shift` metres along its x axis."""
    beside = cameras.T_camera_world.clone()
    beside[:, 0, 3] -= shift
    pose = torch.cat([cameras.T_camera_world, beside])
    return Cameras(cameras.width, cameras.height, cameras.intrinsics.repeat(2, 1), pose, cameras.model)


def numpy_pose(cameras: Cameras) -> np.ndarray:
    return cameras.T_camera_world[0].numpy()
