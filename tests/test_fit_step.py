"""The native fitting step against the same step made of single operations and torch's own optimiser."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from raster_scenes import images_of
from torch import Tensor

from avatar.driving import perturb
from avatar.evaluation.bench_scenes import rigged_head
from avatar.types import HeadParams
from cuda_ext import backends, ops
from cuda_ext.ops.fit_step import HEAD_LEARNED, TORSO_LEARNED
from cuda_ext.rig_types import RigPose
from cuda_ext.types import Cameras

WIDTH, HEIGHT = 90, 75
VIEW = dict(width=WIDTH, height=HEIGHT, fx=200.0, fy=205.0, cx=46.0, cy=37.0, T_camera_world=np.eye(4))
CAMERAS = Cameras(WIDTH, HEIGHT, torch.tensor([[200.0, 205.0, 46.0, 37.0]]), torch.eye(4)[None])
RATES = [1.5e-4, 2e-3, 6e-3, 3e-2, 6e-3, 2e-5, 6e-3, 3e-4, 2e-3, 6e-3, 3e-2, 6e-3, 2e-5]
SSIM_WEIGHT, MASK_WEIGHT = 0.2, 0.05
NAMES = [f"head.{n}" for n in HEAD_LEARNED] + [f"torso.{n}" for n in TORSO_LEARNED]


def target(kind: str, seed: int = 0) -> ops.FitTarget:
    rng = np.random.default_rng(seed)
    rgba = rng.integers(0, 256, (HEIGHT, WIDTH, 4), np.uint8)
    covered = None
    if "covered" in kind:
        covered = np.zeros((HEIGHT, WIDTH), bool)
        covered[20:40, 30:60] = True
    plate = torch.from_numpy(rng.random((HEIGHT, WIDTH, 3), np.float32))
    behind = torch.tensor([0.2, 0.9, 0.5]) if "backdrop" in kind else plate
    return ops.FitTarget(rgba, covered, behind, SSIM_WEIGHT, MASK_WEIGHT)


def scene(n: int, color_map: bool):
    """(mesh, pose, head, torso), then what is learned and its rates."""
    mesh, pose, head, torso = rigged_head(n)
    first, rates = [getattr(head, x) for x in HEAD_LEARNED], list(RATES)
    if color_map:
        noise = torch.randn(*head.map_means.shape, generator=torch.Generator().manual_seed(5))
        head = head._replace(map_colors=0.02 * noise)
        first.append(head.map_colors)
        rates.insert(len(HEAD_LEARNED), 4e-3)
    return mesh, pose, head, torso, first + list(torso), rates


class Torch:
    """One fit made of single operations."""

    def __init__(self, n: int, color_map: bool = False):
        self.mesh, self.pose, self.head, self.torso, self.learned, rates = scene(n, color_map)
        groups = [{"params": [t.requires_grad_()], "lr": r} for t, r in zip(self.learned, rates, strict=True)]
        self.optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99), eps=1e-15, fused=True)
        self.norms = torch.zeros(len(self.head.means))

    def step(self, want: ops.FitTarget, delta: Tensor) -> tuple[float, float, Tensor]:
        delta = delta.clone().requires_grad_()
        p = self.pose
        params = perturb(HeadParams(p.expression, p.joints, p.rotation, p.translation), delta)
        pose = p._replace(expression=params.expression, rotation=params.rotation, translation=params.translation)
        means, *rest = ops.rig(self.mesh, pose, self.head, self.torso)
        means.retain_grad()
        rgb, alpha, _ = (i[0] for i in images_of(ops.rasterize(means, *rest, CAMERAS)))
        pixels = torch.from_numpy(want.rgba).float() * (1 / 255)
        picture, mask = pixels[..., :3], pixels[..., 3]
        if want.behind.ndim == 1:
            picture = mask[..., None] * picture + (1 - mask[..., None]) * want.behind
        image, off = rgb + (1 - alpha)[..., None] * want.behind, (alpha - mask).abs()
        free = torch.ones_like(mask).bool() if want.covered is None else ~torch.from_numpy(want.covered)
        picture, off = torch.where(free[..., None], picture, image.detach()), off * free
        loss = ops.photometric_loss(image, picture.contiguous(), SSIM_WEIGHT) + MASK_WEIGHT * off.mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.norms += means.grad[: len(self.norms)].norm(dim=1)
        error = (image - picture)[free].square().mean()
        return loss.item(), error.item(), delta.grad


class Native:
    def __init__(self, n: int, color_map: bool = False):
        mesh, pose, self.head, self.torso, self.learned, self.rates = scene(n, color_map)
        self.moments = ops.AdamMoments.zeros(self.head, self.torso)
        self.norms = torch.zeros(len(self.head.means))
        self.count = 0
        self.native = ops.FitStep(mesh, RigPose(*(t[None] for t in pose)), **VIEW)

    def step(self, want: ops.FitTarget, delta: Tensor) -> tuple[float, float, Tensor]:
        self.count += 1
        outcome = self.native.run(
            0, self.head, self.torso, self.moments, self.rates, self.count, want, delta, self.norms,
            want_delta_gradient=True,
        )  # fmt: skip
        return outcome.loss, outcome.mean_squared_error, outcome.delta_gradient


def small_delta() -> Tensor:
    scale = torch.tensor([0.05] * 3 + [0.005] * 3 + [0.1] * 52)
    return scale * torch.randn(58, generator=torch.Generator().manual_seed(3))


def relative(got: Tensor, want: Tensor) -> float:
    return float((got - want).detach().double().norm() / want.detach().double().norm().clamp(min=1e-30))


@pytest.mark.parametrize("lanes", backends.native().available_lanes())
@pytest.mark.parametrize("kind", ["plate", "backdrop", "plate, covered", "backdrop, covered"])
@pytest.mark.parametrize("color_map", [False, True])
def test_one_step_equals_single_operations(kind, lanes, color_map):
    backends.native().set_lanes(lanes)
    one, other = Torch(3000, color_map), Native(3000, color_map)
    want = one.step(target(kind), small_delta())
    got = other.step(target(kind), small_delta())
    assert got[0] == pytest.approx(want[0], rel=1e-5)
    assert got[1] == pytest.approx(want[1], rel=1e-5)
    assert relative(got[2], want[2]) < 1e-4
    assert relative(other.norms, one.norms) < 1e-4
    moments = other.moments
    names = [*NAMES[: len(HEAD_LEARNED)], *["head.map_colors"] * color_map, *NAMES[len(HEAD_LEARNED) :]]
    for name, tensor, first, second in zip(
        names, one.learned, moments.head_first + moments.torso_first, moments.head_second + moments.torso_second,
        strict=True,
    ):  # fmt: skip
        state = one.optimizer.state[tensor]
        assert relative(first, state["exp_avg"]) < 1e-4, name
        assert relative(second, state["exp_avg_sq"]) < 1e-4, name


def test_many_steps_go_the_same_way():
    """Adam's step is as long for a gradient of rounding errors as for any other, so a few values part company."""
    one, other = Torch(2000), Native(2000)
    delta = torch.zeros(58)
    for i in range(25):
        want, got = (fit.step(target("plate" if i % 4 else "backdrop", seed=i % 3), delta) for fit in (one, other))
        assert got[0] == pytest.approx(want[0], rel=1e-4), i
    for name, rate, a, b in zip(NAMES, RATES, one.learned, other.learned, strict=True):
        moved = (a - b).detach().abs()
        assert (moved < 0.02 * rate * 25).float().mean() > 0.98, name


