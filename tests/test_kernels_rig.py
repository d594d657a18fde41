"""The rig kernel against its float64 twin: values, every gradient, reproducibility, odd input."""

from __future__ import annotations

import pytest
import torch
from rig_parts import rig_parts
from torch import Tensor

from cuda_ext import backends, ops, reference

LANES = backends.native().available_lanes()
OUTPUTS = ("means", "quats", "scales", "opacities", "colors")
FIXED = {"triangles", "barycentrics", "hang", "hang_axes", "faces"}


def cast(part, dtype: torch.dtype, learn: bool = True):
    """The part in another precision, its learned tensors as leaves."""
    given = {k: t for k, t in part._asdict().items() if t is not None}
    tensors = {k: t.to(dtype) if t.is_floating_point() else t for k, t in given.items()}
    return type(part)(**{k: t.requires_grad_() if learn and k not in FIXED else t for k, t in tensors.items()})


def with_gradients(backend, dtype: torch.dtype, parts) -> dict[str, Tensor]:
    """Outputs and gradients by name, from a fixed slope per output."""
    mesh, *moving = parts
    mesh, moving = cast(mesh, dtype, learn=False), [cast(part, dtype) for part in moving]
    outputs = backend.rig(mesh, *moving)
    loss = sum((o * torch.cos(torch.arange(o.numel(), dtype=dtype)).view(o.shape)).sum() for o in outputs)
    names = ("pose", "head", "torso")
    leaves = {
        f"{part}.{k}": t
        for part, tensors in zip(names, moving, strict=True)
        for k, t in tensors._asdict().items()
        if k not in FIXED and t is not None
    }
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    return dict(zip(OUTPUTS, outputs, strict=True)) | dict(zip(leaves, gradients, strict=True))


def relative(got: Tensor, want: Tensor) -> float:
    return float((got.detach().double() - want.detach()).norm() / want.detach().norm().clamp(min=1e-30))


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("color_map", [False, True])
@pytest.mark.parametrize("k", [16, 1, 11])
def test_rig_matches_float64_reference(lanes, k, color_map):
    backends.native().set_lanes(lanes)
    parts = rig_parts(k=k, kt=k + 2, color_map=color_map)
    want = with_gradients(reference, torch.float64, parts)
    for name, got in with_gradients(ops, torch.float32, parts).items():
        # Crumpled triangles of any shape: the frames of slivers are badly conditioned.
        assert relative(got, want[name]) < (1e-4 if name.startswith("pose") else 1e-5), name


def test_reference_passes_gradcheck():
    parts = rig_parts(3, 2, k=2, kt=2, color_map=True)
    mesh, pose, head, torso = (cast(part, torch.float64, learn=i > 0) for i, part in enumerate(parts))

    def run(map_colors, *values):
        return reference.rig(mesh, type(pose)(*values), head._replace(map_colors=map_colors), torso)

    assert torch.autograd.gradcheck(run, (head.map_colors, *pose), eps=1e-6, atol=1e-4)


def test_a_map_of_colors_changes_colors_only():
    mesh, pose, head, torso = rig_parts(color_map=True)
    plain = ops.rig(mesh, pose, head._replace(map_colors=None), torso)
    for resting in (pose._replace(features=torch.zeros(16)), pose):
        *placed, colors = ops.rig(mesh, resting, head, torso)
        *same, _ = ops.rig(mesh, resting, head._replace(map_colors=None), torso)
        assert all(torch.equal(a, b) for a, b in zip(placed, same, strict=True))
        moved = head.map_colors @ resting.features
        torch.testing.assert_close(colors[: len(head.means)], head.colors + moved, atol=1e-5, rtol=0)
        assert torch.equal(colors[len(head.means) :], plain[4][len(head.means) :])


def test_rig_does_not_depend_on_threads():
    parts = rig_parts(9000, 2000, color_map=True)
    results = []
    for count in (1, 2, 4):
        ops.set_threads(count)
        results.append(with_gradients(ops, torch.float32, parts))
    for other in results[1:]:
        assert all(torch.equal(results[0][name], other[name]) for name in other)


def test_joints_at_rest_leave_the_blendshapes_alone_and_still_have_gradients():
    mesh, pose, head, torso = rig_parts()
    parts = (mesh, pose._replace(joints=torch.zeros(4, 3)), head, torso)
    got, want = (with_gradients(b, t, parts) for b, t in ((ops, torch.float32), (reference, torch.float64)))
    for name in ("means", "pose.joints", "pose.expression"):
        assert relative(got[name], want[name]) < 1e-4


def test_gaussians_follow_a_rigid_motion_of_the_head():
    mesh, pose, head, torso = rig_parts(100)
    head = head._replace(hang=torch.zeros(100))
    R, t = torch.linalg.matrix_exp(torch.tensor([[0, 1.0, 2], [-1, 0, 3], [-2, -3, 0]])), torch.tensor([1.0, 2, 3])
    moved = pose._replace(rotation=R @ pose.rotation, translation=R @ pose.translation + t)
    here, there = ops.rig(mesh, pose, head, torso), ops.rig(mesh, moved, head, torso)
    torch.testing.assert_close(there[0][:100], here[0][:100] @ R.T + t, atol=2e-5, rtol=1e-5)
    turned = R @ reference.rotation_matrices(here[1][:100])
    torch.testing.assert_close(reference.rotation_matrices(there[1][:100]), turned, atol=5e-5, rtol=1e-5)
    assert all(torch.equal(a[100:], b[100:]) for a, b in zip(here, there, strict=True))


