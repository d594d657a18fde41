"""The fitting loop: render a training frame, compare, step."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from avatar.driving import PreparedMotion
from avatar.evaluation.metrics import psnr_of
from avatar.fields.presets import preset_named
from avatar.fitting.config import FitConfig
from avatar.fitting.frames import FrameStore, Split
from avatar.fitting.leashes import Leashes, nearest, turned_away
from avatar.fitting.mouth import Apart, Part
from avatar.fitting.occlusion import covered_pixels
from avatar.fitting.refine import MotionRefiner
from avatar.fitting.stages import STAGES, Stage, stage_at
from avatar.fitting.steps import NativeStep, Step, TorchStep, learned, no_moments
from avatar.fitting.validation import Validation
from avatar.head.model import REGIONS, region_of_faces
from avatar.layers import Layers
from avatar.model import Avatar
from avatar.renderer import render
from avatar.types import Gaussians
from cuda_ext import ops

AVERAGE_EVERY, AVERAGE_DECAY = 10, 0.9
"""The anytime result is a running average of the weights: it is as good as one with decayed rates."""
FACING_FRAMES = 24
FUSED = ("colors", "opacity_logits")
"""What of the head still learns when face and mouth were learned apart and are put together."""


class Trainer:
    """One fit in progress. `layers` are optimised in place; `average` is what is validated and published."""

    def __init__(
        self,
        avatar: Avatar,
        prepared: PreparedMotion,
        frames: FrameStore,
        split: Split,
        config: FitConfig,
        step: Callable[..., Step] | None = None,
    ) -> None:
        self.avatar, self.prepared, self.frames, self.split, self.config = avatar, prepared, frames, split, config
        self.plate = torch.from_numpy(frames.scaled(avatar.background)).float() / 255
        self._step_kind = step or (TorchStep if avatar.layers.field else NativeStep)
        self.layers = avatar.layers.copy()
        self.average = self.layers.copy()
        self.preset = preset_named(config.field)
        rates = config.rates if self.preset.mesh_follows else replace(config.rates, motion_expression=0.0)
        self.refiner = MotionRefiner(len(prepared), rates)
        self.learned = learned(self.layers)
        self.apart = Apart(frames, split.train) if self.preset.apart else None
        self.generator = torch.Generator().manual_seed(config.seed)
        self.leashes = self._leashes()
        self.gradient_sum = torch.zeros(len(self.layers.head.means))
        self.step, self.seconds, self.train_psnr, self.loss = 0, 0.0, float("nan"), 0.0
        self.rollbacks = 0
        """How often the fit went back to a sound state."""
        self.queue: list[int] = []
        """Training frames to come in this pass."""
        self._covered: dict[int, np.ndarray] = {}
        self.rough: Layers | None = None
        """The avatar at the end of the rough stage, see `occlusion`."""
        self.moments = no_moments(self.layers)
        self.make_step()
        self.validation = Validation(frames, split, self._image)

    @torch.no_grad()
    def _leashes(self) -> Leashes:
        head, triangles = self.layers.head, self.layers.head.triangles.long()
        lips = torch.from_numpy(region_of_faces(self.avatar.head)) == REGIONS.index("lips")
        train = self.split.train
        frames = train[np.linspace(0, len(train) - 1, FACING_FRAMES).astype(int)].tolist()
        params = [self.prepared.frame(i).params for i in frames]
        away = turned_away(self.avatar.head, self.avatar.neutral, params)
        return Leashes.of(
            head, self._first_points(), self.core.stop, lips[triangles], away[triangles], self.config.limits
        )

    @torch.no_grad()
    def find_neighbours(self) -> None:
        """Which head Gaussians share their movement: those near each other in the first training frame."""
        self.leashes.neighbours = nearest(self._first_points()[: len(self.gradient_sum)])

    def _first_points(self) -> Tensor:
        return self._gaussians(self.layers, int(self.split.train[0])).means

    @property
    def core(self) -> slice:
        """The head Gaussians under the skin: they stand between those on the surface and the hair's."""
        start = self.config.head_gaussians
        return slice(start, start + self.config.core_gaussians)

    # -- budget -------------------------------------------------------------------------------------------------------
    @property
    def share(self) -> float:
        """How much of the budget is spent, 0..1: of the minutes, or of the passes over the clip if they end first."""
        if self.config.steps is not None:
            return min(self.step / self.config.steps, 1.0)
        return min(max(self.seconds / (60 * self.config.minutes), self.passes / self.config.max_passes), 1.0)

    @property
    def passes(self) -> float:
        """How often each training frame was seen."""
        return self.step / len(self.split.train)

    @property
    def decay(self) -> float:
        """Factor on all rates: 1 for the first tenth, then down to `final_share`; lower after rollbacks."""
        rates = self.config.rates
        return rates.final_share ** max(0.0, (self.share - 0.1) / 0.9) * rates.after_rollback**self.rollbacks

    def consider_average(self) -> None:
        """Let the validation judge the averaged weights."""
        settled = stage_at(self.share, self.step) is STAGES[-1]
        self.validation.consider(self.average, self.step, self.seconds, settled=settled)

    # -- optimisation -------------------------------------------------------------------------------------------------
    def make_step(self) -> None:
        """Bind the step to the layers and moments that are there."""
        self._step: Step = self._step_kind(
            self.avatar.head, self.avatar.neutral, self.layers, self.moments, self.prepared, self.frames.camera
        )

    def _rates(self, stage: Stage) -> dict[str, float]:
        """Step size per learned tensor."""
        r, decay = self.config.rates, self.decay
        special = {"torso.means": r.torso_means, "torso.map_means": r.torso_map}
        if not (stage.deform and self.preset.maps):
            special |= {"head.map_means": 0.0, "head.map_opacities": 0.0}
        fused = self.apart is not None and stage is STAGES[-1]

        def rate(name: str) -> float:
            if fused and name.startswith(("head.", "field.")) and not name.endswith(FUSED):
                return 0.0
            if name.startswith("field."):
                return stage.deform * (r.field_table if name.endswith(("table", "codes")) else r.field)
            return special[name] if name in special else getattr(r, name.split(".")[1])

        return {name: decay * rate(name) for name in self.learned}

    def train_step(self) -> None:
        """One step on one training frame."""
        started = time.perf_counter()
        stage = stage_at(self.share, self.step)
        part = self.apart.turn(self.step) if self.apart and stage.apart else None
        index = self.apart.frame(self.share, self.generator) if self.apart and part == "mouth" else self._next_frame()
        target = self._target(index, stage.skip_covered, part)
        outcome = self._step.run(
            index, target, self.refiner.delta[index], self._rates(stage), self.step + 1, self.gradient_sum,
            want_delta_gradient=stage.refine_motion, shown=part and self._part(part),
        )  # fmt: skip
        if outcome.delta_gradient is not None:
            self.refiner.update(index, outcome.delta_gradient, self.decay)
        self.step += 1
        stage.after_step(self)
        if self.step % AVERAGE_EVERY == 0:
            self._update_average()
        self.loss = outcome.loss if self.step == 1 else 0.98 * self.loss + 0.02 * outcome.loss
        if target.behind is self.plate:
            error = psnr_of(outcome.mean_squared_error)
            self.train_psnr = error if np.isnan(self.train_psnr) else 0.98 * self.train_psnr + 0.02 * error
        self.seconds += time.perf_counter() - started

    def _part(self, part: Part) -> Bool[Tensor, " n"]:
        """The head Gaussians that are there when face and mouth learn apart."""
        assert self.layers.field, "only fields learn apart"
        return self.layers.field.rest.in_mouth(self.layers.head.triangles) == (part == "mouth")

    def _target(self, index: int, skip_covered: bool, part: Part | None) -> ops.FitTarget:
        """The training frame, on the plate or, for a share of the steps, on a random backdrop."""
        weights, behind = self.config.losses, self.plate
        covered = self._covered_pixels(index) if skip_covered else None
        if self.apart and part:
            others = self.apart.others(part, index)
            covered = others if covered is None else covered | others
        if torch.rand((), generator=self.generator) < weights.backdrop_share:
            behind = torch.rand(3, generator=self.generator)
        return ops.FitTarget(self.frames.rgba(index), covered, behind, weights.ssim, weights.mask)

    def _next_frame(self) -> int:
        if not self.queue:
            order = torch.randperm(len(self.split.train), generator=self.generator)
            self.queue = self.split.train[order.numpy()].tolist()
        return self.queue.pop()

    def _gaussians(self, layers: Layers, index: int) -> Gaussians:
        return layers.gaussians(self.avatar.head, self.avatar.neutral, self.prepared.frame(index))

    def _image(self, layers: Layers, index: int) -> Float[Tensor, "h w 3"]:
        """Layers in the tracked pose of a frame, before the plate."""
        return render(self._gaussians(layers, index), self.frames.camera, background=self.plate, backend="cpu").rgb

    @torch.no_grad()
    def _covered_pixels(self, index: int) -> Bool[np.ndarray, "h w"]:
        """See `occlusion`. Judged once per frame, against the avatar at the end of the rough stage."""
        if self.rough is None:
            self.rough = self.average.copy()
        if index not in self._covered:
            image = self._image(self.rough, index)
            scale = self.frames.camera.width / self.avatar.camera.width
            landmarks = self.frames.capture.landmarks_px[index] * scale
            target, person = self.frames[index]
            found = covered_pixels(image.numpy(), target.numpy(), person.numpy() > 0.5, landmarks)
            self._covered[index] = np.packbits(found)
        height, width = self.plate.shape[:2]
        return np.unpackbits(self._covered[index], count=height * width).reshape(height, width).view(bool)

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(AVERAGE_DECAY, self.step / (self.step + 10 * AVERAGE_EVERY))
        for name, averaged in self.average.tensors().items():
            source = self.layers.tensors()[name]
            averaged.lerp_(source, 1 - decay) if name in self.learned else averaged.copy_(source)

    def forget_moments(self, prefix: str, rows: Tensor) -> None:
        """Zero the optimiser's memory of Gaussians that now stand elsewhere; the average follows at once."""
        layers, averaged = self.layers.tensors(), self.average.tensors()
        for name in self.learned:
            if name.startswith(prefix):
                averaged[name][rows] = layers[name].detach()[rows]
                for moment in self.moments[name]:
                    moment[rows] = 0
