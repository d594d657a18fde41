"""Heads made in code, as dense as a fitted avatar, for timings and tests."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from avatar.types import Camera, Gaussians
from cuda_ext.rig_types import RigHead, RigMesh, RigPose, RigTorso

HEAD_SEMI_AXES = np.array([0.075, 0.110, 0.095])
HEAD_HEIGHT = 0.22
CAMERA_DISTANCE = 0.6
_ROWS, _COLUMNS = 68, 69
_BLENDSHAPES, _FEATURES, _TORSO_FEATURES = 52, 16, 12
_TORSO_SHARE = 0.25


def splat_scales(n: int, rng: np.random.Generator, total: int) -> np.ndarray:
    """(n, 3) standard deviations, metres: 0.5..1.5 % of the head's height, scaled by sqrt(10,000 / total), half of that
    along the normal."""
    scales = HEAD_HEIGHT * np.exp(rng.uniform(np.log(0.005), np.log(0.015), (n, 3))) * np.sqrt(10_000 / total)
    scales[:, 2] *= 0.5
    return scales


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


def rigged_head(n: int, seed: int = 0) -> tuple[RigMesh, RigPose, RigHead, RigTorso]:
    """An ellipsoid of 4,692 vertices with 52 blendshapes that n Gaussians ride on, a quarter of them on a torso below;
    its pose is 0.6 m in front of an OpenCV camera at the origin."""
    rng = np.random.default_rng(seed)
    n_torso = int(_TORSO_SHARE * n)
    mesh = _mesh(rng)
    pose = RigPose(
        expression=_f32(rng.uniform(0, 0.5, _BLENDSHAPES)),
        joints=torch.zeros(4, 3),
        rotation=torch.diag(torch.tensor([1.0, -1.0, -1.0])),
        translation=torch.tensor([0.0, 0.0, 0.6]),
        features=_f32(rng.normal(size=_FEATURES)),
        torso_features=_f32(rng.normal(size=_TORSO_FEATURES)),
        torso=torch.tensor([0.001, 0.002, 0.01]),
    )
    return mesh, pose, _head(mesh, n - n_torso, n, rng), _torso(n_torso, n, rng)


def _f32(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))


def _mesh(rng: np.random.Generator) -> RigMesh:
    polar, around = np.meshgrid(
        np.linspace(0.02, np.pi - 0.02, _ROWS), np.arange(_COLUMNS) * 2 * np.pi / _COLUMNS, indexing="ij"
    )
    directions = np.stack([np.sin(polar) * np.cos(around), np.cos(polar), np.sin(polar) * np.sin(around)], -1)
    index = np.arange(_ROWS * _COLUMNS).reshape(_ROWS, _COLUMNS)
    here, right = index[:-1], np.roll(index, -1, 1)[:-1]
    below, across = index[1:], np.roll(index, -1, 1)[1:]
    faces = np.concatenate([np.stack([here, right, below], -1), np.stack([right, across, below], -1)]).reshape(-1, 3)
    vertices = directions.reshape(-1, 3) * HEAD_SEMI_AXES
    centres = vertices[rng.integers(0, len(vertices), _BLENDSHAPES)]
    near = np.exp(-(((vertices - centres[:, None]) / 0.03) ** 2).sum(-1))
    basis = 0.01 * near[..., None] * rng.normal(size=(_BLENDSHAPES, 1, 3))
    weights = np.zeros((len(vertices), 4))
    weights[:, 0] = (vertices[:, 1] + HEAD_SEMI_AXES[1]).clip(0, 0.05) / 0.05
    regressor = np.full((4, len(vertices)), 1 / len(vertices))
    return RigMesh(_f32(vertices), _f32(basis), torch.from_numpy(faces).int(), _f32(regressor), _f32(weights))


def _gaussians(n: int, total: int, features: int, rng: np.random.Generator, points: np.ndarray) -> dict[str, Tensor]:
    angle, opacity = rng.uniform(0, np.pi, n), rng.uniform(0.1, 0.95, n)
    colors = 0.5 + 0.4 * np.sin(points * [40.0, 31.0, 23.0] + [0.0, 1.0, 2.0]) + rng.uniform(-0.1, 0.1, (n, 3))
    return {
        "quats": _f32(np.stack([np.cos(angle), 0 * angle, 0 * angle, np.sin(angle)], 1)),
        "log_scales": _f32(np.log(splat_scales(n, rng, total))),
        "opacity_logits": _f32(np.log(opacity / (1 - opacity))),
        "colors": _f32(colors),
        "map_means": _f32(1e-4 * rng.normal(size=(n, 3, features))),
    }


def _head(mesh: RigMesh, n: int, total: int, rng: np.random.Generator) -> RigHead:
    corners = mesh.neutral.numpy()[mesh.faces.numpy()]
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    triangles = np.sort(rng.choice(len(areas), n, p=areas / areas.sum()))
    weights = rng.dirichlet(np.ones(3), n)
    points = np.einsum("nk,nkc->nc", weights, corners[triangles])
    return RigHead(
        triangles=torch.from_numpy(triangles).int(),
        barycentrics=_f32(weights),
        means=_f32(0.001 * rng.normal(size=(n, 3))),
        map_opacities=_f32(0.02 * rng.normal(size=(n, _FEATURES))),
        hang=_f32((rng.uniform(-3, 1, n)).clip(0)),
        hang_axes=_f32(np.tile(np.eye(3), (n, 1, 1))),
        **_gaussians(n, total, _FEATURES, rng, points),
    )


def _torso(n: int, total: int, rng: np.random.Generator) -> RigTorso:
    points = rng.uniform([-0.14, 0.09, 0.64], [0.14, 0.16, 0.66], (n, 3))
    return RigTorso(means=_f32(points), **_gaussians(n, total, _TORSO_FEATURES, rng, points))
