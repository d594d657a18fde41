"""Training the flow network: resumable, with progress; the averaged weights are what a prior keeps."""

from __future__ import annotations

import copy
import json
import math
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from avatar.errors import BackendUnavailable, BadInput, FormatMismatch, Interrupted
from avatar.files import load_tensors, save_tensors
from avatar.interrupts import interrupt_between_steps
from avatar.motion.prior.batches import Batch
from avatar.motion.prior.checkpoint import Prior
from avatar.motion.prior.config import TrainConfig, of_network
from avatar.motion.prior.data import Material
from avatar.motion.prior.losses import loss, mapped
from avatar.motion.prior.network import NetworkShape, PriorNetwork
from avatar.motion.prior.patterns import Pattern, draw
from avatar.motion.prior.processes import Processes
from avatar.progress import note, progress
from avatar.threads import one_torch_thread

_WARM_UP_STEPS = 50
_LAST_RATE = 0.05
_AVERAGE = 0.998
_LARGEST_GRADIENT = 1.0
_SAVE_SECONDS = 60.0
_SAME = 1e-4
"""Statistics differ by so much at most, if two machines take them of the same captures."""


class Trainer:
    """Network, its running average and the optimiser; a step depends on its number and the seed alone."""

    def __init__(
        self, material: Material, config: TrainConfig, start: Prior | None = None, processes: Processes | None = None
    ) -> None:
        torch.manual_seed(config.seed)
        self.processes = processes or Processes(device=config.device)
        if config.device != "cpu" and not torch.cuda.is_available():
            raise BackendUnavailable(
                "the preset gpu needs an NVIDIA GPU",
                got="none that torch can use",
                fix="--preset default runs on the CPU",
            )
        if self.processes.count > (most := max(1, config.batch // 2)):
            raise BadInput(
                "there are more processes than windows in a step", expected=f"{most} processes at most",
                got=str(self.processes.count), fix="torchrun with fewer, or another --preset",
            )  # fmt: skip
        self.material, self.config, self.step = material, config, 0
        device = self.processes.device
        self.metric = replace(mapped(material.metric, lambda t: t.to(device)), schedule=config.schedule)
        shape = NetworkShape(
            tuple(material.prior.space.group.tolist()), config.width, config.blocks, dropout=config.dropout,
            schedule=config.schedule,
        )  # fmt: skip
        self.network = PriorNetwork(shape).to(device)
        if start is not None and start.weights is not None:
            self.network.load_state_dict({k: torch.from_numpy(v) for k, v in start.weights.items()})
        self.average = copy.deepcopy(self.network).eval()
        self.optimiser = torch.optim.AdamW(self.network.parameters(), config.rate, (0.9, 0.98), weight_decay=0.02)

    def advance(self) -> float:
        """One step; its loss."""
        config = self.config
        rng = torch.Generator().manual_seed(config.seed * 1_000_003 + self.step)
        total = loss(self.network, self.metric, *self._draw(config.batch, rng), rng, self.processes)
        for group in self.optimiser.param_groups:
            group["lr"] = config.rate * self._rate()
        self.optimiser.zero_grad()
        total.backward()
        self.processes.sum_gradients(self.network.parameters())
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), _LARGEST_GRADIENT)
        self.optimiser.step()
        self.step += 1
        keep = min(_AVERAGE, self.step / (10 + self.step))
        with torch.no_grad():
            for mean, now in zip(self.average.parameters(), self.network.parameters(), strict=True):
                mean.lerp_(now, 1 - keep)
        return self.processes.total(total).item()

    def _draw(self, batch: int, rng: torch.Generator) -> tuple[Batch, Pattern]:
        """Windows and what of them is known, drawn on the CPU: the same on every device and in every process."""
        frames, device = self.config.frames, self.processes.device
        windows = self.material.windows.draw(batch, frames, rng)
        return mapped(windows, lambda t: t.to(device)), mapped(draw(batch, frames, rng), lambda t: t.to(device))

    def _rate(self) -> float:
        warm = min(1.0, (self.step + 1) / _WARM_UP_STEPS)
        cosine = 0.5 + 0.5 * math.cos(math.pi * self.step / max(1, self.config.steps))
        return warm * (_LAST_RATE + (1 - _LAST_RATE) * cosine)

    def weights(self) -> dict[str, np.ndarray]:
        """Of the running average."""
        return {name: tensor.detach().cpu().numpy() for name, tensor in self.average.state_dict().items()}

    def save(self, path: Path, job: str) -> None:
        """The whole state, for `resume`."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for k, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"adam.{k}.{name}": value for name, value in state.items()}
        save_tensors(path, tensors, {"job": job, "step": self.step})

    def resume(self, path: Path, job: str) -> bool:
        """Go on from a saved state of the same job; False if there is none."""
        if not path.is_file():
            return False
        try:
            tensors, about = load_tensors(path, "the prior")
        except (FormatMismatch, ValueError):
            return False
        if about.get("job") != job:
            note(f"{path.name} is of another training and is discarded")
            return False

        def under(prefix: str) -> dict[str, torch.Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        self.network.load_state_dict(under("network."))
        self.average.load_state_dict(under("average."))
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in under("adam.").items():
            index, _, moment = name.partition(".")
            state.setdefault(int(index), {})[moment] = value
        self.optimiser.load_state_dict(self.optimiser.state_dict() | {"state": state})
        self.step = about["step"]
        return True

    def check_agreement(self, state: Path | None) -> None:
        """See that all processes learn the same.

        Raises:
            BadInput: they have other material, or not all of them go on from the same state.
        """
        prior = self.material.prior
        seen = np.concatenate([*prior.space.arrays().values(), prior.style_mean, prior.matching.weights], axis=None)
        agree = self.processes.agree
        if not (agree(torch.tensor([len(seen)])) and agree(torch.from_numpy(seen), _SAME)):
            raise BadInput(
                "the processes do not learn from the same", expected="the same captures and versions on all machines",
                got="other numbers than the first process has", fix="put the captures in a folder that all of them see",
            )  # fmt: skip
        if not agree(torch.tensor([self.step])):
            raise BadInput(
                "the processes do not all see where the training stopped", expected=f"{state}, readable for all",
                got="another step than the first process's", fix="put -o/--output in a folder that all machines share",
            )  # fmt: skip


def job_of(config: TrainConfig, sources: str) -> str:
    """What tells one training from another."""
    return json.dumps(asdict(config) | {"sources": sources}, sort_keys=True)


def train(
    material: Material,
    config: TrainConfig,
    state: Path | None = None,
    sources: str = "",
    start: Prior | None = None,
    processes: Processes | None = None,
) -> Prior:
    """Train a prior to the end of its steps.

    Args:
        state: file that an interrupted training goes on from; without one it starts afresh each time.
        sources: identifies the takes.
        start: a prior whose network is trained further, in whose space the material is; it decides how large the
            network is. If it has none, a network is trained from nothing.
        processes: of several, which one this is; all make the same call and get the same prior. The first one alone
            writes the state, which all must be able to read.

    Raises:
        BadInput: several processes, which do not see the same.
        Interrupted: Ctrl-C; the state is saved.
    """
    if start is not None and start.weights is not None:
        config = of_network(config, start.weights)
    if not config.steps:
        return replace(material.prior, about=material.prior.about | {"config": asdict(config)})
    job = job_of(config, sources)
    trainer = Trainer(material, config, start, processes)
    processes = trainer.processes
    going_on = state is not None and trainer.resume(state, job)
    trainer.check_agreement(state)
    if going_on:
        note(f"going on at step {trainer.step} of {config.steps}")
    last_saved, losses = time.monotonic(), []
    label = "training the motion prior"
    with one_torch_thread(), interrupt_between_steps() as interrupted, progress(label, config.steps) as bar:
        while trainer.step < config.steps:
            losses = [*losses[-49:], trainer.advance()]
            bar.update(trainer.step, f"loss {np.mean(losses):.3f}")
            stopping = processes.any(interrupted.is_set())
            if state and processes.leads and (stopping or time.monotonic() - last_saved > _SAVE_SECONDS):
                trainer.save(state, job)
                last_saved = time.monotonic()
            if stopping:
                processes.any(False)  # nobody leaves before the state is saved: who ends ends all
                raise Interrupted(
                    f"interrupted at step {trainer.step} of {config.steps}; nothing is lost",
                    fix="run the same command again to go on",
                )
    about = {"config": asdict(config), "loss": round(float(np.mean(losses)), 4) if losses else None}
    return replace(material.prior, weights=trainer.weights(), about=material.prior.about | about)
