"""Photometric loss, SSIM and mesh binding against their float64 twins."""

from __future__ import annotations

import pytest
import torch

from cuda_ext import backends, ops, reference

LANES = backends.native().available_lanes()


def image_pair(*shape: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    smooth = torch.rand(shape[2], 1, 4, 4, generator=generator)
    base = torch.nn.functional.interpolate(smooth, shape[:2], mode="bicubic").clamp(0, 1)[:, 0].permute(1, 2, 0)
    noise = 0.1 * torch.randn(2, *shape, generator=generator)
    return (base + noise[0]).contiguous(), (base + noise[1]).contiguous()


@pytest.fixture(params=LANES)
def lanes(request):
    module = backends.native()
    before = module.get_lanes()
    module.set_lanes(request.param)
    yield request.param
    module.set_lanes(before)


@pytest.mark.parametrize("shape", [(61, 70, 3), (5, 3, 3), (1, 1, 1), (40, 129, 1), (200, 17, 4)])
@pytest.mark.parametrize("weight", [0.0, 0.2, 1.0])
def test_photometric_loss_matches_float64_reference(lanes, shape, weight):
    image, target = image_pair(*shape)
    inputs = image.requires_grad_(), image.detach().double().requires_grad_()
    got, want = (
        ops.photometric_loss(inputs[0], target, weight),
        reference.photometric_loss(inputs[1], target.double(), weight),
    )
    assert got.item() == pytest.approx(want.item(), abs=1e-5)
    slope, twin = torch.autograd.grad(3 * got, inputs[0])[0], torch.autograd.grad(3 * want, inputs[1])[0]
    assert float((slope - twin).norm() / twin.norm()) < 1e-4
    assert ops.ssim(image, target) == pytest.approx(reference.ssim(inputs[1], target.double()), abs=1e-5)


def test_loss_of_equal_images_is_zero_with_zero_gradient(lanes):
    image = image_pair(40, 50, 3)[0].requires_grad_()
    loss = ops.photometric_loss(image, image.detach().clone())
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    assert torch.autograd.grad(loss, image)[0].abs().max() < 1e-6
    assert ops.ssim(image, image) == pytest.approx(1.0, abs=1e-6)


def test_loss_input_is_checked(unchecked_shapes):
    image, target = image_pair(8, 8, 3)
    with pytest.raises(ValueError, match=r"target: expected shape \(8, 8, 3\), got \(8, 7, 3\)"):
        ops.photometric_loss(image, target[:, :7])
    with pytest.raises(ValueError, match="at least one value"):
        ops.photometric_loss(image[:0], target[:0])
    with pytest.raises(ValueError, match="ssim_weight"):
        ops.photometric_loss(image, target, 1.5)
    with pytest.raises(TypeError, match="target"):
        ops.ssim(image, target.double())


def test_loss_takes_strided_images():
    image, target = image_pair(20, 30, 3)
    flipped = image.permute(1, 0, 2), target.permute(1, 0, 2)
    want = ops.photometric_loss(flipped[0].contiguous(), flipped[1].contiguous())
    assert ops.photometric_loss(*flipped).item() == want.item()


def rig(n: int = 3000, seed: int = 0) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    vertices = torch.randn(60, 3, generator=generator)
    faces = torch.stack([torch.randperm(60, generator=generator)[:3] for _ in range(90)]).int()
    triangles = torch.randint(0, 90, (n,), generator=generator, dtype=torch.int32)
    weights = torch.rand(n, 3, generator=generator)
    weights = weights / weights.sum(1, keepdim=True)
    return (vertices, faces, triangles, weights,
            torch.randn(n, 3, generator=generator), torch.randn(n, 4, generator=generator))  # fmt: skip


def bind_with_gradients(backend, dtype: torch.dtype, parts: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    vertices, faces, triangles, weights, means, quats = parts
    inputs = [t.to(dtype).requires_grad_() for t in (vertices, means, quats)]
    outputs = backend.bind(inputs[0], faces, triangles, weights.to(dtype), inputs[1], inputs[2])
    loss = sum((o * torch.cos(torch.arange(o.numel(), dtype=dtype)).view(o.shape)).sum() for o in outputs)
    return [*outputs, *torch.autograd.grad(loss, inputs)]


def test_bind_matches_float64_reference():
    parts = rig()
    for got, want in zip(
        bind_with_gradients(ops, torch.float32, parts),
        bind_with_gradients(reference, torch.float64, parts),
        strict=True,
    ):
        assert float((got.double() - want).detach().norm() / want.detach().norm()) < 1e-5


def test_bind_does_not_depend_on_threads():
    parts, threads = rig(20_000), ops.get_threads()
    results = []
    for count in (1, 2, 4):
        ops.set_threads(count)
        results.append(bind_with_gradients(ops, torch.float32, parts))
    ops.set_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_bound_gaussians_follow_a_rigid_motion():
    vertices, faces, triangles, weights, means, quats = rig(100)
    R = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1)))[0]
    R = R * torch.sign(torch.linalg.det(R))
    here, here_quats = ops.bind(vertices, faces, triangles, weights, means, quats)
    there, there_quats = ops.bind((vertices @ R.T + 2).contiguous(), faces, triangles, weights, means, quats)
    torch.testing.assert_close(there, here @ R.T + 2, atol=2e-5, rtol=1e-5)
    turned = R @ reference.rotation_matrices(here_quats)
    torch.testing.assert_close(reference.rotation_matrices(there_quats), turned, atol=2e-5, rtol=1e-5)


def test_bind_survives_degenerate_triangles():
    vertices, faces, triangles, weights, means, quats = rig(100)
    faces[:] = faces[:, :1]
    outputs = ops.bind(vertices, faces, triangles, weights, means, quats)
    assert all(torch.isfinite(o).all() for o in outputs)


@pytest.mark.parametrize(("which", "value"), [(1, 60), (1, -1), (2, 90), (2, -1)])
def test_bind_refuses_indices_outside_the_mesh(which, value):
    parts = list(rig(50))
    parts[which] = parts[which].clone()
    parts[which].view(-1)[3] = value
    with pytest.raises(ValueError, match=f"{('faces', 'triangles')[which - 1]}: an index lies outside the mesh"):
        ops.bind(*parts)
