"""The CUDA rig kernels' own source and host code, run on the CPU, against float64 and against the CPU kernels."""

from __future__ import annotations

import pytest
import torch
from raster_scenes import images_of, relative
from rig_parts import rig_parts
from test_cuda_raster import gpu, pull
from test_kernels_rig import FIXED, cast, with_gradients

from cuda_ext import ops, reference
from cuda_ext.gpu import rig as rigs
from cuda_ext.rig_types import RigPose
from cuda_ext.types import Cameras


def posed(parts, b: int) -> RigPose:
    """b poses, each a little different."""
    generator = torch.Generator().manual_seed(9)

    def vary(name: str, t: torch.Tensor) -> torch.Tensor:
        stack = torch.stack([t] * b)
        return stack if name == "rotation" else stack + 0.05 * torch.randn(stack.shape, generator=generator)

    return RigPose(**{name: vary(name, t) for name, t in parts[1]._asdict().items()})


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("k", "color_map"), [(16, False), (16, True), (1, False), (19, True)])
def test_rig_matches_float64_reference_and_cpu_kernels(seed, k, color_map):
    parts = rig_parts(300, 70, k=k, kt=k + 2, color_map=color_map)
    want, cpu = with_gradients(reference, torch.float64, parts), with_gradients(ops, torch.float32, parts)
    for name, got in with_gradients(gpu(seed), torch.float32, parts).items():
        # Crumpled triangles of any shape: the frames of slivers are badly conditioned.
        assert relative(got, want[name]) < (1e-4 if name.startswith("pose") else 1e-5), name
        assert relative(got, cpu[name].double()) < (1e-4 if name.startswith("pose") else 1e-5), name


def test_joint_moves_are_smooth_at_rest():
    parts = rig_parts(40, 10)
    parts = (parts[0], parts[1]._replace(joints=torch.zeros(4, 3)), *parts[2:])
    want = with_gradients(reference, torch.float64, parts)
    got = with_gradients(gpu(), torch.float32, parts)
    for name in ("means", "pose.joints", "pose.expression", "pose.torso"):
        assert relative(got[name], want[name]) < 1e-4, name


def head_on_screen(b: int, *, color_map: bool = False):
    """Parts whose Gaussians fill a small image, b poses, and a camera table."""
    mesh, pose, head, torso = rig_parts(250, 60, color_map=color_map)
    pose = pose._replace(translation=torch.tensor([0.0, 0, 9]), torso=torch.tensor([0.3, -0.2, 0.4]))
    head = head._replace(log_scales=head.log_scales + 1)
    torso = torso._replace(means=torso.means + torch.tensor([0.0, 0, 9]), log_scales=torso.log_scales + 1)
    parts = (mesh, pose, head, torso)
    view = torch.eye(4)[:3]
    rows = [[30.0 + f, 31.0, 20.0, 15.0, *view.flatten().tolist()] for f in range(b)]
    return parts, posed(parts, b), torch.tensor(rows)


@pytest.mark.parametrize(("seed", "color_map"), [(0, False), (5, True)])
def test_drawing_a_rig_is_rigging_and_then_drawing(seed, color_map):
    b, size = 2, dict(width=40, height=30)
    parts, poses, cameras = head_on_screen(b, color_map=color_map)
    mesh, _, head, torso = parts
    inputs = [cast(p, torch.float32) for p in (poses, head, torso)]
    cameras.requires_grad_()
    *images, flags = gpu(seed).draw_rig(mesh, *inputs, cameras, **size)
    assert flags[0].min() > 0 and not flags[1].any()
    learned = [t for p in inputs for name, t in p._asdict().items() if name not in FIXED and t is not None]
    got = pull(tuple(images), [*learned, cameras])
    exact = [cast(p, torch.float64) for p in (poses, head, torso)]
    mesh64 = cast(mesh, torch.float64, learn=False)
    table = cameras.detach().double().requires_grad_()
    drawn = []
    for f in range(b):
        world = reference.rig(mesh64, RigPose(*(t[f] for t in exact[0])), *exact[1:])
        bottom = torch.tensor([[0, 0, 0, 1.0]], dtype=torch.float64)
        pose = torch.cat([table[f, 4:].view(3, 4), bottom])[None]
        view = Cameras(**size, intrinsics=table[f : f + 1, :4].detach(), T_camera_world=pose)
        drawn.append([i[0] for i in images_of(reference.rasterize(*world, view))])
    stacked = tuple(torch.stack(i) for i in zip(*drawn, strict=True))
    for image, twin in zip(images, stacked, strict=True):
        assert relative(image, twin) < 1e-5
    learned64 = [t for p in exact for name, t in p._asdict().items() if name not in FIXED and t is not None]
    names = [name for p in inputs for name, t in p._asdict().items() if name not in FIXED and t is not None]
    for name, gradient, twin in zip([*names, "cameras"], got, pull(stacked, [*learned64, table]), strict=True):
        assert relative(gradient, twin) < 1e-3, name


def test_flags_tell_of_overflow_and_of_spoilt_gaussians():
    parts, poses, cameras = head_on_screen(2)
    mesh, _, head, torso = parts
    head.log_scales[4, 1] = float("nan")
    *images, flags = gpu().draw_rig(mesh, poses, head, torso, cameras, width=40, height=30, capacity=20)
    assert (flags[0] > 20).all() and flags[1].tolist() == [1, 1]
    assert all(torch.isfinite(i).all() for i in images)


@pytest.mark.parametrize("field", ["means", "map_opacities", "log_scales", "colors", "map_colors"])
def test_non_finite_input_is_refused(field):
    mesh, pose, head, torso = rig_parts(50, 20, color_map=True)
    spoiled = getattr(head, field).clone()
    spoiled.view(-1)[-1] = float("-inf")
    with pytest.raises(ValueError, match="1 of 70 Gaussians hold a NaN or infinity"):
        gpu().rig(mesh, pose, head._replace(**{field: spoiled}), torso)


@pytest.mark.parametrize(("n", "n_torso"), [(0, 0), (0, 5), (5, 0)])
def test_few_or_no_gaussians(n, n_torso):
    parts = rig_parts(n, n_torso)
    want = with_gradients(reference, torch.float64, parts)
    for name, got in with_gradients(gpu(), torch.float32, parts).items():
        torch.testing.assert_close(got.double(), want[name], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(("which", "value"), [("faces", 300), ("triangles", -1)])
def test_indices_outside_the_mesh_are_refused(which, value):
    mesh, pose, head, torso = rig_parts(50)
    (mesh.faces if which == "faces" else head.triangles).view(-1)[3] = value
    with pytest.raises(ValueError, match=f"{which}: an index lies outside the mesh of 300 vertices and 500 faces"):
        gpu().rig(mesh, pose, head, torso)


def test_rotations_are_exact():
    v = torch.tensor([[0.0, 0, 0], [1e-7, 0, 0], [0.3, -0.2, 0.5], [0, 3.1, 0]], dtype=torch.float64)
    K = torch.stack([torch.linalg.cross(v, e.expand_as(v)) for e in torch.eye(3, dtype=v.dtype)], -1)
    torch.testing.assert_close(rigs.rotations(v), torch.linalg.matrix_exp(K), atol=1e-12, rtol=0)
