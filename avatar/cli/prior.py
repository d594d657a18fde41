"""Commands about motion priors: train-prior, eval-motion."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from avatar.cli.common import Computing, Input, Output
from avatar.errors import BadInput
from avatar.motion.prior.config import Preset
from avatar.motion.prior.schedule import Schedule
from avatar.progress import note

Partners = Annotated[tuple[str, ...], tyro.conf.arg(metavar="SOUND|none"), tyro.conf.UseAppendAction]


@dataclass(frozen=True)
class TrainPrior(Computing):
    """Learn how somebody moves while speaking, from tracked clips; run it again after an interruption to go on.

    Every prior holds rung L0 (ridge regression and matching of the person's own moments, learned in seconds) and,
    unless --preset l0, the flow network. The last 15 % of every clip is held out: the scores at the end are of it.

    Example: visavis train-prior me.capture -o me.prior
    Example: visavis train-prior me.capture -o me.prior --preset quick
    Example: visavis train-prior captures/*.capture -o shared.prior
    Example: visavis train-prior me.capture --partner other.wav -o me.prior
    Example: torchrun --nproc-per-node 2 -m avatar.cli train-prior captures -o shared.prior
    """

    captures: tyro.conf.Positional[tuple[Path, ...]] = field(kw_only=True)
    """Captures, or folders full of them."""
    output: Output = field(kw_only=True)
    """File of the prior."""
    overwrite: bool = False
    """Replace an older prior of that name."""
    preset: Preset = "default"
    """l0 (seconds), quick (about a minute or two), default (about ten), gpu (a larger network)."""
    schedule: Schedule = "flow"
    """Of the noise: straight paths, or those of denoising diffusion (DDPM, cosine), for comparison."""
    personalise: Path | None = None
    """Train this prior further, so that it becomes this person's, instead of starting from nothing; how large the
    network is, the prior says, not the preset."""
    partner: Partners = ()
    """What the other one said in a conversation that was filmed, from its first frame on (any audio or video file): the
    prior learns to listen. Give it once per capture; none where there was nobody else."""
    seed: int = 0
    """Everything random follows from it."""

    def run(self) -> dict:
        from avatar.evaluation.motion.ladder import brief
        from avatar.motion.prior.checkpoint import Prior
        from avatar.motion.prior.config import preset_named
        from avatar.motion.prior.make import geometry_of, train_prior
        from avatar.motion.prior.processes import joined
        from avatar.motion.takes import takes_of

        config = preset_named(self.preset, self.seed, self.schedule)
        with joined(config.device) as processes:
            if self.output.exists() and not self.overwrite:
                raise BadInput(
                    f"{self.output} exists", fix="add --overwrite to replace it, or choose another -o/--output"
                )
            captures, partners = captures_in(self.captures), partners_named(self.partner)
            result = train_prior(
                captures, self.output, config, start=self.personalise, partners=partners, processes=processes
            )
            if not processes.leads:
                return result
        takes = takes_of(captures, partners)
        return result | {"held_out": brief(Prior.load(self.output), takes, geometry_of(captures))}


@dataclass(frozen=True)
class EvalMotion(Computing):
    """Score a motion prior on the held-out end of captures: truth, rules, L0 and flow network beside each other.

    Example: visavis eval-motion me.prior me.capture
    Example: visavis eval-motion me.prior me.capture --disguised
    """

    prior: Input = field(kw_only=True)
    captures: tyro.conf.Positional[tuple[Path, ...]] = field(kw_only=True)
    """Captures, or folders full of them; those of the training, whose last 15 % it never saw."""
    partner: Partners = ()
    """What the other one said, once per capture, as for train-prior."""
    output: Output | None = None
    """Page with all scores and curves; beside the prior if not given."""
    overwrite: bool = False
    """Replace an older page."""
    seed: int = 0
    """Chooses what is drawn."""
    disguised: bool = False
    """Measure also how the lips change if the same words sound differently: pitch, voice, telephone, noise, tempo."""

    def run(self) -> dict:
        from avatar.evaluation.motion.ladder import evaluate
        from avatar.motion.prior.checkpoint import Prior
        from avatar.motion.prior.data import split_take
        from avatar.motion.prior.make import geometry_of
        from avatar.motion.takes import takes_of

        page = self.output or self.prior.with_suffix(".html")
        if page.exists() and not self.overwrite:
            raise BadInput(f"{page} exists", fix="add --overwrite to replace it, or choose another -o/--output")
        prior, captures = Prior.load(self.prior), captures_in(self.captures)
        if unseen := [c.path.name for c in captures if c.content_hash not in prior.about.get("sources", ())]:
            note(f"{', '.join(unseen)}: not of this prior's training; a style of its own is no mistake")
        parts = [split_take(take) for take in takes_of(captures, partners_named(self.partner))]
        training, truth = zip(*parts, strict=True)
        card = evaluate(prior, truth, training, geometry_of(captures), seed=self.seed, disguised=self.disguised)
        card.write_page(page, self.prior.name)
        return card.as_dict() | {"page": str(page)}


def partners_named(names: tuple[str, ...]) -> list[Path | None]:
    """Files, but for those that are called none."""
    return [None if name == "none" else Path(name) for name in names]


def captures_in(paths: tuple[Path, ...]) -> list:
    """The captures that are named, and those in folders that are named.

    Raises:
        BadInput: a path is neither a capture nor a folder with captures.
    """
    from preprocess.capture import CaptureFolder

    found: list[CaptureFolder] = []
    for path in paths:
        inside = [path] if (path / "capture.json").is_file() else sorted(p.parent for p in path.glob("*/capture.json"))
        if not inside:
            raise BadInput(
                f"{path} is no capture and holds none",
                expected="a folder that `visavis preprocess` wrote, or one of many",
            )
        found += [CaptureFolder.load(folder) for folder in inside]
    if not found:
        raise BadInput("no capture was named", expected="visavis train-prior me.capture -o me.prior")
    return found
