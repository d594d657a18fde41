"""Which hash tri-plane encoder is taken, and what is said where it can't run."""

from __future__ import annotations

import types

import pytest
import torch

from cuda_ext import encoders, ops
from cuda_ext.backends import BackendMissing, UnknownBackend
from cuda_ext.triplane_layout import TriplaneLayout

LAYOUT = TriplaneLayout(levels=3, features=2, log2_rows=8, coarsest=4, finest=60)


def test_auto_is_our_own_kernel_and_learns():
    torch.manual_seed(0)
    encoder = encoders.triplane_encoder(LAYOUT)
    points = torch.rand(200, 3)
    assert torch.equal(encoder(points), ops.hash_triplane(points, encoder.table, LAYOUT))
    optimizer, target = ops.Adam(encoder.parameters(), lr=1e-2), torch.sin(7 * points[:, :1])
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = (encoder(points).sum(1, keepdim=True) - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.02 * losses[0]


def test_reference_gives_the_same():
    encoder = encoders.triplane_encoder(LAYOUT, "reference")
    points = torch.rand(50, 3)
    torch.testing.assert_close(encoder(points), ops.hash_triplane(points, encoder.table, LAYOUT), atol=1e-8, rtol=1e-4)


def test_unknown_names_are_refused():
    with pytest.raises(
        UnknownBackend, match="no encoder is called 'nonsense'; there are: auto, cpu, cuda, reference, ti"
    ):
        encoders.triplane_encoder(LAYOUT, "nonsense")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_tinycudann_needs_a_gpu():
    with pytest.raises(BackendMissing, match="needs an NVIDIA GPU.*\n.*use the encoder 'auto'"):
        encoders.triplane_encoder(LAYOUT, "tinycudann")


def test_tinycudann_missing_names_the_command(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(__import__("sys").modules, "tinycudann", None)
    with pytest.raises(
        encoders.EncoderUnavailable, match="is not installed\n  tried: import tinycudann.*\n  next: pip "
    ):
        encoders.triplane_encoder(LAYOUT, "tinycudann")


def test_tinycudann_gets_three_planes(monkeypatch):
    """Selection only: what a real one computes can't be seen without a GPU."""
    made = []

    class Encoding(torch.nn.Module):
        def __init__(self, dims, config, seed, dtype):
            super().__init__()
            made.append((dims, config, seed, dtype))

        def forward(self, uv):
            return uv.repeat(1, LAYOUT.levels * LAYOUT.features // 2)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(__import__("sys").modules, "tinycudann", types.SimpleNamespace(Encoding=Encoding))
    encoder = encoders.triplane_encoder(LAYOUT, "tinycudann")
    encoded = encoder(torch.tensor([[0.25, 0.5, 2.0]]))
    assert encoded.shape == (1, LAYOUT.out_features)
    assert encoded[0, [0, 1, 6, 7, 12, 13]].tolist() == [0.25, 0.5, 0.5, 1.0, 1.0, 0.25]
    assert [(dims, seed, dtype) for dims, _, seed, dtype in made] == [(2, i, torch.float32) for i in range(3)]
    assert made[0][1]["n_levels"] == 3 and made[0][1]["log2_hashmap_size"] == 8
