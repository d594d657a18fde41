"""The command that moves a face live: sound on standard input, one line of JSON per frame on standard output."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from avatar.cli.common import Common
from avatar.cli.manner import Manner
from avatar.errors import BadInput
from avatar.progress import note

_PIECE_BYTES = 1 << 16
_LOOK_SECONDS = 0.2
"""How often a silent input is left to look whether Ctrl-C was pressed."""


@dataclass(frozen=True)
class Stream(Manner, Common):
    """Move a face live: raw PCM on standard input, one line of JSON per frame on standard output, no torch.

    A line has t (seconds on the sound's clock), expression (52 ARKit actions by name), quaternion (w, x, y, z) and
    translation (metres) of the head about its mean pose. A reader that is slow holds the input up (--when-late wait),
    or misses frames (drop). Ctrl-C ends it; what it did is told on stderr.

    Example: arecord -q -t raw -f S16_LE -r 16000 | visavis stream --prior me.prior | my-program
    Example: ffmpeg -v error -i talk.wav -f s16le -ac 1 -ar 48000 - | visavis stream --prior me.prior --rate 48000
    """

    prior: Path = field(kw_only=True)
    """A motion prior (visavis train-prior)."""
    rate: int = 16_000
    """Samples per second of the input."""
    format: Literal["s16", "f32"] = "s16"
    """Its samples: 16-bit integers or floats in [-1, 1], little-endian."""
    partner: bool = False
    """The input is stereo: what the head says on the left, what is said to it on the right."""
    lookahead: int = 3
    """Frames (40 ms) of sound heard ahead of each frame, 0 to 12: lips are better, and later."""
    fps: float = 25.0
    """Frames per second."""
    when_late: Literal["wait", "drop"] = "wait"
    """What a reader that is too slow brings about."""
    capacity: float = 2.0
    """Seconds of frames that wait for the reader before --when-late applies."""
    live: bool = False
    """The sound comes from a device: warn if it is faster or slower than --rate says."""
    seed: int = 0
    """Chooses blinks, gaze and head motion."""

    def start(self) -> None:
        super().start()
        self.check_manner(network=True, fix="")

    def run(self) -> dict:
        from avatar.motion.prior.checkpoint import Prior
        from avatar.motion.prior.stream import MotionStream

        prior = Prior.load(self.prior)
        if self.partner and not prior.listens:
            note("this prior was not trained with a partner: what is said to it moves nothing")
        stream = MotionStream(
            self.styled(prior), seed=self.seed, rate=self.rate, lookahead_frames=self.lookahead,
            partnered=self.partner, capacity_seconds=self.capacity, when_late=self.when_late, fps=self.fps,
            live=self.live, sampling=self.sampling(),
        )  # fmt: skip
        start, frames, ended = time.monotonic(), 0, "end of input"
        try:
            with interruptible() as stopped:
                for pcm in pieces(self.format, 2 if self.partner else 1, stopped):
                    frames += self._hear(stream, pcm)
                if stopped:
                    ended = "Ctrl-C"
                else:
                    frames += write(stream.close())
        except BrokenPipeError:
            ended = "the reader went away"
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it exits
        seconds = time.monotonic() - start
        told = {"frames": frames, "dropped": stream.dropped, "seconds": round(seconds, 3), "ended_by": ended}
        told |= {"latency_ms": round(stream.latency.total_ms, 1), "compute_ms": round(stream.latency.compute_p50_ms, 2)}
        note(", ".join(f"{key} {value}" for key, value in told.items()))
        return told if self.json else {}

    def _hear(self, stream, pcm) -> int:
        """Push a piece of any length, write what comes of it."""
        frames = 0
        while len(pcm):
            count = len(pcm) if self.when_late == "drop" else stream.room
            piece, pcm = pcm[:count], pcm[count:]
            stream.push(*piece.T)
            frames += write(stream.pull())
        return frames


@contextmanager
def interruptible() -> Iterator[list[bool]]:
    """A list that is filled by the first Ctrl-C, so that no line is cut; the second one interrupts as usual."""
    stopped: list[bool] = []

    def stop(*_) -> None:
        stopped.append(True)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, before)


def pieces(kind: Literal["s16", "f32"], channels: int, stopped: list[bool]) -> Iterator:
    """Standard input as arrays (samples, channels), as it comes, until its end or Ctrl-C.

    Raises:
        BadInput: it ends amid a sample.
    """
    import numpy as np

    dtype = np.dtype({"s16": "<i2", "f32": "<f4"}[kind])
    source, waiting, whole = sys.stdin.fileno(), b"", dtype.itemsize * channels
    while not stopped:
        if not select.select([source], [], [], _LOOK_SECONDS)[0]:
            continue
        read = os.read(source, _PIECE_BYTES)
        waiting += read
        usable = len(waiting) // whole * whole
        if usable:
            yield np.frombuffer(waiting[:usable], dtype).reshape(-1, channels)
        waiting = waiting[usable:]
        if not read:
            break
    if waiting and not stopped:
        raise BadInput(
            "the sound ends amid a sample", expected=f"a multiple of {whole} bytes", got=f"{len(waiting)} more",
            fix="check --format and --partner",
        )  # fmt: skip


def write(motion) -> int:
    """Frames as lines, at once; returns how many."""
    from avatar.head.arkit import ARKIT_NAMES

    for k in range(len(motion)):
        line = {
            "t": round(float(motion.timestamps_seconds[k]), 6),
            "expression": dict(zip(ARKIT_NAMES, rounded(motion.expression[k]), strict=True)),
            "quaternion": rounded(motion.quats_wxyz[k], 6),
            "translation": rounded(motion.translation[k], 6),
        }
        sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
    return len(motion)


def rounded(numbers, digits: int = 5) -> list[float]:
    """For JSON."""
    return [round(x, digits) for x in numbers.tolist()]
