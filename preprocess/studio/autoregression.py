"""A rival of motion priors, for benchmarks: each frame is predicted from the one before and the sound, without noise.

The way of recurrent talking heads (and, with another network, of FaceFormer, Fan et al. 2022): what is right on
average. It has the prior's ears, windows and losses, and as many steps.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from avatar.motion.hearing import WIDTH
from avatar.motion.prior.config import TrainConfig
from avatar.motion.prior.data import Material
from avatar.motion.prior.losses import distance
from avatar.motion.prior.network import Ears, NetworkShape
from avatar.progress import progress
from avatar.threads import one_torch_thread

_STRAYING = 0.15
"""Deviation of the noise on what came before, in training: on its own it will have erred."""
_STATE = 128


class AutoRegression(nn.Module):
    """A gated recurrent network over frames."""

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.numbers = len(shape.group)
        self.ears = Ears(shape)
        self.recurrence = nn.GRU(shape.bottleneck + self.numbers, _STATE, batch_first=True)
        self.leave = nn.Linear(_STATE, self.numbers)

    def forward(self, before: Float[Tensor, "b t d"], sound: Float[Tensor, "b t w"]) -> Float[Tensor, "b t d"]:
        """Each frame, given all `before` it."""
        heard = self.ears(sound, torch.ones(sound.shape[:2]))
        return before + self.leave(self.recurrence(torch.cat([heard, before], -1))[0])

    @torch.no_grad()
    def motion(self, sound: Float[np.ndarray, "t w"]) -> Float[np.ndarray, "t d"]:
        """Numbers of motion for rows of sound, from the mean on."""
        assert sound.shape[1] == WIDTH
        heard = self.eval().ears(torch.from_numpy(sound)[None], torch.ones(1, len(sound)))
        x, state, out = torch.zeros(1, 1, self.numbers), None, list[Tensor]()
        for frame in range(len(sound)):
            found, state = self.recurrence(torch.cat([heard[:, frame : frame + 1], x], -1), state)
            x = x + self.leave(found)
            out.append(x[0, 0])
        return torch.stack(out).numpy()


def autoregression(material: Material, config: TrainConfig) -> AutoRegression:
    """Trained on the same windows as a prior of these options."""
    torch.manual_seed(config.seed)
    rng = torch.Generator().manual_seed(config.seed)
    network = AutoRegression(NetworkShape(tuple(material.prior.space.group.tolist()), dropout=config.dropout))
    optimiser = torch.optim.AdamW(network.parameters(), config.rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, config.steps))
    with one_torch_thread(), progress("training the autoregressive rival", config.steps) as bar:
        for step in range(config.steps):
            batch = material.windows.draw(config.batch, config.frames, rng)
            before = batch.x[:, :-1] + _STRAYING * torch.randn(batch.x[:, :-1].shape, generator=rng)
            clean, target = network(before, batch.given.sound[:, 1:]), batch.x[:, 1:]
            parts = batch.confidence[:, 1:], batch.given.heard[:, 1:]
            loss = distance(material.metric, clean, target, torch.zeros_like(target), *parts)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            bar.update(step + 1, f"loss {loss.item():.3f}")
    return network
