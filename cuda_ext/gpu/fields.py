"""Adam, hash tri-plane encoder and KAN layer on a GPU: the functions of `cuda_ext.ops`, on CUDA tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from cuda_ext.gpu.launch import Launcher, blocks
from cuda_ext.ops.adam import AdamRates, checked_step
from cuda_ext.ops.checks import checked, require_finite
from cuda_ext.ops.kan import ORDER, checked_layer
from cuda_ext.triplane_layout import TriplaneLayout

_THREADS = 256
_MAX_ADAM_BLOCKS = 512
_KAN_THREADS = 128
_KAN_BLOCK_POINTS = 16
_KAN_CHUNK = 1024
"""Points whose weight gradients one block sums."""
_RIM = 3
"""Zero rows on either side of an input's spline weights."""
_SHARED_BYTES = 48 * 1024


class _HashTriplane(torch.autograd.Function):
    @staticmethod
    def forward(ctx, points, table, layout, launcher):
        masks = [rows - 1 if hashed else 0 for rows, hashed in zip(layout.level_rows, layout.hashed, strict=True)]
        firsts = torch.tensor(layout.level_rows).cumsum(0) - torch.tensor(layout.level_rows)
        numbers = torch.tensor([layout.resolutions, masks, firsts.tolist()], dtype=torch.int32).T.contiguous()
        levels = numbers.to(points.device)
        ctx.save_for_backward(points, table, levels)
        ctx.sizes = (points.shape[0], layout.levels, layout.rows, layout.features)
        ctx.launcher, ctx.grid = launcher, (blocks(points.shape[0], _THREADS), 3 * layout.levels)
        encoded = torch.empty(points.shape[0], layout.out_features, device=points.device)
        launcher.launch("triplane_forward", ctx.grid, (_THREADS,), points, table, levels, *ctx.sizes, encoded)
        return encoded

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_encoded):
        points, table, levels = ctx.saved_tensors
        slopes, grad_table, grad_points = grad_encoded.contiguous(), torch.zeros_like(table), None
        rest = (levels, *ctx.sizes)
        ctx.launcher.launch("triplane_backward", ctx.grid, (_THREADS,), points, slopes, *rest, grad_table)
        if ctx.needs_input_grad[0]:
            grad_points = torch.empty_like(points)
            grid = ctx.grid[:1]
            ctx.launcher.launch(
                "triplane_points_backward", grid, (_THREADS,), points, table, slopes, *rest, grad_points
            )
        return grad_points, grad_table, None, None


def arrange_weights(
    spline_weight: Float[Tensor, "outputs inputs bases"], base_weight: Float[Tensor, "outputs inputs"]
) -> Float[Tensor, "inputs rows outputs"]:
    """The weights as kan.cu reads them: per input zero rows, spline rows, zero rows, the base row."""
    spline = spline_weight.permute(1, 2, 0)
    zeros = torch.zeros_like(spline[:, :_RIM])
    return torch.cat([zeros, spline, zeros, base_weight.T[:, None]], 1).contiguous()


class _Kan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, spline_weight, base_weight, grid_range, launcher):
        outputs, inputs, bases = spline_weight.shape
        low, high = grid_range
        weights = arrange_weights(spline_weight, base_weight)
        ctx.save_for_backward(x, weights)
        ctx.launcher, ctx.shape = launcher, (x.shape[0], inputs, outputs, bases)
        ctx.grid = (float(low), (bases - ORDER) / (high - low))
        y = torch.empty(x.shape[0], outputs, device=x.device)
        launcher.launch(
            "kan_forward", (blocks(x.shape[0], _KAN_BLOCK_POINTS), blocks(outputs, 32)), (_KAN_THREADS,),
            x, weights, *ctx.shape, *ctx.grid, y,
        )  # fmt: skip
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_y):
        x, weights = ctx.saved_tensors
        n, inputs, outputs, bases = ctx.shape
        grad_y, grad_x = grad_y.contiguous(), None
        if ctx.needs_input_grad[0]:
            grad_x = torch.empty_like(x)
            ctx.launcher.launch(
                "kan_backward_inputs", (blocks(n, _KAN_BLOCK_POINTS), blocks(inputs, 32)), (_KAN_THREADS,),
                x, weights, grad_y, *ctx.shape, *ctx.grid, grad_x,
            )  # fmt: skip
        partials = torch.empty(blocks(n, _KAN_CHUNK), *weights.shape, device=x.device)
        ctx.launcher.launch(
            "kan_backward_weights", (inputs, partials.shape[0], blocks(outputs, 32)), (_KAN_THREADS,),
            x, grad_y, *ctx.shape, *ctx.grid, _KAN_CHUNK, partials, shared_bytes=_shared_bytes(bases),
        )  # fmt: skip
        total = partials.sum(0)
        return grad_x, total[:, _RIM : _RIM + bases].permute(2, 0, 1), total[:, -1].T, None, None


