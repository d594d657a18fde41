"""Adam in one native call against torch's own."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from cuda_ext import backends, ops, reference
from cuda_ext.ops import AdamRates

LANES = backends.native().available_lanes()
SHAPES = ((700, 3), (700, 4), (1,), (0, 3), (41, 3, 24), (37_001,))
RATES = (AdamRates(1e-2, 0.9, 0.99, 1e-15), AdamRates(3e-4), AdamRates(0.0), AdamRates(1.0, 0.0, 0.5, 1e-3))


def tensors(seed: int, scale: float = 1.0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [scale * torch.randn(shape, generator=generator) for shape in SHAPES]


def steps(make, count: int = 7) -> tuple[list[Tensor], torch.optim.Optimizer]:
    """Several steps from the same start with the same gradients."""
    params = [t.requires_grad_() for t in tensors(0)]
    optimizer = make([{"params": [p], "lr": 1e-3 * (i + 1)} for i, p in enumerate(params)])
    for step in range(count):
        for param, grad in zip(params, tensors(step + 1, 10.0 ** (step - 3)), strict=True):
            param.grad = grad
        params[3].grad = None if step % 2 else params[3].grad
        params[1].grad = None if step == 2 else params[1].grad  # a parameter may sit a step out
        optimizer.step()
    return [p.detach() for p in params], optimizer


@pytest.mark.parametrize("lanes", LANES)
def test_adam_follows_torch(lanes):
    backends.native().set_lanes(lanes)
    options = {"betas": (0.9, 0.99), "eps": 1e-15}
    got, ours = steps(lambda groups: ops.Adam(groups, **options))
    want, theirs = steps(lambda groups: torch.optim.Adam(groups, **options, fused=True))
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=3e-6, atol=1e-6)
    for a, b in zip(ours.state.values(), theirs.state.values(), strict=True):
        assert a["step"] == b["step"]
        for moment in ("exp_avg", "exp_avg_sq"):
            # Sums of gradients of all sizes and signs: their rounding is that of the largest.
            largest = float(b[moment].abs().max()) if b[moment].numel() else 0.0
            torch.testing.assert_close(a[moment], b[moment], rtol=3e-6, atol=3e-7 * largest)


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("rate", RATES)
def test_step_matches_float64_reference(lanes, rate):
    backends.native().set_lanes(lanes)
    state = [tensors(0), tensors(1), tensors(2), [t.square() for t in tensors(3)]]
    got, want = copy.deepcopy(state), [[t.double() for t in part] for part in state]
    count = [4 + i for i in range(len(SHAPES))]
    ops.adam_step(*got, count, [rate] * len(SHAPES))
    reference.adam_step(*want, count, [rate] * len(SHAPES))
    for mine, twin, start in zip(got, want, state, strict=True):
        for a, b, old in zip(mine, twin, start, strict=True):
            assert bool(((a - b).abs() <= 1e-6 * (b.abs() + (b - old).abs() + 10 * rate.lr)).all())


def test_threads_do_not_change_a_bit():
    results = []
    for threads in (1, 2, 5):
        ops.set_threads(threads)
        results.append(steps(lambda groups: ops.Adam(groups, betas=(0.9, 0.99)))[0])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_a_value_is_rounded_the_same_wherever_it_lies():
    generator = torch.Generator().manual_seed(4)
    whole = [torch.rand(1000, generator=generator) for _ in range(4)]
    part = [t[123:456].clone() for t in whole]
    for state in (whole, part):
        ops.adam_step(*([t] for t in state), [3], [AdamRates(1e-2)])
    assert all(torch.equal(a[123:456], b) for a, b in zip(whole, part, strict=True))


def test_state_is_exchanged_with_torch_both_ways_and_rows_can_be_reset():
    _, ours = steps(ops.Adam)
    theirs = torch.optim.Adam([{"params": [t.requires_grad_()]} for t in tensors(0)])
    theirs.load_state_dict(ours.state_dict() | {"param_groups": theirs.state_dict()["param_groups"]})
    params = [g["params"][0] for g in theirs.param_groups]
    resumed = ops.Adam([{"params": [p]} for p in params], lr=theirs.param_groups[0]["lr"])
    resumed.load_state_dict(
        {"state": theirs.state_dict()["state"], "param_groups": resumed.state_dict()["param_groups"]}
    )
    for mine, original in zip(resumed.state.values(), ours.state.values(), strict=True):
        assert all(torch.equal(mine[key], original[key]) for key in ("step", "exp_avg", "exp_avg_sq"))
    state, before = resumed.state[params[0]], params[0].detach().clone()
    state["exp_avg"][5:9] = 0
    state["exp_avg_sq"][5:9] = 0
    params[0].grad = torch.zeros_like(params[0])
    resumed.step()
    moved = (params[0].detach() != before).any(1)
    assert not moved[5:9].any() and moved[:5].all()


def test_closure_is_called_with_gradients_on():
    weight = torch.ones(3, requires_grad=True)
    optimizer = ops.Adam([weight], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = (weight**2).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 3.0
    assert torch.allclose(weight, torch.full((3,), 0.9))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_bad_gradient_changes_nothing(bad):
    state = [tensors(0), tensors(1), tensors(2), [t.square() for t in tensors(3)]]
    state[1][4].view(-1)[-1] = bad
    before = copy.deepcopy(state)
    with pytest.raises(ValueError, match="gradient of tensor 4 holds a NaN or infinity: no tensor was changed"):
        ops.adam_step(*state, [1] * len(SHAPES), [AdamRates(1e-2)] * len(SHAPES))
    for part, old in zip((state[0], state[2], state[3]), (before[0], before[2], before[3]), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(part, old, strict=True))


def test_input_is_checked():
    one, rate = torch.ones(4, 3), AdamRates(1e-2)
    with pytest.raises(ValueError, match="lists of one length"):
        ops.adam_step([one], [one], [one], [], [1], [rate])
    with pytest.raises(ValueError, match=r"grads\[0\]: expected shape \(4, 3\), got \(4, 2\)"):
        ops.adam_step([one], [one[:, :2]], [one], [one], [1], [rate])
    with pytest.raises(ValueError, match=r"steps\[0\]"):
        ops.adam_step([one], [one], [one], [one], [0], [rate])
    with pytest.raises(TypeError, match=r"exp_avgs\[0\]: expected torch.float32 on the CPU"):
        ops.adam_step([one], [one], [one.double()], [one], [1], [rate])
    with pytest.raises(TypeError, match=r"params\[0\]: expected a contiguous"):
        ops.adam_step([one.T], [one.T], [one.T], [one.T], [1], [rate])
    with pytest.raises(TypeError, match="on meta"):
        ops.adam_step([one], [one.to("meta")], [one], [one], [1], [rate])
    for changes in ({"lr": -1.0}, {"lr": float("nan")}, {"beta1": 1.0}, {"eps": -1e-8}):
        with pytest.raises(ValueError, match="expected"):
            AdamRates(**{"lr": 1e-3, **changes})
    ops.adam_step([], [], [], [], [], [])
