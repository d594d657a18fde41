"""What the benchmark times of whole steps, fitting and playing: each beside the same made of torch operations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import numpy as np
import torch

from avatar.driving import PreparedMotion
from avatar.driving_maths import Statistics
from avatar.evaluation.bench_raster import ONE_VIEW
from avatar.evaluation.bench_scenes import HEAD_HEIGHT, rigged_head
from avatar.evaluation.bench_timing import Case
from avatar.export.cameras import stereo_pair
from avatar.fitting.steps import LEARNED, NativeStep, TorchStep, no_moments
from avatar.geometry import matrix_to_quat
from avatar.head.linear import LinearHead
from avatar.layers import HeadLayer, Layers, TorsoLayer
from avatar.model import to_uint8
from avatar.playback import Player
from avatar.renderer import render
from avatar.support import Support
from avatar.types import Camera, Motion
from cuda_ext import ops
from cuda_ext.rig_types import RigMesh, each_array

TORCH = "torch path"
SSIM_WEIGHT, MASK_WEIGHT = 0.2, 0.05


class Scene:
    """An avatar of n Gaussians in a size x size picture, with a motion of one frame."""

    def __init__(self, n: int, size: int) -> None:
        self.parts = mesh, pose, head, torso = rigged_head(n)
        self.layers = Layers(HeadLayer(*(getattr(head, f.name) for f in fields(HeadLayer))), TorsoLayer(*torso))
        self.head, self.neutral = _head_model(mesh), mesh.neutral
        focal = 0.75 * size * float(pose.translation[2]) / HEAD_HEIGHT
        self.camera = Camera(size, size, focal, focal, size / 2, size / 2)
        self.motion = Motion(
            np.zeros(1), pose.expression[None].numpy(), pose.joints[None].numpy(),
            matrix_to_quat(pose.rotation)[None].numpy(), pose.translation[None].numpy(), pose.torso[None].numpy(),
        )  # fmt: skip
        features = (pose.features[None], pose.torso_features[None], pose.torso[None])
        self.prepared = PreparedMotion(self.motion, *features, Support.full(1))
        self.plate = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)

    def gaussians(self):
        return self.layers.gaussians(self.head, self.neutral, self.prepared.frame(0))


def _head_model(mesh: RigMesh) -> LinearHead:
    v, f = len(mesh.neutral), len(mesh.faces)
    return LinearHead(
        name="ellipsoid",
        content_hash="",
        template=mesh.neutral,
        identity_basis=torch.zeros(1, v, 3),
        uvs=torch.zeros(f, 3, 2),
        regions=torch.zeros(v, dtype=torch.int64),
        **{name: tensor for name, tensor in mesh._asdict().items() if name != "neutral"},
    )


def _fit_step(name: str, n: int, size: int) -> Case:
    def stepper(kind) -> Callable[[], object]:
        scene = Scene(n, size)
        output = render(scene.gaussians(), scene.camera)
        rgba = to_uint8(torch.cat([output.rgb, output.alpha[..., None]], -1))
        plate = torch.from_numpy(scene.plate).float() / 255
        target = ops.FitTarget(rgba, None, plate, SSIM_WEIGHT, MASK_WEIGHT)
        step = kind(scene.head, scene.neutral, scene.layers, no_moments(scene.layers), scene.prepared, scene.camera)
        norms, delta = torch.zeros(len(scene.layers.head.means)), torch.zeros(58)
        rates = dict.fromkeys(LEARNED, 1e-9)  # every repetition times the same picture
        return lambda: step.run(0, target, delta, rates, 1, norms, want_delta_gradient=True)

    return Case(name, stepper(NativeStep), {TORCH: stepper(TorchStep)})


def _player(scene: Scene) -> Player:
    mesh, _, head, torso = scene.parts
    arrays = (
        each_array(mesh, torch.Tensor.numpy),
        each_array(head, torch.Tensor.numpy),
        each_array(torso, torch.Tensor.numpy),
    )
    space = Statistics(*(np.ones(3, np.float32) for _ in Statistics._fields))  # the motion is prepared already
    return Player(*arrays, space, scene.plate, scene.camera, scene.motion)


def _avatar_frame(name: str, n: int, size: int) -> Case:
    scene = Scene(n, size)
    player = _player(scene)
    plate = torch.from_numpy(scene.plate).float() / 255

    @torch.inference_mode()
    def by_torch() -> object:
        return to_uint8(render(scene.gaussians(), scene.camera, background=plate).rgb)

    return Case(name, lambda: player.frame(scene.prepared, 0), {TORCH: by_torch})


def _avatar_stereo(name: str, n: int, size: int) -> Case:
    scene = Scene(n, size)
    player, pair = _player(scene), stereo_pair(scene.camera, scene.motion.translation[0])
    return Case(
        name, lambda: player.frames(scene.prepared, 0, pair), {ONE_VIEW: lambda: player.frame(scene.prepared, 0)}
    )


STEP_CASES: dict[str, Callable[[str], Case]] = {
    "fit_step 50k 512": lambda name: _fit_step(name, 50_000, 512),
    "fit_step 22k 256": lambda name: _fit_step(name, 22_000, 256),
    "avatar_frame 512": lambda name: _avatar_frame(name, 22_000, 512),
    "avatar_stereo 512": lambda name: _avatar_stereo(name, 22_000, 512),
}
"""How each case is made, by name: fitting steps (motion row in, moved parameters out) and a whole frame of a default
avatar (motion row in, 8-bit picture out), also for both eyes of a stereo pair."""