def _shared_bytes(bases: int) -> int:
    return _KAN_THREADS * (bases + 2 * _RIM + 1) * 4


class FieldOps:
    """The part of the backend "cuda" that is not about images."""

    _launcher: Callable[[Tensor, str], Launcher]

    def hash_triplane(
        self, points: Float[Tensor, "n 3"], table: Float[Tensor, "3 rows features"], layout: TriplaneLayout
    ) -> Float[Tensor, "n encoded"]:
        """See `cuda_ext.ops.hash_triplane`. Waits for the device, to look for NaN.

        The table's gradient is summed with atomics: its last bits may differ between runs.
        """
        launcher = self._launcher(points, "points")
        points = checked(points, "points", (None, 3), device=launcher.device)
        table = checked(table, "table", layout.table_shape, device=launcher.device)
        require_finite(points=points, table=table)
        return _HashTriplane.apply(points, table, layout, launcher)  # pyright: ignore[reportReturnType]

    def kan_layer(
        self,
        x: Float[Tensor, "n inputs"],
        spline_weight: Float[Tensor, "outputs inputs bases"],
        base_weight: Float[Tensor, "outputs inputs"],
        grid_range: tuple[float, float] = (-1.0, 1.0),
    ) -> Float[Tensor, "n outputs"]:
        """See `cuda_ext.ops.kan_layer`. Waits for the device, to look for NaN.

        Raises:
            ValueError: also for more basis functions than a block's shared memory holds.
        """
        launcher = self._launcher(x, "x")
        tensors, span = checked_layer(x, spline_weight, base_weight, grid_range, launcher.device)
        most = _SHARED_BYTES // (_KAN_THREADS * 4) - 2 * _RIM - 1
        if spline_weight.shape[2] > most:
            raise ValueError(f"spline_weight: expected at most {most} basis functions, got {spline_weight.shape[2]}")
        require_finite(**dict(zip(("x", "spline_weight", "base_weight"), tensors, strict=True)))
        return _Kan.apply(*tensors, span, launcher)  # pyright: ignore[reportReturnType]

    def adam_step(
        self,
        params: Sequence[Tensor],
        grads: Sequence[Tensor],
        exp_avgs: Sequence[Tensor],
        exp_avg_sqs: Sequence[Tensor],
        steps: Sequence[int],
        rates: Sequence[AdamRates],
    ) -> None:
        """See `cuda_ext.ops.adam_step`. Waits for the device, to report a bad gradient."""
        if not len(params):
            return
        launcher = self._launcher(params[0], "params[0]")
        tensors = checked_step(params, grads, exp_avgs, exp_avg_sqs, steps, rates, launcher.device)
        numbers = [rate.factors(step) for rate, step in zip(rates, steps, strict=True)]
        table = torch.tensor([[*(t.data_ptr() for t in row), row[0].numel()] for row in tensors], dtype=torch.int64)
        table, factors = table.to(launcher.device), torch.tensor(numbers, device=launcher.device)
        bad = torch.tensor([len(tensors)], dtype=torch.int32, device=launcher.device)
        most = max(row[0].numel() for row in tensors)
        grid = (min(blocks(most, _THREADS), _MAX_ADAM_BLOCKS), len(tensors))
        launcher.launch("adam_check", grid, (_THREADS,), table, bad)
        launcher.launch("adam", grid, (_THREADS,), table, factors, bad)
        if (first := int(bad)) < len(tensors):
            raise ValueError(f"gradient of tensor {first} holds a NaN or infinity: no tensor was changed")
