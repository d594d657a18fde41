"""A prior on the disk: one safetensors file with everything that it needs, and its checks. numpy only."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from avatar.errors import BadInput, FormatMismatch
from avatar.files import read_arrays, write_safetensors
from avatar.motion.eyes import EyeHabits
from avatar.motion.hearing import BANDS, WIDTH, Level
from avatar.motion.prior.forward import Forward, Weights
from avatar.motion.prior.matching import Matching
from avatar.motion.prior.schedule import Schedule
from avatar.motion.space import MotionSpace
from avatar.motion.style import STYLE_WIDTH

PRIOR_SCHEMA = "visavis.prior/2"


@dataclass(frozen=True)
class Prior:
    """Everything that turns speech into one person's (or many people's) motion."""

    space: MotionSpace
    level: Level
    """Where running means of the sound start from."""
    style_mean: Float[np.ndarray, " s"]
    style_deviation: Float[np.ndarray, " s"]
    style: Float[np.ndarray, " s"]
    """The training's own style, whitened."""
    eyes: EyeHabits
    matching: Matching
    """The L0 rung."""
    weights: Weights | None = None
    """Of the flow network; None if only L0 was trained."""
    about: dict[str, Any] = field(default_factory=dict)
    """Schema, versions, head model, sources, training and its scores: the file's JSON header."""

    @property
    def listens(self) -> bool:
        """Whether its network was trained with what another one said meanwhile."""
        return self.weights is not None and self.about.get("partner_seconds", 0) > 0

    def network(self) -> Forward:
        """The flow network, ready to compute.

        Raises:
            BadInput: none was trained.
        """
        if self.weights is None:
            raise BadInput(
                "this prior has no flow network", expected="one that was trained with --preset quick or default",
                got="rung L0 alone", fix="train it further, or take --rung l0",
            )  # fmt: skip
        return Forward(self.weights, self.space.group, self.schedule)

    @property
    def schedule(self) -> Schedule:
        """Of the flow network's training."""
        return self.about.get("config", {}).get("schedule", "flow")

    def save(self, path: Path) -> None:
        """Write the file; an older one is replaced once the new one is complete.

        Raises:
            BadInput: the disk is full or read-only.
        """
        import torch

        arrays = self.space.arrays() | self.eyes.arrays() | self.matching.arrays()
        arrays |= {f"network.{name}": array for name, array in (self.weights or {}).items()}
        arrays |= {"level.mel": self.level.mel, "level.log_f0": np.array([self.level.log_f0])}
        arrays |= {"style.mean": self.style_mean, "style.deviation": self.style_deviation, "style.own": self.style}
        tensors = {name: torch.from_numpy(np.asarray(a, np.float32)) for name, a in arrays.items()}
        write_safetensors(path, tensors, {"json": json.dumps(self.about | {"schema": PRIOR_SCHEMA})})

    @staticmethod
    def load(path: Path) -> Prior:
        """Read a prior and check that it can be used.

        Raises:
            BadInput: there is no such file.
            FormatMismatch: it is no prior of this schema, or damaged.
        """
        if not path.is_file():
            raise BadInput(f"no prior {path}", expected="a file that `visavis train-prior` wrote", got="no such file")
        again = "train it again with `visavis train-prior`"
        arrays, header = read_arrays(path, fix=again)
        about = _about(path, header, again)
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise FormatMismatch(f"{path} is damaged", got=f"{name} holds a value that is not finite", fix=again)
        shapes = {
            "level.mel": (BANDS,), "level.log_f0": (1,), "style.mean": (STYLE_WIDTH,),
            "style.deviation": (STYLE_WIDTH,), "style.own": (STYLE_WIDTH,),
        }  # fmt: skip
        for name, shape in shapes.items():
            if name not in arrays or arrays[name].shape != shape:
                got = arrays[name].shape if name in arrays else "nothing"
                raise FormatMismatch(f"{path} is damaged", expected=f"{name} of shape {shape}", got=str(got), fix=again)
        weights = {k.removeprefix("network."): a for k, a in arrays.items() if k.startswith("network.")}
        space = MotionSpace.from_arrays(arrays)
        _check_network(path, weights, space, again)
        return Prior(
            space=space,
            level=Level(arrays["level.mel"].astype(np.float64), float(arrays["level.log_f0"][0])),
            style_mean=arrays["style.mean"],
            style_deviation=arrays["style.deviation"],
            style=arrays["style.own"],
            eyes=EyeHabits.from_arrays(arrays),
            matching=Matching.from_arrays(arrays),
            weights=weights or None,
            about=about,
        )


def _about(path: Path, header: dict[str, str], again: str) -> dict[str, Any]:
    try:
        about = json.loads(header.get("json", "null"))
    except ValueError as error:
        raise FormatMismatch(f"{path} is damaged", got=f"its header: {error}", fix=again) from error
    got = about.get("schema") if isinstance(about, dict) else None
    if got != PRIOR_SCHEMA:
        raise FormatMismatch(
            f"{path} is no prior that this version reads", expected=PRIOR_SCHEMA, got=str(got), fix=again
        )
    return about


def _check_network(path: Path, weights: Weights, space: MotionSpace, again: str) -> None:
    if not weights:
        return
    leave, ears = weights.get("leave.weight"), weights.get("ears.enter.weight")
    if leave is None or ears is None or len(leave) != space.size or ears.shape[1] != WIDTH + 1:
        got = None if leave is None else leave.shape
        raise FormatMismatch(
            f"{path} is damaged", expected=f"a network for {space.size} numbers per frame", got=str(got), fix=again
        )