def test_a_step_does_not_depend_on_threads():
    results = []
    for threads in (1, 2, 4):
        ops.set_threads(threads)
        fit = Native(6000, color_map=True)
        found = [fit.step(target("plate, covered"), small_delta()) for _ in range(3)]
        results.append([torch.tensor(f[:2], dtype=torch.float64) for f in found] + [f[2] for f in found] + fit.learned)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_nothing_moves_when_a_gaussian_is_not_finite():
    fit = Native(500)
    fit.head.log_scales[7] = float("nan")
    before = [t.clone() for t in fit.learned]
    with pytest.raises(ValueError, match="1 of 500 Gaussians hold a NaN or infinity"):
        fit.step(target("plate"), torch.zeros(58))
    assert all(torch.equal(a, b) or a.isnan().any() for a, b in zip(before, fit.learned, strict=True))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nothing_moves_when_the_loss_is_not_finite(value):
    fit, want = Native(500), target("plate")
    before = [t.clone() for t in fit.learned]
    want.behind[3, 4, 1] = value
    with pytest.raises(ValueError, match="the loss is not finite"):
        fit.step(want, torch.zeros(58))
    assert all(torch.equal(a, b) for a, b in zip(before, fit.learned, strict=True))


def test_copies_and_wrong_shapes_are_refused():
    fit = Native(500)
    strided = torch.stack([fit.head.means, fit.head.means], 1)[:, 0]
    want = target("plate")
    with pytest.raises(ValueError, match="head.means: expected a contiguous tensor"):
        fit.native.run(0, fit.head._replace(means=strided), fit.torso, fit.moments, RATES, 1, want, torch.zeros(58),
                       fit.norms, want_delta_gradient=False)  # fmt: skip
    with pytest.raises(ValueError, match=r"rgba: expected bytes of shape \(75, 90, 4\), got uint8 \(75, 80, 4\)"):
        fit.step(ops.FitTarget(want.rgba[:, :80].copy(), None, want.behind.mean((0, 1)), 0.2, 0.05), torch.zeros(58))
    mesh, pose, *_ = rigged_head(10)
    with pytest.raises(ValueError, match="image size: expected 1..16384 pixels a side, got 0 x 75"):
        ops.FitStep(mesh, RigPose(*(t[None] for t in pose)), **(VIEW | {"width": 0}))
    with pytest.raises(ValueError, match="camera: expected finite"):
        ops.FitStep(mesh, RigPose(*(t[None] for t in pose)), **(VIEW | {"fx": float("inf")}))
