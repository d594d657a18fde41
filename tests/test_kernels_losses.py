"""Photometric loss and SSIM against their float64 twins."""

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


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("which", [0, 1])
def test_nan_and_infinity_are_refused(lanes, bad, which):
    for pixel in (0, 7, -1):
        pair = image_pair(33, 21, 3)
        pair[which].view(-1)[pixel] = bad
        for weight in (0.0, 0.2, 1.0):
            with pytest.raises(ValueError, match="expected finite numbers"):
                ops.photometric_loss(*pair, weight)
        with pytest.raises(ValueError, match="expected finite numbers"):
            ops.ssim(*pair)
