"""Edits that survive: offsets, locks and keyframes, laid over a motion again whenever it was made anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy.interpolate import CubicHermiteSpline

from avatar.errors import BadInput
from avatar.motion.blinks import smoothstep
from avatar.motion.controls.channels import CHANNELS, add_to_channels, group_of, read_channel
from avatar.motion.controls.closures import keep_closures
from avatar.motion.controls.drivers import crossfade, fitted
from avatar.motion.controls.rest import Rest
from avatar.tracks import Motion


@dataclass(frozen=True)
class Offset:
    """Add to channels over a span; nothing beyond it."""

    start_seconds: float
    end_seconds: float
    add: Mapping[str, float]
    """By channel of `avatar.motion.controls.channels`."""
    ramp_seconds: float = 0.3
    """It comes and goes in so long, inside of the span."""


@dataclass(frozen=True)
class Lock:
    """Keep groups as they are in another motion, or still as they are when the span begins."""

    start_seconds: float
    end_seconds: float
    groups: tuple[str, ...]
    motion: Motion | None = None
    """From its beginning on the same clock; None: hold still."""
    file: str | None = None
    """Where `motion` is kept, beside the edits."""
    ramp_seconds: float = 0.2
    """What lies around the span goes over into it in so long, outside of it."""


@dataclass(frozen=True)
class Key:
    """What channels have to be at a moment: exactly so in the nearest frame."""

    at_seconds: float
    set: Mapping[str, float]
    """By channel of `avatar.motion.controls.channels`."""
    reach_seconds: float = 0.5
    """How long before and after the motion still bends towards it. Keys whose reaches meet are joined smoothly."""


@dataclass(frozen=True)
class Edits:
    """All edits of one motion; locks act after offsets, and keys last. Seconds are those since its first frame."""

    offsets: tuple[Offset, ...] = ()
    locks: tuple[Lock, ...] = ()
    keys: tuple[Key, ...] = ()


def apply_edits(motion: Motion, edits: Edits, rest: Rest | None = None) -> Motion:
    """Lay edits over a motion. What no edit reaches stays the same to the bit.

    Keys bend the motion rather than replace it: what is added runs smoothly through what each key lacks (cubics of
    Catmull & Rom 1974), so that between keys the motion keeps its life. Offsets keep lips closed that close in
    speech; keys on the lips mean what they say.

    Args:
        rest: about what angles and places are meant; the motion's own statistics if not given.

    Raises:
        BadInput: keys that want different things of one channel in one frame, a key inside of a lock of its group, two
            locks of a group at once, or an edit beyond the end.
    """
    rest = rest or Rest.of(motion)
    seconds = motion.timestamps_seconds - motion.timestamps_seconds[0]
    _check_locks(edits)
    for offset in edits.offsets:
        _within(seconds, offset.start_seconds, "an offset begins")
        motion = _offset(motion, rest, seconds, offset)
    for lock in edits.locks:
        _within(seconds, lock.start_seconds, "a lock begins")
        motion = _locked(motion, seconds, lock)
    keyed = {name for key in edits.keys for name in key.set}
    for name in sorted(keyed, key=CHANNELS.index):  # turns come before places: a head turns about its neck
        motion = _keyed(motion, rest, seconds, name, [key for key in edits.keys if name in key.set])
    return motion


def _offset(motion: Motion, rest: Rest, seconds: np.ndarray, offset: Offset) -> Motion:
    ramp = min(offset.ramp_seconds, (offset.end_seconds - offset.start_seconds) / 2)
    share = _rise(seconds - offset.start_seconds, ramp) * _rise(offset.end_seconds - seconds, ramp)
    out = add_to_channels(motion, rest, {name: value * share for name, value in offset.add.items()})
    if any(group_of(name) == "lips" for name in offset.add):
        sealed = keep_closures(motion.expression, out.expression, rest, motion.fps, in_speech_only=True)
        out = replace(out, expression=np.where(share[:, None] > 0, sealed, out.expression))
    return out


def _rise(seconds: np.ndarray, ramp: float) -> np.ndarray:
    return smoothstep(seconds / ramp) if ramp > 0 else (seconds >= 0).astype(np.float64)


def _locked(motion: Motion, seconds: np.ndarray, lock: Lock) -> Motion:
    ramp = lock.ramp_seconds
    share = _rise(seconds - lock.start_seconds + ramp, ramp) * _rise(lock.end_seconds + ramp - seconds, ramp)
    if lock.motion is not None:
        return crossfade(motion, fitted(lock.motion, motion), lock.groups, share)
    first = int(np.searchsorted(seconds, lock.start_seconds))
    return crossfade(motion, motion[np.full(len(motion), first)], lock.groups, share)


def _keyed(motion: Motion, rest: Rest, seconds: np.ndarray, name: str, keys: Sequence[Key]) -> Motion:
    now, frames = read_channel(motion, rest, name), {}
    for key in sorted(keys, key=lambda k: k.at_seconds):
        _within(seconds, key.at_seconds, f"a key of {name} lies")
        frame = int(np.abs(seconds - key.at_seconds).argmin())
        if frame in frames and frames[frame].set[name] != key.set[name]:
            raise BadInput(
                f"two keys want different things of {name} at {seconds[frame]:.4g} s", expected="one value per frame",
                got=f"{frames[frame].set[name]:g} and {key.set[name]:g}", fix="remove one of them",
            )  # fmt: skip
        frames[frame] = key
    lacking = np.array([key.set[name] - now[frame] for frame, key in frames.items()])
    times, reach = seconds[list(frames)], np.array([max(key.reach_seconds, 1e-3) for key in frames.values()])
    added = bend(seconds, times, lacking, reach)
    added[list(frames)] = lacking
    return add_to_channels(motion, rest, {name: added})


def bend(
    seconds: Float[np.ndarray, " t"],
    times: Float[np.ndarray, " k"],
    values: Float[np.ndarray, " k"],
    reach: Float[np.ndarray, " k"],
) -> Float[np.ndarray, " t"]:
    """A smooth track through values at rising times that is 0 beyond their reach, also between keys far apart."""
    knots: list[tuple[float, float]] = [(times[0] - reach[0], 0.0)]
    following = [*(times - reach)[1:], np.inf]
    for time, value, end, start in zip(times, values, times + reach, following, strict=True):
        knots.append((time, value))
        if end < start:
            knots += [(at, 0.0) for at in (end, start) if at < np.inf]
    at, height = np.array(knots).T
    slopes = np.where(height == 0, 0.0, np.gradient(height, at))
    track = CubicHermiteSpline(at, height, slopes)(seconds)
    return np.where((seconds > at[0]) & (seconds < at[-1]), track, 0.0)


def _within(seconds: np.ndarray, moment: float, what: str) -> None:
    frame = seconds[1] - seconds[0] if len(seconds) > 1 else 0.04
    if not 0 <= moment <= seconds[-1] + frame / 2:
        raise BadInput(
            f"{what} outside of the motion", expected=f"0 to {seconds[-1]:.4g} seconds", got=f"{moment:g} seconds"
        )


def _span(lock: Lock) -> str:
    return f"{lock.start_seconds:g}-{lock.end_seconds:g} s"


def _check_locks(edits: Edits) -> None:
    for i, lock in enumerate(edits.locks):
        for other in edits.locks[:i]:
            both = set(lock.groups) & set(other.groups)
            if both and lock.start_seconds <= other.end_seconds and other.start_seconds <= lock.end_seconds:
                raise BadInput(
                    f"two locks hold {min(both)} at once", expected="one after the other",
                    got=f"{_span(other)} and {_span(lock)}",
                    fix="remove one of them",
                )  # fmt: skip
        for key in edits.keys:
            for name in key.set:
                if lock.start_seconds <= key.at_seconds <= lock.end_seconds and group_of(name) in lock.groups:
                    raise BadInput(
                        f"a key sets {name} at {key.at_seconds:g} s, where {group_of(name)} is locked",
                        expected="a key outside of the lock", fix="move the key, or take the group out of the lock",
                        got=f"a lock from {lock.start_seconds:g} to {lock.end_seconds:g} s",
                    )  # fmt: skip
