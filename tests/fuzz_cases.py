"""Random calls of the kernels' public functions for `fuzz_kernels`: sound ones, extreme ones and wrong ones."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avatar.driving_maths import Statistics
from avatar.playback import DrivenMotion, Player
from avatar.support import Support
from avatar.tracks import Camera, Motion
from cuda_ext import ops
from cuda_ext.camera_models import CAMERA_MODELS
from cuda_ext.ops.fit_step import HEAD_LEARNED
from cuda_ext.ops.tracking import PICTURE_CHANNELS
from cuda_ext.packed import PackedMap, pack_map
from cuda_ext.rig_types import RigHead, RigMesh, RigPose, RigTorso, each_array
from cuda_ext.triplane_layout import TriplaneLayout
from cuda_ext.types import HARMONICS, Cameras

Call = tuple[Callable[..., Any], dict[str, Any]]
"""What to call, and with which arguments by name."""

EDGES = (0, 1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129)
NUMBERS = (0.0, -0.0, 1e-42, -1e-42, 1e-30, 1e30, 1e38, -3.4e38, float("nan"), float("inf"), float("-inf"))
SIZES = (0, -1, 1, 2**15, 2**31 - 1, 2**31, -(2**31), 2**62, 1.5, float("nan"), None, "x")
DTYPES = (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8, torch.bool, torch.cfloat)


class Draw:
    """Random values that depend on the seed only. `wild`: some are extreme, though of the right type and shape."""

    def __init__(self, seed: str, wild: bool) -> None:
        self.rng, self.wild = random.Random(seed), wild
        self.generator = torch.Generator().manual_seed(self.rng.getrandbits(60))

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def size(self, most: int = 300, least: int = 0) -> int:
        size = self.rng.choice(EDGES) if self.chance(0.6) else self.rng.randint(0, most)
        return max(least, min(size, most))

    def floats(self, *shape: int, scale: float = 1.0, shift: float = 0.0) -> Tensor:
        values = shift + scale * torch.randn(*shape, generator=self.generator)
        if self.wild and self.chance(0.2):
            values *= 10.0 ** self.rng.randint(-45, 38)
        if self.wild and values.numel() and self.chance(0.2):
            for _ in range(self.rng.randint(1, 5)):
                values.view(-1)[self.rng.randrange(values.numel())] = self.rng.choice(NUMBERS)
        return values.requires_grad_(self.chance(0.7))

    def share(self, *shape: int) -> Tensor:
        return self.floats(*shape).detach().sigmoid()

    def indices(self, below: int, *shape: int) -> Tensor:
        values = torch.randint(0, max(below, 1), shape, generator=self.generator, dtype=torch.int32)
        if self.wild and values.numel() and self.chance(0.2):
            values.view(-1)[self.rng.randrange(values.numel())] = self.rng.choice((-1, below, 2**31 - 1, -(2**31)))
        return values

    def number(self, usual: float) -> float:
        return self.rng.choice(NUMBERS) if self.wild and self.chance(0.1) else usual * self.rng.uniform(0.5, 2)


def _pose(draw: Draw, distance: float = 1.0) -> Tensor:
    skew = 0.3 * draw.floats(3, 3).detach()
    pose = torch.eye(4)
    pose[:3, :3] = torch.linalg.matrix_exp(skew - skew.T) if skew.abs().max() < 10 else skew
    pose[:3, 3] = torch.tensor([draw.number(0.01), draw.number(0.01), draw.number(distance)])
    return pose


def _cameras(draw: Draw) -> Cameras:
    count, width, height = draw.rng.randint(1, 4), draw.size(200, 1), draw.size(200, 1)
    poses = torch.stack([_pose(draw) for _ in range(count)])
    if draw.chance(0.5):  # a row of cameras side by side
        poses[1:] = poses[0]
        poses[:, 0, 3] += 0.06 * torch.arange(count)
    focal = draw.number(width)
    row = torch.tensor([focal, focal, draw.number(width / 2), draw.number(height / 2)])
    return Cameras(width, height, row.repeat(count, 1), poses.requires_grad_(draw.chance(0.5)),
                   draw.rng.choice(CAMERA_MODELS))  # fmt: skip


def rasterize(draw: Draw) -> Call:
    n, k = draw.size(400), draw.rng.choice(HARMONICS)
    ops.set_memory_limit(draw.rng.choice((1, 4, 512)))
    return ops.rasterize, {
        "means": draw.floats(n, 3, scale=0.3),
        "quats_wxyz": draw.floats(n, 4),
        "scales": draw.floats(n, 3, scale=0.03),
        "opacities": draw.floats(n, scale=0.3, shift=0.5),
        "colors": draw.rng.choice((None, draw.floats(n, 3), draw.floats(n, k, 3))),
        "cameras": _cameras(draw),
        "features": draw.floats(n, draw.rng.randint(1, 32)) if draw.chance(0.4) else None,
        "labels": draw.indices(20, n) if draw.chance(0.4) else None,
        "median_depth": draw.chance(0.5),
        "normals": draw.chance(0.5),
    }


def photometric(draw: Draw) -> Call:
    shape = draw.size(90), draw.size(90), draw.size(9)
    arguments: dict[str, Any] = {"image": draw.floats(*shape), "target": draw.floats(*shape)}
    if draw.chance(0.3):
        return ops.ssim, arguments
    return ops.photometric_loss, arguments | {"ssim_weight": draw.rng.choice((0.0, 0.2, 1.0, draw.number(0.5)))}


def _rig(draw: Draw) -> dict[str, Any]:
    v, f, m = draw.size(100), draw.size(150), draw.size(20)
    n, torso, k, kt = draw.size(200), draw.size(200), draw.size(40), draw.size(40)
    if min(v, f) < 1:
        v = f = n = 0

    def gaussians(n: int, k: int) -> dict[str, Tensor]:
        return {
            "means": draw.floats(n, 3, scale=0.1), "quats": draw.floats(n, 4),
            "log_scales": draw.floats(n, 3, shift=-3), "opacity_logits": draw.floats(n), "colors": draw.floats(n, 3),
            "map_means": draw.floats(n, 3, k, scale=0.1),
        }  # fmt: skip

    mesh = RigMesh(draw.floats(v, 3), draw.floats(m, v, 3, scale=0.1), draw.indices(v, f, 3), draw.share(4, v),
                   draw.share(v, 4) / 4)  # fmt: skip
    place = _pose(draw)
    pose = RigPose(draw.share(m), draw.floats(4, 3), place[:3, :3], place[:3, 3].clone(), draw.floats(k),
                   draw.floats(kt), draw.floats(3, scale=0.1))  # fmt: skip
    head = RigHead(triangles=draw.indices(f, n), barycentrics=draw.share(n, 3), map_opacities=draw.floats(n, k),
                   hang=draw.share(n), hang_axes=draw.floats(n, 3, 3).detach(), **gaussians(n, k),
                   map_colors=draw.floats(n, 3, k, scale=0.1) if draw.chance(0.4) else None)  # fmt: skip
    return {"mesh": mesh, "pose": pose, "head": head, "torso": RigTorso(**gaussians(torso, kt))}


def rig(draw: Draw) -> Call:
    return ops.rig, _rig(draw)


def _detached(part: Any) -> Any:
    return each_array(part, lambda t: t.detach())


def fit_step(draw: Draw) -> Call:
    parts = {name: _detached(part) for name, part in _rig(draw).items()}
    head, torso, rows = parts["head"], parts["torso"], draw.rng.randint(1, 3)
    width, height = draw.size(70, 1), draw.size(70, 1)
    bytes_ = np.random.default_rng(draw.rng.getrandbits(32))
    target = ops.FitTarget(
        bytes_.integers(0, 256, (height, width, 4), np.uint8),
        bytes_.random((height, width)) < 0.3 if draw.chance(0.5) else None,
        draw.share(3) if draw.chance(0.5) else draw.share(height, width, 3),
        0.2,
        0.05,
    )
    learned = len(HEAD_LEARNED) + (head.map_colors is not None) + len(RigTorso._fields)
    arguments = {
        "view": [width, height, draw.number(width), draw.number(width), draw.number(width / 2), height / 2],
        "T_camera_world": np.asarray(_pose(draw)),
        "mesh": parts["mesh"],
        "poses": RigPose(*(t.expand(rows, *t.shape) for t in parts["pose"])),
        "row": draw.rng.randrange(rows),
        "head": head,
        "torso": torso,
        "moments": ops.AdamMoments.zeros(head, torso),
        "rates": [abs(draw.number(1e-3)) for _ in range(learned)],
        "count": draw.rng.randint(1, 9),
        "target": target,
        "delta": draw.floats(6 + len(parts["pose"].expression), scale=0.01),
        "gradient_norms": torch.zeros(len(head.means)),
        "want_delta_gradient": draw.chance(0.5),
    }

    def run(mesh, poses, view, T_camera_world, row, head, torso, moments, rates, count, target, delta, gradient_norms,
            want_delta_gradient) -> Tensor | None:  # fmt: skip
        camera = dict(zip(("width", "height", "fx", "fy", "cx", "cy"), view, strict=True))
        step = ops.FitStep(mesh, poses, **camera, T_camera_world=T_camera_world)
        outcome = step.run(row, head, torso, moments, rates, count, target, delta, gradient_norms,
                           want_delta_gradient=want_delta_gradient)  # fmt: skip
        return outcome.delta_gradient

    return run, arguments


def adam(draw: Draw) -> Call:
    shapes = [tuple(draw.size(40) for _ in range(draw.rng.randint(0, 3))) for _ in range(draw.rng.randint(0, 4))]
    tensors = [[draw.floats(*shape).detach() for shape in shapes] for _ in range(4)]
    rates = [ops.AdamRates(draw.rng.random(), draw.rng.random(), draw.rng.random()) for _ in shapes]
    steps = [draw.rng.choice((1, 2, 10_000, 2**40)) for _ in shapes]
    names = ("params", "grads", "exp_avgs", "exp_avg_sqs")
    return ops.adam_step, dict(zip(names, tensors, strict=True)) | {"steps": steps, "rates": rates}


def triplane(draw: Draw) -> Call:
    coarsest = draw.rng.choice((1, 2, 16, 100))
    layout = TriplaneLayout(draw.rng.randint(1, 8), draw.rng.choice((1, 2, 4, 8)), draw.rng.randint(2, 9), coarsest,
                            coarsest * draw.rng.choice((1, 7, 300)))  # fmt: skip
    points = draw.share(draw.size(), 3) if draw.chance(0.5) else draw.floats(draw.size(), 3)
    return ops.hash_triplane, {"points": points, "table": draw.floats(*layout.table_shape), "layout": layout}


def kan(draw: Draw) -> Call:
    n, inputs, outputs, bases = draw.size(), draw.size(40), draw.size(70), draw.size(24)
    low = draw.number(-1)
    return ops.kan_layer, {
        "x": draw.floats(n, inputs),
        "spline_weight": draw.floats(outputs, inputs, bases),
        "base_weight": draw.floats(outputs, inputs),
        "grid_range": (low, low + draw.number(2)),
    }


def packed(draw: Draw) -> Call:
    values = draw.floats(draw.size(), draw.size(4), draw.size(64, 1)).detach().numpy()
    features = draw.floats(values.shape[2]).detach().numpy()
    storage = draw.rng.choice(("int8", "half"))
    if draw.chance(0.5):
        return lambda values, features: pack_map(values, storage).apply(features), dict(
            values=values, features=features
        )
    try:
        ready = pack_map(values, storage)
    except ValueError:
        ready = pack_map(np.zeros_like(values), storage)
    arguments = {"data": ready.data, "scales": ready.scales, "features": features}
    return lambda data, scales, features: PackedMap(data, scales).apply(features), arguments


def normal_matrix(draw: Draw) -> Call:
    frames, points, actions = draw.size(4), draw.size(), draw.size(70)
    shapes = {"basis": (points, 3, actions), "head": (frames, points, 3), "rows": (frames, points, 2, 3)}
    return ops.normal_matrix, {name: draw.floats(*shape).detach() for name, shape in shapes.items()}


def align(draw: Draw) -> Call:
    frames, points, width, height = draw.size(4), draw.size(), draw.size(40, 1), draw.size(40, 1)
    pictures = draw.floats(frames, height, width, PICTURE_CHANNELS).detach()
    rotation, translation = draw.floats(frames, 3, 3).detach(), draw.floats(frames, 3, shift=draw.number(2)).detach()
    lens = (draw.number(width), draw.number(width / 2), draw.number(height / 2))
    head, weights = draw.floats(frames, points, 3).detach(), draw.share(frames, points)
    surface = ops.ColoredSurface(
        draw.floats(points, 3).detach(), draw.share(points, 3), draw.share(points), stride=draw.rng.randint(1, 5)
    )

    def run(views: ops.Views, head: Tensor, weights: Tensor, surface: ops.ColoredSurface) -> tuple[Tensor, ...]:
        found = ops.align(views, head, weights, surface)
        again = ops.alignment_cost(views, head, found.lit, found.trust)
        return found.lit, found.trust, found.gradient, found.rows, found.value, again

    views = ops.Views(pictures, lens, rotation, translation)
    return run, {"views": views, "head": head, "weights": weights, "surface": surface}


def playback(draw: Draw) -> Call:
    parts = {name: each_array(part, lambda t: t.detach().numpy()) for name, part in _rig(draw).items()}
    pose, frames = parts["pose"], draw.rng.randint(1, 3)
    width, height, model = draw.size(70, 1), draw.size(70, 1), draw.rng.choice(CAMERA_MODELS)

    def rows(array: np.ndarray) -> np.ndarray:
        return np.repeat(array[None], frames, 0)

    motion = Motion(np.arange(frames) / 25, rows(pose.expression), rows(pose.joints),
                    rows(np.array([1, 0, 0, 0], np.float32)), rows(pose.translation), rows(pose.torso))  # fmt: skip
    arguments = {
        "mesh": parts["mesh"], "head": parts["head"], "torso": parts["torso"],
        "plate": np.zeros((height, width, 3), np.uint8),
        "cameras": [Camera(width, height, draw.number(width), draw.number(width), width / 2, height / 2,
                           np.asarray(_pose(draw)), model) for _ in range(draw.rng.randint(1, 3))],
        "driven": DrivenMotion(
            motion, rows(pose.features), rows(pose.torso_features), rows(pose.torso), Support.full(frames)
        ),
        "index": draw.rng.randrange(frames),
        "background": draw.rng.choice(("plate", "none", (0.1, draw.number(0.5), 0.3))),
        "maps": draw.rng.choice(("float32", "half", "int8")),
    }  # fmt: skip
    space = Statistics(*(np.ones(3, np.float32) for _ in Statistics._fields))

    def run(mesh, head, torso, plate, cameras, driven, index, background, maps) -> list[np.ndarray]:
        own = Camera(width, height, width, width, width / 2, height / 2)
        return Player(mesh, head, torso, space, plate, own, motion, maps).frames(driven, index, cameras, background)

    return run, arguments


CASES: dict[str, Callable[[Draw], Call]] = {
    f.__name__: f
    for f in (
        rasterize,
        photometric,
        rig,
        fit_step,
        adam,
        triplane,
        kan,
        packed,
        normal_matrix,
        align,
        playback,
    )  # fmt: skip
}


def spoiled(value: Any, draw: Draw) -> Any:
    """`value` made wrong in one place: type, shape, memory order, device or number."""
    for kind, spoil in (
        (Tensor, _spoiled_tensor),
        (np.ndarray, _spoiled_array),
        (bool, lambda v, d: d.rng.choice((v, None))),
        (int, lambda _, d: d.rng.choice(SIZES)),
        (float, lambda _, d: d.rng.choice((*NUMBERS, -1.0, 1e300, None, "x"))),
        (str, lambda _, d: d.rng.choice(("", "nonsense", None))),
        ((list, tuple), _spoiled_items),
    ):
        if isinstance(value, kind):
            return spoil(value, draw)
    if not dataclasses.is_dataclass(value):
        return value
    name = draw.rng.choice([f.name for f in dataclasses.fields(value)])
    return dataclasses.replace(value, **{name: spoiled(getattr(value, name), draw)})  # pyright: ignore[reportArgumentType]


def _spoiled_items(values: Any, draw: Draw) -> Any:
    """A list, tuple or named tuple with one item spoiled, or a list that is too short."""
    if not values or (isinstance(values, list) and draw.chance(0.2)):
        return values[:-1]
    at = draw.rng.randrange(len(values))
    items = [spoiled(v, draw) if i == at else v for i, v in enumerate(values)]
    return type(values)(*items) if hasattr(values, "_fields") else type(values)(items)


def _spoiled_tensor(t: Tensor, draw: Draw) -> Any:
    t = t.detach()
    ways: list[Callable[[], Any]] = [
        lambda: t.to(draw.rng.choice(DTYPES)), lambda: t.to("meta"), t.tolist, t.numpy,
        lambda: None, lambda: t[None], lambda: t.reshape(-1), lambda: t[..., :0], t.to_sparse,
        lambda: torch.cat([t, t]), lambda: t[1:], lambda: torch.stack([t, t], -1)[..., 0], lambda: t.mT,
        lambda: t.reshape(-1)[:1].expand(t.shape), lambda: torch.nn.functional.pad(t, (0, 1)),
    ]  # fmt: skip
    try:
        return draw.rng.choice(ways)()
    except (RuntimeError, NotImplementedError, IndexError):  # torch can't spoil this shape so: the case stays sound
        return t


def _spoiled_array(a: np.ndarray, draw: Draw) -> Any:
    ways: list[Callable[[], Any]] = [
        lambda: a.astype(draw.rng.choice((np.float64, np.float16, np.int64, np.uint8))), a.tolist,
        lambda: a[None], a.ravel, lambda: a[..., :0], lambda: np.concatenate([a, a]), lambda: a[1:],
        lambda: a[::-1], lambda: np.stack([a, a], -1)[..., 0], lambda: np.moveaxis(a, 0, -1), lambda: None,
    ]  # fmt: skip
    try:
        return draw.rng.choice(ways)()
    except (ValueError, IndexError):
        return a
