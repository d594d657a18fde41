"""`train_prior`: from captures to a prior file, and what it can do on what was held out."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from avatar import __version__
from avatar.assets import sha256_file
from avatar.errors import BadInput, FormatMismatch
from avatar.files import partial_folder
from avatar.head import load_head
from avatar.motion.face_geometry import FaceGeometry
from avatar.motion.prior.checkpoint import Prior
from avatar.motion.prior.config import TrainConfig
from avatar.motion.prior.data import check_takes, material_of, split_take
from avatar.motion.prior.processes import Processes
from avatar.motion.prior.training import train
from avatar.motion.takes import takes_of
from avatar.progress import note
from avatar.types import Capture


def train_prior(
    captures: Sequence[Capture],
    output: Path,
    config: TrainConfig,
    *,
    start: Path | None = None,
    partners: Sequence[Path | None] = (),
    processes: Processes | None = None,
) -> dict:
    """Train a prior on tracked clips and write it; an interrupted training goes on when the same call is made again.

    Args:
        start: a prior to personalise. Of one that holds the L0 rung alone, only the space is taken over.
        partners: what the other one said in each capture, see `takes_of`.
        processes: of several, which one this is (`processes.joined`); the first one writes the prior.

    Raises:
        BadInput: too little speech, captures of different heads or of another than `start`, or the output can't be
            written.
        Interrupted: Ctrl-C; the state is saved beside `output`.
    """
    began, output = time.monotonic(), output.expanduser().absolute()
    takes = takes_of(captures, partners)
    check_takes(takes)
    training = [split_take(take)[0] for take in takes]
    geometry = geometry_of(captures)
    before = _start_of(start, captures[0]) if start else None
    material = material_of(training, geometry, before)
    hashes = sorted(capture.content_hash for capture in captures)
    began_from = {"name": start.name, "sha256": sha256_file(start)} if start else None
    heard = [sha256_file(partner) if partner else None for partner in partners]
    sources = hashlib.sha256(f"{hashes} {began_from} {heard}".encode()).hexdigest()
    state = partial_folder(output)
    state.parent.mkdir(parents=True, exist_ok=True)
    prior = train(material, config, state, sources, before, processes)
    seconds = round(time.monotonic() - began, 1)
    about = {
        "version": __version__, "head": {"name": captures[0].head_name, "hash": captures[0].head_hash},
        "sources": hashes, "training_seconds": seconds, "personalised_from": began_from,
    }  # fmt: skip
    prior = replace(prior, about=prior.about | about)
    if processes is None or processes.leads:
        prior.save(output)
        state.unlink(missing_ok=True)
    rung = "flow" if prior.weights else "l0"
    return {
        "prior": str(output), "rung": rung, "seconds_of_speech": prior.about["seconds"],
        "seconds_with_partner": prior.about["partner_seconds"], "seconds": seconds,
        "steps": config.steps, "loss": prior.about.get("loss"),
    }  # fmt: skip


def _start_of(path: Path, capture: Capture) -> Prior:
    """A prior to personalise with such captures.

    Raises:
        BadInput: it was trained on another head model.
    """
    prior = Prior.load(path)
    head = prior.about.get("head") or {}
    if head.get("hash") != capture.head_hash:
        raise BadInput(
            f"{path} can't be personalised with {capture.path.name}: they are of different head models",
            expected=f"{head.get('name', 'unknown')}, version {head.get('hash', 'unknown')}",
            got=f"{capture.head_name}, version {capture.head_hash}",
            fix="preprocess the video with the prior's --head, or leave --personalise out",
        )  # fmt: skip
    if prior.weights is None:
        note(f"{path.name} has no flow network: only its motion space is taken over")
    return prior


def geometry_of(captures: Sequence[Capture]) -> FaceGeometry:
    """Of the people in captures of one head model: of their mean face.

    Raises:
        BadInput: their heads differ.
        FormatMismatch: the head model is of another version.
    """
    first = captures[0]
    for capture in captures:
        if capture.head_hash != first.head_hash:
            raise BadInput(
                "these captures were tracked on different head models", expected=first.head_name,
                got=f"{capture.head_name} ({capture.path.name})", fix="preprocess them with the same --head",
            )  # fmt: skip
    head = load_head(first.head_name)
    if head.content_hash != first.head_hash:
        raise FormatMismatch(
            f"{first.path} was tracked on another version of the head model {head.name}", expected=first.head_hash,
            got=head.content_hash, fix="preprocess the video again with this version",
        )  # fmt: skip
    return FaceGeometry.of(head, np.mean([capture.neutral for capture in captures], axis=0))
