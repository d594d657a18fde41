"""Takes: somebody's motion together with the sound that went with it, which priors learn from and are measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial.transform import Rotation

from avatar.errors import BadInput
from avatar.motion.at_rest import face_at_rest
from avatar.motion.audio import RATE, load_audio
from avatar.motion.phones import Phone
from avatar.tracks import Motion


@runtime_checkable
class Tracked(Protocol):
    """What a take needs of a capture (`avatar.types.Capture`)."""

    path: Path
    motion: Motion
    tracked: Bool[np.ndarray, " t"]
    audio_path: Path | None


@dataclass(frozen=True)
class Take:
    """Motion about the identity pose at the origin (head axes; no camera), from second 0 on, with its sound."""

    motion: Motion
    samples_16k: Float[np.ndarray, " n"]
    """Mono in [-1, 1]; sample 0 is at the motion's first frame."""
    confidence: Float[np.ndarray, " t"]
    """How far each frame of the motion is to be believed, 0 to 1."""
    speaker: str
    partner_16k: Float[np.ndarray, " n"] | None = None
    """What the other one says meanwhile, on the same clock."""
    phones: list[Phone] | None = None
    """What is said, if it is known."""

    @property
    def face_at_rest(self) -> Float[np.ndarray, "52"]:
        """How the face looks while nothing moves it."""
        return face_at_rest(self.motion.expression[self.confidence > 0])

    @staticmethod
    def of_capture(capture: Tracked, partner: Path | None = None) -> Take:
        """A tracked clip of somebody: his motion about the mean of the tracked frames, and the sound that goes with it.

        The sound is cut, or followed by silence, to end with the last frame. Frames without a face have confidence 0.

        Args:
            partner: what the other one said meanwhile, from the first frame on.

        Raises:
            BadInput: the capture has no sound, or it can't be read, or no frame was tracked.
        """
        if capture.audio_path is None:
            raise BadInput(
                f"{capture.path} has no sound", expected="the capture of a video in which somebody speaks",
                fix="visavis preprocess a video with an audio track",
            )  # fmt: skip
        motion = about_mean_pose(capture)
        start = float(motion.timestamps_seconds[0])
        seconds = motion.timestamps_seconds - start
        first, count = round(start * RATE), round((float(seconds[-1]) + 1 / motion.fps) * RATE)
        sounds = [load_audio(path)[first : first + count] for path in (capture.audio_path, partner) if path]
        own, *other = [np.pad(sound, (0, count - len(sound))) for sound in sounds]
        return Take(
            motion=replace(motion, timestamps_seconds=seconds),
            samples_16k=own,
            confidence=capture.tracked.astype(np.float32),
            speaker=capture.path.name,
            partner_16k=other[0] if other else None,
        )


def takes_of(captures: Sequence[Tracked], partners: Sequence[Path | None] = ()) -> list[Take]:
    """Takes of captures.

    Args:
        partners: what the other one said meanwhile, one per capture, None where somebody spoke alone; nobody had a
            partner if not given.

    Raises:
        BadInput: there are not as many partners as captures, or a capture is no take.
    """
    if partners and len(partners) != len(captures):
        raise BadInput(
            "every capture needs its own partner", expected=", ".join(capture.path.name for capture in captures),
            got=f"{len(partners)} partners",
            fix="give --partner once per capture, in this order; none if there was none",
        )  # fmt: skip
    pairs = zip(captures, partners or [None] * len(captures), strict=True)
    return [Take.of_capture(capture, partner) for capture, partner in pairs]


def about_mean_pose(capture: Tracked) -> Motion:
    """The motion of a capture about the mean of its tracked frames.

    Raises:
        BadInput: no frame was tracked.
    """
    seen = capture.motion[capture.tracked]
    if not len(seen):
        raise BadInput(f"{capture.path} shows no face", expected="a capture with tracked frames", got="none")
    mean = Rotation.from_quat(seen.quats_wxyz, scalar_first=True).mean()
    return about_pose(capture.motion, mean.as_matrix(), seen.translation.mean(0, dtype=np.float64))


def about_pose(motion: Motion, R: Float[np.ndarray, "3 3"], t: Float[np.ndarray, "3"]) -> Motion:
    """A motion in the axes of a pose of the head (world <- head, metres): at that pose it is the identity at 0.

    Of how the shoulders moved, what lies in these axes is kept.
    """
    turned = Rotation.from_matrix(R.T) * Rotation.from_quat(motion.quats_wxyz, scalar_first=True)
    shift = (motion.torso[:, :2] @ R[:2])[:, :2]
    return replace(
        motion,
        quats_wxyz=turned.as_quat(scalar_first=True).astype(np.float32),
        translation=((motion.translation - t) @ R).astype(np.float32),
        torso=np.column_stack([shift, R[2, 2] * motion.torso[:, 2]]).astype(np.float32),
    )
