"""Several processes that train one network: each takes its share of every batch, and all of them get the same weights.

They are started by `torchrun`, which tells each of them by its environment who it is. Gloo carries what they say to
each other between CPUs, NCCL between GPUs. Sums of two processes differ from those of one by the rounding of float32.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from avatar.errors import BadInput
from avatar.progress import set_quiet


@dataclass(frozen=True)
class Processes:
    """Which process of how many this one is."""

    rank: int = 0
    count: int = 1
    device: str = "cpu"
    """Where this one computes."""

    @property
    def leads(self) -> bool:
        """The first one writes all files and shows progress."""
        return self.rank == 0

    def share(self, batch: int) -> slice:
        """Which windows of a batch are this process's."""
        return slice(self.rank * batch // self.count, (self.rank + 1) * batch // self.count)

    def total(self, values: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """Sums over all processes, which all have to ask for them; without gradients."""
        if self.count == 1:
            return values.detach()
        summed = values.detach().clone()
        torch.distributed.all_reduce(summed)
        return summed

    def any(self, mine: bool) -> bool:
        """Whether it is so in some process."""
        return bool(self.total(torch.tensor(float(mine), device=self.device)) > 0)

    def agree(self, values: Shaped[Tensor, " n"], tolerance: float = 0.0) -> bool:
        """Whether all processes have the same numbers as the first, but for a share of each."""
        if self.count == 1:
            return True
        first = values.to(self.device, torch.float64).clone()
        torch.distributed.broadcast(first, 0)
        return not self.any(not torch.allclose(first.cpu(), values.cpu().double(), rtol=tolerance, atol=tolerance))

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Over all processes; what had no gradient in any of them has none after."""
        if self.count == 1:
            return
        parameters = list(parameters)
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        had = torch.tensor([float(p.grad is not None) for p in parameters], device=self.device)
        summed = self.total(torch.cat([*(g.flatten() for g in gradients), had]))
        had = summed[len(summed) - len(parameters) :].tolist()
        parts = summed[: len(summed) - len(parameters)].split([p.numel() for p in parameters])
        for parameter, part, count in zip(parameters, parts, had, strict=True):
            parameter.grad = part.view_as(parameter) if count else None


ALONE = Processes()


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """This process among those that `torchrun` started, ALONE without it; all but the first say nothing but errors.

    Args:
        device: cpu or cuda; of several GPUs of a machine, each process takes one.

    Raises:
        BadInput: the environment is not as `torchrun` makes it.
    """
    environment = os.environ
    if int(environment.get("WORLD_SIZE", "1")) == 1:
        yield Processes(device=device)
        return
    needed = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    if lacking := [name for name in needed if name not in environment]:
        raise BadInput(
            "WORLD_SIZE asks for several processes, which do not know each other",
            expected=f"{', '.join(needed)} in the environment", got=f"no {', '.join(lacking)}",
            fix="start it by torchrun, as `visavis train-prior --help` shows, or unset WORLD_SIZE",
        )  # fmt: skip
    rank, on_gpu = int(environment["RANK"]), device != "cpu"
    if on_gpu and torch.cuda.is_available():
        device = f"cuda:{environment['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    if rank:
        set_quiet(True)
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  until the process ends: its result is the first one's
    torch.distributed.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield Processes(rank, int(environment["WORLD_SIZE"]), device)
        torch.distributed.barrier()
    finally:
        torch.distributed.destroy_process_group()
