"""What every frame of a driver's motion says beside the truth's: the table that lip scores are computed from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.ndimage import binary_dilation, binary_erosion

from avatar.motion.face_geometry import FaceGeometry
from avatar.motion.features import features
from avatar.motion.prosody import Prosody, prosody
from avatar.motion.takes import Take
from avatar.tracks import Motion

SEGMENT_SECONDS = 3.0
"""Frames of a segment hang together: bootstrapping draws segments, not frames."""
CLOSED_QUANTILE = 0.08
"""Lips count as closed below this quantile of the opening in the training's speech."""
TOLERANCE_FRAMES = 2
_QUIET_SECONDS = 0.25
"""Silence begins so long after speech: lips need a moment to come to rest."""


@dataclass(frozen=True)
class Frames:
    """One row per frame of all takes; lengths in millimetres."""

    segment: Int[np.ndarray, " n"]
    lip_error: Float[np.ndarray, " n"]
    """Distance of the lip vertex that is furthest off."""
    face_error: Float[np.ndarray, " n"]
    """Root mean square over the skin."""
    opening: Float[np.ndarray, " n"]
    opening_true: Float[np.ndarray, " n"]
    speed: Float[np.ndarray, " n"]
    """Of the opening, per frame."""
    speed_true: Float[np.ndarray, " n"]
    speech: Bool[np.ndarray, " n"]
    quiet: Bool[np.ndarray, " n"]
    closed: Bool[np.ndarray, " n"]
    closed_true: Bool[np.ndarray, " n"]
    near_closed: Bool[np.ndarray, " n"]
    """A frame of `closed` is within the tolerance."""
    near_closed_true: Bool[np.ndarray, " n"]

    def __getitem__(self, index: np.ndarray) -> Frames:
        return Frames(*(getattr(self, f.name)[index] for f in fields(self)))

    def __len__(self) -> int:
        return len(self.segment)


def speech_of(take: Take) -> tuple[Bool[np.ndarray, " t"], Bool[np.ndarray, " t"]]:
    """In which frames of a take somebody speaks, and in which nobody does nor just did."""
    return speech_in(prosody(features(take.samples_16k)), take.motion)


def speech_in(told: Prosody, motion: Motion) -> tuple[Bool[np.ndarray, " t"], Bool[np.ndarray, " t"]]:
    """`speech_of` where the prosody is known."""
    speech = np.interp(motion.timestamps_seconds, told.timestamps_seconds, told.speaking) > 0.5
    around = max(1, round(_QUIET_SECONDS * motion.fps))
    return speech, np.asarray(binary_erosion(~speech, iterations=around, border_value=1))


def closed_below_mm(training: Sequence[Take], geometry: FaceGeometry) -> float:
    """The opening at which this person's lips count as closed."""
    openings = [1e3 * geometry.aperture(take.motion.expression)[speech_of(take)[0]] for take in training]
    return float(np.quantile(np.concatenate(openings), CLOSED_QUANTILE))


def frames_of(motions: Sequence[Motion], truth: Sequence[Take], geometry: FaceGeometry, closed_below: float) -> Frames:
    """The table of a driver's motions, one for each take, frame by frame."""
    return _joined([_of_take(m, t, geometry, closed_below) for m, t in zip(motions, truth, strict=True)])


def _of_take(motion: Motion, take: Take, geometry: FaceGeometry, closed_below: float) -> Frames:
    count = min(len(motion), len(take.motion))
    mine, true = motion.expression[:count], take.motion.expression[:count]
    off = mine - true
    opening, opening_true = 1e3 * geometry.aperture(mine), 1e3 * geometry.aperture(true)
    speech, quiet = (flags[:count] for flags in speech_of(take))
    closed, closed_true = (speech & (x < closed_below) for x in (opening, opening_true))
    apart = np.linalg.norm(geometry.lips(mine) - geometry.lips(true), axis=-1)
    return Frames(
        segment=(np.arange(count) / (SEGMENT_SECONDS * take.motion.fps)).astype(int),
        lip_error=1e3 * apart.max(1),
        face_error=1e3 * np.sqrt(np.einsum("ti,ij,tj->t", off, geometry.gram, off).clip(min=0)),
        opening=opening,
        opening_true=opening_true,
        speed=np.diff(opening, prepend=opening[:1]),
        speed_true=np.diff(opening_true, prepend=opening_true[:1]),
        speech=speech,
        quiet=quiet,
        closed=closed,
        closed_true=closed_true,
        near_closed=_near(closed),
        near_closed_true=_near(closed_true),
    )


def _near(flags: np.ndarray) -> np.ndarray:
    return np.asarray(binary_dilation(flags, iterations=TOLERANCE_FRAMES))


def _joined(parts: Sequence[Frames]) -> Frames:
    columns = {f.name: [getattr(part, f.name) for part in parts] for f in fields(Frames)}
    first = np.cumsum([0, *(part.segment[-1] + 1 for part in parts)])
    columns["segment"] = [part.segment + start for part, start in zip(parts, first, strict=False)]
    return Frames(*(np.concatenate(column) for column in columns.values()))
