"""The hash tri-plane encoder as a module with its table, over whichever backend runs it."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cuda_ext import backends
from cuda_ext.triplane_layout import TriplaneLayout

TINYCUDANN = "tinycudann"
TINYCUDANN_COMMAND = "pip install git+https://github.com/NVlabs/tiny-cuda-nn/#subdirectory=bindings/torch"
_INITIAL_RANGE = 1e-4
"""Features start uniform in +- this (Mueller et al. 2022, section 3)."""


class EncoderUnavailable(backends.BackendMissing):
    """An encoder can't run here; the text says why and what to do."""


class HashTriplane(nn.Module):
    """Our own encoder, see `cuda_ext.ops.hash_triplane`; runs where its table lies."""

    def __init__(self, layout: TriplaneLayout, backend: str = "auto", generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.layout, self.backend = layout, backend
        start = torch.empty(layout.table_shape).uniform_(-_INITIAL_RANGE, _INITIAL_RANGE, generator=generator)
        self.table = nn.Parameter(start)

    def forward(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n encoded"]:
        """Features of points in the unit cube."""
        name = points.device.type if self.backend == "auto" else self.backend
        return backends.get(name).hash_triplane(points, self.table, self.layout)


class TinycudannTriplane(nn.Module):
    """Three of tiny-cuda-nn's 2-D hash grids behind the same call; CUDA tensors only.

    Its grids round sizes and place corners differently: a table of one encoder is of no use to the other.
    """

    def __init__(self, layout: TriplaneLayout, seed: int = 0) -> None:
        super().__init__()
        tcnn = _tinycudann()
        growth = (layout.finest / layout.coarsest) ** (1 / max(layout.levels - 1, 1))
        config = {
            "otype": "HashGrid",
            "n_levels": layout.levels,
            "n_features_per_level": layout.features,
            "log2_hashmap_size": layout.log2_rows,
            "base_resolution": layout.coarsest,
            "per_level_scale": growth,
        }
        self.layout = layout
        self.planes = nn.ModuleList(tcnn.Encoding(2, config, seed=seed + i, dtype=torch.float32) for i in range(3))

    def forward(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n encoded"]:
        """Features of points in the unit cube; coordinates outside count as the border."""
        inside = points.clamp(0, 1)
        axes = ([0, 1], [1, 2], [2, 0])
        return torch.cat([plane(inside[:, pair]) for plane, pair in zip(self.planes, axes, strict=True)], 1)


def _tinycudann() -> Any:
    if not torch.cuda.is_available():
        raise EncoderUnavailable(
            f"the encoder {TINYCUDANN!r} needs an NVIDIA GPU, and torch {torch.__version__} sees none\n"
            "  next: use the encoder 'auto', which runs on the CPU"
        )
    try:
        return importlib.import_module(TINYCUDANN)
    except (ImportError, OSError) as error:
        raise EncoderUnavailable(
            f"the encoder {TINYCUDANN!r} is not installed\n"
            f"  tried: import {TINYCUDANN} ({type(error).__name__}: {error})\n"
            f"  next: {TINYCUDANN_COMMAND}\n  or: use the encoder 'auto'"
        ) from error


def triplane_encoder(layout: TriplaneLayout, name: str = "auto") -> HashTriplane | TinycudannTriplane:
    """A hash tri-plane encoder: `name` is "tinycudann", or a backend of `cuda_ext.backends` that has `hash_triplane`.

    "auto" is our own kernels, on the CPU or on CUDA, wherever the points are.

    Raises:
        EncoderUnavailable: it can't run here.
        cuda_ext.backends.BackendMissing: there is no such encoder, or its backend can't run here.
    """
    if name == TINYCUDANN:
        return TinycudannTriplane(layout)
    names = ("auto", "cpu", "cuda", "reference", TINYCUDANN)
    if name not in names:
        raise backends.UnknownBackend(f"no encoder is called {name!r}; there are: {', '.join(names)}")
    if name != "auto":
        backends.get(name)
    return HashTriplane(layout, name)
