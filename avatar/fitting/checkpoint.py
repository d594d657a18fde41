"""The whole state of a fit as tensors and JSON, at any step, and back."""

from __future__ import annotations

from dataclasses import asdict

import torch
from torch import Tensor

from avatar.fitting.leashes import Leashes
from avatar.fitting.trainer import Trainer
from avatar.fitting.validation import Best, CurvePoint
from avatar.layers import Layers

MOMENTS = ("exp_avg", "exp_avg_sq")
NUMBERS = ("step", "seconds", "train_psnr", "loss", "rollbacks")


def state_of(trainer: Trainer) -> tuple[dict[str, Tensor], dict]:
    """Everything needed to go on: tensors, and JSON metadata."""
    best = trainer.validation.best
    tensors = {f"layers.{k}": v for k, v in trainer.layers.tensors().items()}
    tensors |= {f"average.{k}": v for k, v in trainer.average.tensors().items()}
    tensors |= {f"refiner.{k}": v for k, v in trainer.refiner.tensors().items()}
    if best:
        tensors |= {f"best.{k}": v for k, v in best.tensors.items()}
    for name, pair in trainer.moments.items():
        tensors |= {f"adam.{moment}.{name}": value for moment, value in zip(MOMENTS, pair, strict=True)}
    if trainer.rough:
        tensors |= {f"rough.{k}": v for k, v in trainer.rough.tensors().items()}
    tensors |= {f"leashes.{k}": v for k, v in trainer.leashes.tensors().items()}
    tensors |= {"gradient_sum": trainer.gradient_sum, "generator": trainer.generator.get_state()}
    tensors |= {"queue": torch.tensor(trainer.queue, dtype=torch.int64)}
    numbers = {name: getattr(trainer, name) for name in NUMBERS}
    found = {name: getattr(best, name) for name in ("psnr", "step", "settled")} if best else None
    tensors = {name: tensor.detach() for name, tensor in tensors.items()}
    curve = [asdict(point) for point in trainer.validation.curve]
    return tensors, {"numbers": numbers, "next_validation": trainer.validation.next_step, "best": found, "curve": curve}


def restore(trainer: Trainer, tensors: dict[str, Tensor], metadata: dict) -> None:
    """Inverse of `state_of`, on a trainer of the same job."""

    def under(prefix: str) -> dict[str, Tensor]:
        return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}

    field = trainer.layers.field
    trainer.layers, trainer.average = (Layers.from_tensors(under(name), field) for name in ("layers.", "average."))
    trainer.refiner.restore(under("refiner."))
    first, second = (under(f"adam.{moment}.") for moment in MOMENTS)
    trainer.moments = {name: (first[name], second[name]) for name in trainer.learned}
    trainer.make_step()
    trainer.leashes, trainer.gradient_sum = Leashes(**under("leashes.")), tensors["gradient_sum"]
    if rough := under("rough."):
        trainer.rough = Layers.from_tensors(rough, field)
    trainer.generator.set_state(tensors["generator"])
    trainer.queue = tensors["queue"].tolist()
    for name, value in metadata["numbers"].items():
        setattr(trainer, name, value)
    validation = trainer.validation
    validation.next_step = metadata["next_validation"]
    validation.curve = [CurvePoint(**point) for point in metadata["curve"]]
    validation.best = Best(**metadata["best"], tensors=under("best.")) if metadata["best"] else None
