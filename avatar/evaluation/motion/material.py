"""What scores of motion are worked out from: lips, eyes and head at 25 frames per second, and the sound beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.ndimage import binary_erosion, gaussian_filter1d
from scipy.spatial.transform import Rotation

from avatar.evaluation.motion.bootstrap import Sums, Tally
from avatar.motion.eye_angles import gaze_degrees
from avatar.motion.eyes import head_degrees, lid_closure
from avatar.motion.face_geometry import FaceGeometry
from avatar.motion.features import HOP_SECONDS, features
from avatar.motion.hearing import FPS
from avatar.motion.prosody import Prosody, prosody
from avatar.motion.resampling import resampled
from avatar.motion.space import MotionSpace
from avatar.motion.takes import Take
from avatar.tracks import Motion

SEGMENT_SECONDS = 3.0
"""Frames of a segment hang together: bootstrapping draws segments, not frames."""
_QUIET_SECONDS = 0.25
"""Silence begins so long after speech: lips need a moment to come to rest."""
_RANGE_DB, _LEAST_DB = 35.0, -70.0
"""Sound that much under the loudest, or under this, is silence."""


@dataclass(frozen=True)
class Heard:
    """The sound of a take, per frame of its motion."""

    samples_16k: Float[np.ndarray, " n"]
    level_db: Float[np.ndarray, " t"]
    """Loudness over silence, 0 at the least."""
    pitch: Float[np.ndarray, " t"]
    """Semitones over the speaker's median."""
    speech: Bool[np.ndarray, " t"]
    quiet: Bool[np.ndarray, " t"]
    """Well away from any speech."""
    prosody: Prosody

    @staticmethod
    def of(samples_16k: Float[np.ndarray, " n"], motion: Motion) -> Heard:
        """Sample 0 is at the motion's first frame."""
        found = features(samples_16k)
        said = prosody(found)
        loud = gaussian_filter1d(found.energy_db.astype(np.float64), 0.02 / HOP_SECONDS)
        level = np.maximum(loud - max(float(np.percentile(loud, 95)) - _RANGE_DB, _LEAST_DB), 0)
        at, seconds = said.timestamps_seconds, motion.timestamps_seconds
        speech = np.interp(seconds, at, said.speaking) > 0.5
        around = max(1, round(_QUIET_SECONDS * motion.fps))
        quiet = np.asarray(binary_erosion(~speech, iterations=around, border_value=1))
        return Heard(
            np.asarray(samples_16k, np.float32), np.interp(seconds, at, level),
            np.interp(seconds, at, said.pitch_semitones), speech, quiet, said,
        )  # fmt: skip


@dataclass(frozen=True)
class Course:
    """One motion in the units of the scores."""

    expression: Float[np.ndarray, "t 52"]
    aperture_mm: Float[np.ndarray, " t"]
    x: Float[np.ndarray, "t d"]
    """Numbers of the person's motion space, of unit deviation in training."""
    head_degrees: Float[np.ndarray, "t 3"]
    """Yaw to the subject's left, pitch down, roll."""
    gaze_degrees: Float[np.ndarray, "t 3"]
    """In the head: to the subject's left, up, vergence."""
    lids: Float[np.ndarray, " t"]
    """Closure of both, over their rest."""

    def __len__(self) -> int:
        return len(self.aperture_mm)

    @staticmethod
    def of(motion: Motion, geometry: FaceGeometry, space: MotionSpace) -> Course:
        """Of a motion at 25 frames per second about the identity pose."""
        expression = motion.expression.astype(np.float64)
        return Course(
            expression, 1e3 * geometry.aperture(expression), space.encode(motion).astype(np.float64),
            head_degrees(motion), gaze_degrees(expression), lid_closure(motion).astype(np.float64),
        )  # fmt: skip

    @property
    def gaze_in_space(self) -> Float[np.ndarray, "t 2"]:
        """Where the eyes look beyond the head: to the subject's left and up, degrees."""
        return self.gaze_degrees[:, :2] + self.head_degrees[:, :2] * (1, -1)

    @property
    def head_speed(self) -> Float[np.ndarray, " s"]:
        """Of each frame to the next, degrees per second."""
        turns = Rotation.from_euler("YXZ", self.head_degrees, degrees=True)
        return np.degrees((turns[:-1].inv() * turns[1:]).magnitude()) * FPS


