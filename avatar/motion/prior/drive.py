"""Speech in, motion out, by a trained prior; and one part of a motion made anew while the rest stays. numpy only."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float

from avatar.errors import BadInput
from avatar.motion.controls.drivers import crossfade
from avatar.motion.groups import GROUP_NAMES
from avatar.motion.hearing import FPS, WIDTH, frames_of, hear
from avatar.motion.prior.checkpoint import Prior
from avatar.motion.prior.forward import Given
from avatar.motion.prior.one_thread import one_blas_thread
from avatar.motion.prior.rolling import Rolling
from avatar.motion.prior.sampling import Known, Sampling, synthesise
from avatar.motion.resampling import resampled
from avatar.tracks import Motion

Rung = Literal["l0", "flow", "stream"]
"""`stream` is the flow network as it sounds live: it hears less ahead."""
LOOKAHEAD_FRAMES = {"flow": 8, "stream": 3}
"""How far ahead of a frame its sound is heard; more than 8 earn nothing."""


def given_of(
    prior: Prior,
    samples_16k: Float[np.ndarray, " n"],
    partner_16k: Float[np.ndarray, " n"] | None = None,
    frames: int | None = None,
) -> Given:
    """What a network goes by, for each frame of a sound.

    Args:
        partner_16k: what the other one says meanwhile.
        frames: as many as the sound has if not given.
    """
    frames = frames or frames_of(len(samples_16k))
    sound = _fitted(hear(samples_16k, prior.level), frames)
    other = np.zeros((frames, WIDTH), np.float32)
    if partner_16k is not None:
        other = _fitted(hear(partner_16k, prior.level), frames)
    told = np.full(frames, float(partner_16k is not None), np.float32)
    return Given(sound, np.ones(frames, np.float32), other, told, prior.style, 1.0)


def _fitted(rows: np.ndarray, frames: int) -> np.ndarray:
    return np.concatenate([rows[:frames], np.repeat(rows[-1:], max(0, frames - len(rows)), axis=0)])


def drive(
    prior: Prior,
    samples_16k: Float[np.ndarray, " n"],
    *,
    seed: int,
    fps: float = FPS,
    neutral: Float[np.ndarray, "52"] | None = None,
    rung: Rung = "flow",
    sampling: Sampling | None = None,
    partner_16k: Float[np.ndarray, " n"] | None = None,
) -> Motion:
    """Motion for a piece of speech, about the identity pose at the origin, as `avatar.motion.rules.drive` gives it.

    Args:
        samples_16k: mono sound at 16 kHz in [-1, 1].
        seed: blinks, gaze, head and upper face follow from it and the sound; lips nearly from the sound alone.
        fps: frames per second of the motion; a prior thinks in 25 and other rates are interpolated.
        neutral: face at rest of the person who shall speak; the trained person's if not given.

    Raises:
        BadInput: no sound, sound that is not finite, a frame rate outside 1..240, or a rung without its network.
    """
    samples = np.asarray(samples_16k, np.float32)
    if samples.ndim != 1 or not len(samples) or not np.isfinite(samples).all():
        raise BadInput("cannot talk to this sound", expected="finite mono samples at 16 kHz", got=f"{samples.shape}")
    if not 1 <= fps <= 240:
        raise BadInput(f"cannot make a motion of {fps:g} frames per second", expected="1 to 240")
    given = given_of(prior, samples, partner_16k)
    frames, space = len(given.sound), prior.space
    if rung == "l0":
        x = prior.matching.motion(given.sound, seed)
    else:
        with one_blas_thread():
            rolling = Rolling(
                prior,
                seed=seed,
                sampling=sampling,
                lookahead=LOOKAHEAD_FRAMES[rung],
                partnered=partner_16k is not None,
            )
            rolling.feed(given.sound, given.partner)
            rolling.finish()
            x = np.stack([rolling.take() for _ in range(rolling.ready)])
    motion = space.decode(space.guarded(x), np.arange(frames) / FPS, neutral)
    if rung != "l0":  # which has the person's own moments, eyes and all
        motion = prior.eyes.onto(motion, seed, space.rest_expression if neutral is None else neutral)
    if fps == FPS:
        return motion
    return resampled(motion, np.arange(max(1, round(len(samples) / 16_000 * fps))) / fps)


def redo(
    prior: Prior,
    motion: Motion,
    samples_16k: Float[np.ndarray, " n"],
    *,
    groups: Collection[str] = GROUP_NAMES,
    spans_seconds: Sequence[tuple[float, float]] = (),
    seed: int,
    neutral: Float[np.ndarray, "52"] | None = None,
    sampling: Sampling | None = None,
) -> Motion:
    """Make some groups of a motion anew, within some spans; all else stays, to the bit, and the new fits it.

    So one keeps the lips and redoes the head, fills in between keyframes, goes on from a beginning.

    Args:
        motion: about the identity pose at the origin, 25 frames per second, as `drive` gives it.
        groups: which to make anew.
        spans_seconds: when; all the time if none is given.

    Raises:
        BadInput: an unknown group, a span that ends before it begins, or another frame rate.
    """
    seconds = motion.timestamps_seconds
    if unknown := [group for group in groups if group not in GROUP_NAMES]:
        raise BadInput(f"unknown group {unknown[0]!r}", expected=", ".join(GROUP_NAMES), got=unknown[0])
    if len(motion) > 1 and not np.isclose(motion.fps, FPS, atol=0.01):
        raise BadInput("only motion of 25 frames per second can be redone", got=f"{motion.fps:g}", fix="resample it")
    free = np.zeros(len(motion), bool)
    for start, end in spans_seconds or ((-np.inf, np.inf),):
        if not start < end:
            raise BadInput("a span ends before it begins", expected="start < end", got=f"{start:g} to {end:g}")
        free |= (seconds >= start) & (seconds < end)
    chosen = np.array([name in groups for name in GROUP_NAMES])
    new = free[:, None] & chosen
    space = prior.space
    x = space.encode(motion, neutral)
    given = given_of(prior, samples_16k, frames=len(motion))
    known = Known(x, ~new)
    drawn = synthesise(prior, given, known, seed=seed, sampling=sampling)
    made = space.decode(np.where(new[:, space.group], space.guarded(drawn), x), seconds, neutral)
    for k, group in enumerate(GROUP_NAMES):
        motion = crossfade(motion, made, (group,), new[:, k].astype(float))
    return motion