def test_hanging_hair_moves_but_does_not_turn():
    mesh, pose, head, torso = rig_parts(100)
    head = head._replace(hang=torch.ones(100))
    at_root = head._replace(means=torch.zeros(100, 3), map_means=torch.zeros_like(head.map_means))
    offsets = [
        ops.rig(mesh, p, head, torso)[0] - ops.rig(mesh, p, at_root, torso)[0]
        for p in (pose, pose._replace(rotation=torch.eye(3)))
    ]
    torch.testing.assert_close(offsets[0], offsets[1], atol=1e-5, rtol=1e-5)


def test_degenerate_triangles_stay_finite():
    mesh, pose, head, torso = rig_parts(100)
    flat = mesh.faces.clone()
    flat[:] = flat[:, :1]
    results = with_gradients(ops, torch.float32, (mesh._replace(faces=flat), pose, head, torso))
    assert all(torch.isfinite(t).all() for t in results.values())


@pytest.mark.parametrize(("n", "n_torso"), [(0, 0), (0, 5), (5, 0), (1, 1)])
def test_few_or_no_gaussians(n, n_torso):
    parts = rig_parts(n, n_torso)
    want = with_gradients(reference, torch.float64, parts)
    for name, got in with_gradients(ops, torch.float32, parts).items():
        assert got.shape == want[name].shape
        torch.testing.assert_close(got.double(), want[name], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("backend", [ops, reference])
def test_non_finite_input_is_refused(backend, value):
    mesh, pose, head, torso = rig_parts(50, 20, color_map=True)
    for part in (pose, head, torso):
        for name, tensor in part._asdict().items():
            if not tensor.is_floating_point() or name == "hang_axes":  # axes count only where hair hangs
                continue
            spoiled = tensor.clone()
            spoiled.view(-1)[0 if name == "hang" else -1] = value
            swapped = [p._replace(**{name: spoiled}) if p is part else p for p in (pose, head, torso)]
            with pytest.raises(ValueError, match=r"\d+ of 70 Gaussians hold a NaN or infinity"):
                backend.rig(mesh, *swapped)
    with pytest.raises(ValueError, match="70 Gaussians hold a NaN or infinity"):
        backend.rig(mesh._replace(neutral=mesh.neutral * value), pose, head, torso)
    one = head._replace(colors=head.colors.index_fill(0, torch.tensor([7]), value))
    with pytest.raises(ValueError, match="^1 of 70 Gaussians"):
        backend.rig(mesh, pose, one, torso)


@pytest.mark.parametrize(("which", "value"), [("faces", 300), ("faces", -1), ("triangles", 500), ("triangles", -1)])
def test_indices_outside_the_mesh_are_refused(which, value):
    mesh, pose, head, torso = rig_parts(50)
    spoiled = (mesh.faces if which == "faces" else head.triangles).clone()
    spoiled.view(-1)[3] = value
    if which == "faces":
        mesh = mesh._replace(faces=spoiled)
    else:
        head = head._replace(triangles=spoiled)
    with pytest.raises(ValueError, match=f"{which}: an index lies outside the mesh of 300 vertices and 500 faces"):
        ops.rig(mesh, pose, head, torso)


def test_wrong_input_is_explained():
    mesh, pose, head, torso = rig_parts(50)
    with pytest.raises(ValueError, match=r"head.map_means: expected shape \(50, 3, 15\), got \(50, 3, 16\)"):
        ops.rig(mesh, pose._replace(features=torch.zeros(15)), head, torso)
    with pytest.raises(ValueError, match=r"head.map_colors: expected shape \(50, 3, 16\), got \(50, 16\)"):
        ops.rig(mesh, pose, head._replace(map_colors=head.map_opacities), torso)
    with pytest.raises(TypeError, match="head.map_means: expected a torch.Tensor, got NoneType"):
        ops.rig(mesh, pose, head._replace(map_means=None), torso)
    with pytest.raises(TypeError, match="head.triangles: expected torch.int32"):
        ops.rig(mesh, pose, head._replace(triangles=head.triangles.long()), torso)
    with pytest.raises(TypeError, match="torso.colors: expected a torch.Tensor, got list"):
        ops.rig(mesh, pose, head, torso._replace(colors=[1.0]))


def test_gradients_of_a_rig_without_blendshapes_or_features():
    """Their empty tensors have no address: what stands beside them must get its gradient all the same."""
    mesh, pose, head, torso = rig_parts(n=40, n_torso=30, k=0, kt=0)
    mesh = mesh._replace(expression_basis=mesh.expression_basis[:0])
    pose = pose._replace(expression=pose.expression[:0])
    results = [
        with_gradients(backend, dtype, (mesh, pose, head, torso))
        for backend, dtype in ((ops, torch.float32), (reference, torch.float64))
    ]
    for name in ("pose.joints", "pose.rotation", "pose.translation", "pose.torso"):
        torch.testing.assert_close(results[0][name].double(), results[1][name], rtol=1e-3, atol=1e-3)