@dataclass(frozen=True)
class Segments:
    """Frames of several takes, cut into pieces of `SEGMENT_SECONDS` and somewhat more at the ends."""

    of_frame: list[Int[np.ndarray, " _"]]
    count: int

    @staticmethod
    def of(lengths: Sequence[int]) -> Segments:
        """Of takes with so many frames."""
        rows, count = [], 0
        for length in lengths:
            pieces = max(1, int(length / (SEGMENT_SECONDS * FPS)))
            rows.append(count + np.minimum(np.arange(length) * pieces // max(length, 1), pieces - 1))
            count += pieces
        return Segments(rows, count)

    def sums(self, rows: Sequence[np.ndarray], where: Sequence[np.ndarray] | None = None) -> np.ndarray:
        """Sums over each segment, (segments, ...).

        Args:
            rows: of each take, (t, ...) or fewer rows that belong to its first frames.
            where: which of them count.
        """
        total = np.zeros((self.count, *rows[0].shape[1:]))
        for take, (index, part) in enumerate(zip(self.of_frame, rows, strict=True)):
            kept = slice(None) if where is None else where[take][: len(part)]
            np.add.at(total, index[: len(part)][kept], part[kept])
        return total

    def events(self, frames: Sequence[np.ndarray], values: Sequence[np.ndarray] | None = None) -> np.ndarray:
        """Number of events in each segment, or the sum of a value of each.

        Args:
            frames: of each take, the frames at which something happens.
        """
        rows = [np.zeros(len(index)) for index in self.of_frame]
        for take, at in enumerate(frames):
            np.add.at(rows[take], at, 1.0 if values is None else values[take])
        return self.sums(rows)


@dataclass(frozen=True)
class HeldOut:
    """What really happened in the takes that nothing was learned from."""

    motions: list[Motion]
    """25 frames per second, from second 0 on."""
    courses: list[Course]
    heard: list[Heard]
    known: list[Bool[np.ndarray, " _"]]
    """Frames that were tracked."""
    segments: Segments
    space: MotionSpace

    @staticmethod
    def of(takes: Sequence[Take], geometry: FaceGeometry, space: MotionSpace) -> HeldOut:
        """Of held-out takes (or of training takes, to know what is usual)."""
        motions = [steady(take.motion) for take in takes]
        known = [
            np.interp(motion.timestamps_seconds, take.motion.timestamps_seconds, take.confidence) > 0.5
            for motion, take in zip(motions, takes, strict=True)
        ]
        courses = [Course.of(motion, geometry, space) for motion in motions]
        heard = [Heard.of(take.samples_16k, motion) for take, motion in zip(takes, motions, strict=True)]
        return HeldOut(motions, courses, heard, known, Segments.of([len(m) for m in motions]), space)


def steady(motion: Motion) -> Motion:
    """The same motion at 25 frames per second from second 0 on."""
    start, step = motion.timestamps_seconds[0], 1 / motion.fps
    length = float(motion.timestamps_seconds[-1] - start) + step
    moved = replace(motion, timestamps_seconds=motion.timestamps_seconds - start)
    return resampled(moved, np.arange(max(1, round(length * FPS))) / FPS)


@dataclass(frozen=True)
class Pair:
    """One row's motions beside the truth."""

    held: HeldOut
    motions: list[Motion]
    """The driver's, frame by frame as the truth's."""
    made: list[Course]
    geometry: FaceGeometry

    @property
    def true(self) -> list[Course]:
        return self.held.courses

    def moved(self, group: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """The numbers of a group in its own unit, truth's and the driver's: of lips and upper face, mm of the skin."""
        columns = self.held.space.slices[group]
        unit = self.held.space.deviation[columns] * (1e3 if group in ("lips", "upper") else 1.0)
        return [c.x[:, columns] * unit for c in self.true], [c.x[:, columns] * unit for c in self.made]

    def known(self, apart: int = 0) -> list[Bool[np.ndarray, " _"]]:
        """Which frames are known together with the `apart` frames that follow."""
        return [np.logical_and.reduce([k[i : len(k) - apart + i] for i in range(apart + 1)]) for k in self.held.known]

    def mean(self, rows: Sequence[np.ndarray], where: Sequence[np.ndarray] | None = None) -> Sums:
        """Sums for the mean of a number per frame over what is known (`bootstrap.ratio`)."""
        where = self.held.known if where is None else where
        ones = [np.ones(len(part)) for part in rows]
        return {"top": self.held.segments.sums(rows, where), "bottom": self.held.segments.sums(ones, where)}

    def moments(self, a: Sequence[np.ndarray], b: Sequence[np.ndarray], where: Sequence[np.ndarray]) -> Sums:
        """Sums for a correlation of two courses (`bootstrap.pearson`)."""
        sums = self.held.segments.sums
        products = {"n": lambda p, q: np.ones_like(p), "a": lambda p, q: p, "b": lambda p, q: q}
        products |= {"aa": lambda p, q: p * p, "bb": lambda p, q: q * q, "ab": lambda p, q: p * q}
        return {k: sums([f(p, q) for p, q in zip(a, b, strict=True)], where) for k, f in products.items()}

    def silence_over_speech(self, rows: Sequence[np.ndarray], still: str) -> Tally:
        """Mean of a number per step from frame to frame where nobody speaks, over that where somebody does.

        Args:
            still: what has no such ratio, in words.
        """
        sums: dict[str, np.ndarray] = {}
        for name in ("quiet", "speech"):
            where = [getattr(h, name)[1:] & k for h, k in zip(self.held.heard, self.known(1), strict=True)]
            sums |= {name + key: part for key, part in self.mean(rows, where).items()}
        return Tally(sums, _quieter, f"no silence, no speech, or {still}")


def _quieter(sums: Sums) -> Float[np.ndarray, " b"]:
    return (sums["quiettop"] / sums["quietbottom"]) / (sums["speechtop"] / sums["speechbottom"])
