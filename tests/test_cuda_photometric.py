"""The CUDA L1 + SSIM kernels' own source, run on the CPU, against float64 and against the CPU kernels."""

from __future__ import annotations

import pytest
import torch
from simt_launcher import SimtLauncher
from test_cuda_raster import gpu, relative
from test_kernels_losses import image_pair

from cuda_ext import ops, reference
from cuda_ext.gpu import photometric


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("shape", [(48, 64, 3), (5, 3, 3), (1, 1, 1), (17, 33, 4)])
@pytest.mark.parametrize("weight", [0.0, 0.2, 1.0])
def test_photometric_loss_matches_float64_reference_and_cpu_kernels(seed, shape, weight):
    image, target = image_pair(*shape)
    inputs = [image.clone().requires_grad_(), image.clone().requires_grad_(), image.double().requires_grad_()]
    got, cpu, want = (
        gpu(seed).photometric_loss(inputs[0], target, weight),
        ops.photometric_loss(inputs[1], target, weight),
        reference.photometric_loss(inputs[2], target.double(), weight),
    )
    assert got.item() == pytest.approx(want.item(), abs=1e-5) and got.item() == pytest.approx(cpu.item(), abs=1e-6)
    slope, other, twin = (torch.autograd.grad(3 * x, i)[0] for x, i in zip((got, cpu, want), inputs, strict=True))
    assert relative(slope, twin) < 1e-4
    assert relative(slope, other.double()) < 1e-4
    assert gpu(seed).ssim(image, target) == pytest.approx(ops.ssim(image, target), abs=1e-6)


def test_a_batch_is_its_pairs_one_by_one():
    launcher, pairs = SimtLauncher(seed=2), [image_pair(20, 19, 3, seed=s) for s in range(3)]
    image, target = (torch.stack(p) for p in zip(*pairs, strict=True))
    same = photometric.compare(launcher, image, target, with_maps=True)
    slopes = torch.tensor([1.0, 0.0, -2.0])
    gradient = photometric.compare_backward(launcher, image, target, same.maps, slopes, 0.3)
    for k, (a, b) in enumerate(pairs):
        leaf = a.requires_grad_()
        loss = ops.photometric_loss(leaf, b, 0.3)
        assert 0.7 * same.l1[k] + 0.3 * (1 - same.ssim[k]) == pytest.approx(loss.item(), abs=1e-6)
        torch.testing.assert_close(gradient[k], slopes[k] * torch.autograd.grad(loss, leaf)[0], atol=1e-8, rtol=1e-4)


def test_bad_input_is_explained(unchecked_shapes):
    image, target = image_pair(8, 8, 3)
    with pytest.raises(ValueError, match=r"target: expected shape \(8, 8, 3\), got \(8, 7, 3\)"):
        gpu().photometric_loss(image, target[:, :7])
    with pytest.raises(ValueError, match="at least one value"):
        gpu().photometric_loss(image[:0], target[:0])
    with pytest.raises(ValueError, match="ssim_weight: expected 0..1, got 1.5"):
        gpu().photometric_loss(image, target, 1.5)
