"""From takes to what a prior is trained and measured on, and the closed-form part of training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool

from avatar.errors import BadInput
from avatar.motion.audio import RATE
from avatar.motion.eyes import EyeHabits
from avatar.motion.face_geometry import FaceGeometry
from avatar.motion.hearing import level_of
from avatar.motion.prior.batches import TEMPI, Track, Windows, track_of
from avatar.motion.prior.checkpoint import Prior
from avatar.motion.prior.losses import Metric
from avatar.motion.prior.matching import Matching
from avatar.motion.space import MotionSpace, rest_of
from avatar.motion.takes import Take
from avatar.progress import progress
from avatar.split import TEST_SHARE, training_span

LEAST_SECONDS = 8.0
"""Of tracked motion with sound: with less, lips can't be told from chance."""
_LEAST_STYLE_DEVIATION = 0.05
_SILENT = 1e-4
"""Of full scale."""


@dataclass(frozen=True)
class Material:
    """Everything that training needs of its takes."""

    prior: Prior
    """Space, statistics and the L0 rung; no network yet."""
    windows: Windows
    metric: Metric
    seconds: float


def material_of(takes: Sequence[Take], geometry: FaceGeometry, before: Prior | None = None) -> Material:
    """Statistics, L0 and training windows of takes.

    Args:
        before: a prior that is personalised: numbers of its space and of its styles mean what they meant, about the
            rest of these takes.

    Raises:
        BadInput: less than `LEAST_SECONDS` of motion, or somebody who does not move.
    """
    seconds, partnered = _seconds(takes), _seconds([take for take in takes if take.partner_16k is not None])
    if seconds < LEAST_SECONDS:
        raise BadInput(
            "there is too little to learn from", expected=f"{LEAST_SECONDS:g} s of tracked speech, better a minute",
            got=f"{seconds:.1f} s", fix="film longer; rules speak without any training: leave --prior out",
        )  # fmt: skip
    space = replace(before.space, rest_expression=rest_of(takes)) if before else MotionSpace.of(takes, geometry)
    level = level_of([take.samples_16k for take in takes])
    jobs = [(take, tempo) for take in takes for tempo in TEMPI]
    tracks = list[Track]()
    with progress("listening", len(jobs)) as bar:
        for take, tempo in jobs:
            tracks.append(track_of(take, space, level, tempo))
            bar.update(len(tracks))
    if before:
        scale = torch.from_numpy(before.style_mean), torch.from_numpy(before.style_deviation)
    else:
        styles = torch.cat([track.styles for track in tracks])
        scale = styles.mean(0), styles.std(0).nan_to_num(0.0).clamp(min=_LEAST_STYLE_DEVIATION)
    plain = [t for t, (_, tempo) in zip(tracks, jobs, strict=True) if tempo == 1]
    matching = Matching.of([t.x.numpy() for t in plain], [t.sound.numpy() for t in plain], space)
    own = torch.cat([t.styles for t in plain]).mean(0)
    eyes = EyeHabits.of([take.motion[take.confidence > 0] for take in takes])
    prior = Prior(
        space, level, scale[0].numpy(), scale[1].numpy(), ((own - scale[0]) / scale[1]).numpy(), eyes, matching,
        about={
            "seconds": round(seconds, 1), "partner_seconds": round(partnered, 1),
            "speakers": sorted({take.speaker for take in takes}),
        },
    )  # fmt: skip
    metric = Metric.of(space, geometry, [track.x for track in plain])
    return Material(prior, Windows(tracks, space, scale), metric, seconds)


def _seconds(takes: Sequence[Take]) -> float:
    """That were tracked."""
    return float(sum((take.confidence > 0).sum() / take.motion.fps for take in takes))


def split_take(take: Take) -> tuple[Take, Take]:
    """What may be learned from, and what is held out, by the rule that holds for avatars too (`avatar.split`)."""
    seconds = take.motion.timestamps_seconds
    train = training_span(seconds)
    begin = float(seconds[0] + (seconds[-1] - seconds[0]) * (1 - TEST_SHARE))
    return _part(take, train), _part(take, seconds >= begin)


def _part(take: Take, frames: Bool[np.ndarray, " t"]) -> Take:
    """Some frames that follow each other, with their sound, on a clock of their own."""
    motion = take.motion[frames]
    start, step = motion.timestamps_seconds[0], 1 / take.motion.fps
    first = round((start - take.motion.timestamps_seconds[0]) * RATE)
    last = first + round((motion.timestamps_seconds[-1] - start + step) * RATE)
    other = None if take.partner_16k is None else take.partner_16k[first:last]
    motion = replace(motion, timestamps_seconds=motion.timestamps_seconds - start)
    confidence = take.confidence[frames]
    return Take(motion, take.samples_16k[first:last], confidence, take.speaker, other)


def check_takes(takes: Sequence[Take]) -> None:
    """Refuse what nothing can be learned from.

    Raises:
        BadInput: a take without finite numbers, or somebody in it is silent throughout.
    """
    for take in takes:
        if take.partner_16k is not None and not np.abs(take.partner_16k).max(initial=0) > _SILENT:
            raise BadInput(
                f"the partner of {take.speaker} says nothing", expected="what the other one says",
                got="silence throughout", fix="--partner none if there was none",
            )  # fmt: skip
        if not np.isfinite(take.samples_16k).all():
            raise BadInput(f"the sound of {take.speaker} holds values that are not finite", fix="decode it again")
        if not np.abs(take.samples_16k).max(initial=0) > _SILENT:
            raise BadInput(f"{take.speaker} says nothing", expected="speech", got="silence throughout")
