"""Motion from a microphone: push sound as it comes, pull the frames that are ready. numpy only, one core, no torch."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from avatar.errors import BadInput, VisavisError
from avatar.motion.audio import RATE
from avatar.motion.eyes import LiveEyes
from avatar.motion.hearing import FPS, SEEN_SECONDS, Hearing, frames_of, hear, sounding
from avatar.motion.prior.checkpoint import Prior
from avatar.motion.prior.intake import Intake, PaceWatch, samples_of
from avatar.motion.prior.lips_shut import CLOSING_FRAMES, LipsShut
from avatar.motion.prior.one_thread import one_blas_thread
from avatar.motion.prior.rolling import Rolling
from avatar.motion.prior.sampling import Sampling
from avatar.motion.resampling import LiveResampling, joined
from avatar.progress import note
from avatar.tracks import Motion

WhenLate = Literal["drop", "wait"]
_SAMPLES_PER_FRAME = round(RATE / FPS)
_MEASURED = 500
"""Latest frames whose computing time `latency` tells."""


class StreamFull(VisavisError):
    """More sound than a stream holds that waits for its consumer; nothing of the piece was taken."""


@dataclass(frozen=True)
class LatencyBudget:
    """Where the time between a sound and the frame that shows it goes, milliseconds."""

    frame_ms: float
    """A sound waits up to this for the next frame's moment."""
    lookahead_ms: float
    """Sound that is heard ahead of each frame."""
    features_ms: float
    """Sound after a moment that its features look at."""
    resampling_ms: float
    """Held back by the resampler."""
    compute_p50_ms: float
    """Hearing, network and decoding of one frame, as measured on the latest frames; 0 before there are any."""
    compute_p99_ms: float

    @property
    def total_ms(self) -> float:
        """From the moment of a frame to the frame; the pieces in which sound comes are added to it."""
        return self.lookahead_ms + self.features_ms + self.resampling_ms + self.compute_p50_ms

    @property
    def worst_ms(self) -> float:
        """From any sound to the first frame after it, in 99 of 100."""
        return self.total_ms - self.compute_p50_ms + self.compute_p99_ms + self.frame_ms


class MotionStream:
    """Sound in pieces of any size to motion, the same bits for any pieces; `drive(..., rung="stream")`, live.

    `push` hears, `pull` computes, each in the thread that calls it: one may push from a callback and pull elsewhere.
    Frames' times are on the sound's clock: 0 is the first sample. All that is random follows from seed and time.

    Sound that nobody pulls: with `when_late="drop"` no more than `capacity_seconds` of frames wait; the oldest are left
    out (`dropped` counts them) and the head goes on from where it is. With "wait" nothing is lost: a `push` that would
    hold more raises `StreamFull` and takes nothing; pull, then push it again, in pieces of no more than `room`.
    """

    def __init__(
        self, prior: Prior, *, seed: int, rate: int = RATE, lookahead_frames: int = 3, sampling: Sampling | None = None,
        neutral: Float[np.ndarray, "52"] | None = None,
        partnered: bool = False, capacity_seconds: float = 2.0, when_late: WhenLate = "drop", fps: float = FPS,
        live: bool = False,
    ) -> None:  # fmt: skip
        """Prepare; the prior's network is warmed up at once.

        Args:
            rate: samples per second of what will be pushed.
            lookahead_frames: frames of sound heard before a frame leaves, 40 ms each; lips move before they sound.
            neutral: face at rest of the person who shall speak; the trained person's if not given.
            partnered: each push brings the other one's sound, too: the head listens.
            fps: frames per second; a prior thinks in 25, and others are interpolated.
            live: the sound comes from a device: tell if it comes faster or slower than its rate says.

        Raises:
            BadInput: a value that can't be meant, or a prior without its network.
        """
        for name, value, low, high in (
            ("lookahead_frames", lookahead_frames, 0, 12), ("capacity_seconds", capacity_seconds, 0.2, 3600),
            ("fps", fps, 1, 240),
        ):  # fmt: skip
            if not low <= value <= high:
                raise BadInput(f"{name} is out of range", expected=f"{low:g} to {high:g}", got=f"{value:g}")
        self._space, self._when_late, self._partnered = prior.space, when_late, partnered
        self._neutral = np.asarray(prior.space.rest_expression if neutral is None else neutral, np.float32)
        self._capacity = round(capacity_seconds * FPS)
        self._intakes = [Intake(rate) for _ in range(1 + partnered)]
        self._hearings = [Hearing(prior.level) for _ in range(1 + partnered)]
        self._heard = self._rows = 0
        """Samples at 16 kHz and frames of sound, since the clock began."""
        with one_blas_thread():
            self._rolling = Rolling(
                prior, seed=seed, sampling=sampling, lookahead=lookahead_frames, partnered=partnered
            )
        self._lips, self._eyes = LipsShut(self._neutral), LiveEyes(prior.eyes, seed, self._neutral)
        self._resampling = None if fps == FPS else LiveResampling(fps)
        self._pace = PaceWatch(rate) if live else None
        self.warning = ""
        """What is wrong with the sound's pace, if anything is (`live`)."""
        self.dropped = 0
        """Frames at 25 per second that were left out because nobody pulled them in time."""
        self._closed = False
        self._hearing_ms, self._moving_ms = deque[float](maxlen=_MEASURED), deque[float](maxlen=_MEASURED)
        self._changed = threading.Condition(threading.RLock())

    @property
    def rate(self) -> int:
        """Samples per second of what is pushed."""
        return self._intakes[0].rate

    @property
    def ready(self) -> int:
        """Frames at 25 per second that can be pulled now."""
        return self._rolling.ready

    @property
    def room(self) -> int:
        """Samples that can be pushed now without any frame being dropped or `StreamFull`."""
        room = (self._rolling.next_frame + self._rolling.lookahead + self._capacity) * _SAMPLES_PER_FRAME - self._heard
        return max(0, room * self.rate // RATE)

    @property
    def latency(self) -> LatencyBudget:
        """What a frame waits for."""
        with self._changed:
            parts = [np.array(times or [0.0]) for times in (self._hearing_ms, self._moving_ms)]
            delay = max(intake.delay_seconds for intake in self._intakes)
        p50, p99 = (float(sum(np.percentile(part, q) for part in parts)) for q in (50, 99))
        frame_ms = 1000 / FPS
        return LatencyBudget(
            frame_ms, self._rolling.lookahead * frame_ms, 1000 * SEEN_SECONDS, max(0.0, 1000 * delay), p50, p99
        )

    def push(self, pcm: np.ndarray, partner: np.ndarray | None = None) -> None:
        """Hear one more piece of any length.

        Args:
            pcm: mono at the declared rate, floats in [-1, 1] or int16.
            partner: what the other one says meanwhile, as many samples; only if `partnered`, and then always.

        Raises:
            BadInput: it is no sound, it is not finite, or the stream is closed. Nothing of it was taken.
            StreamFull: see the class.
        """
        if self._partnered != (partner is not None):
            raise BadInput(
                "the other one's sound belongs to every piece or to none",
                expected=f"push(own, partner) of a stream that is {'' if partner is not None else 'not '}partnered",
            )
        tracks = [samples_of(track) for track in (pcm, partner) if track is not None]
        if len({len(track) for track in tracks}) > 1:
            raise BadInput("both tracks must be as long", got=" and ".join(str(len(t)) for t in tracks) + " samples")
        with self._changed:
            if self._closed:
                raise BadInput("this stream is closed", fix="make a new one")
            if self._when_late == "wait" and len(tracks[0]) > self.room:
                raise StreamFull(
                    "the stream is full", expected=f"a piece of up to {self.room} samples", got=str(len(tracks[0])),
                    fix="pull() first, then push it again",
                )  # fmt: skip
            start = time.perf_counter()
            heard = [intake.feed(track) for intake, track in zip(self._intakes, tracks, strict=True)]
            rows = self._hear(heard)
            self._hearing_ms += [1000 * (time.perf_counter() - start) / rows] * min(rows, _MEASURED) if rows else []
            self._watch(len(tracks[0]))
            late = self._rolling.ready - self._capacity
            if self._when_late == "drop" and late > 0:
                self._skip(late)
            self._changed.notify_all()

    def pull(self, most: int | None = None) -> Motion:
        """The frames that are ready, possibly none.

        Args:
            most: no more than these.
        """
        frames = list[Motion]()
        while most is None or len(frames) < most:
            with self._changed:
                if not self._rolling.ready:
                    break
                frames.append(self._next())
        return joined([self._nothing(), *frames])

    def wait(self, timeout_seconds: float) -> bool:
        """Sleep until a frame is ready or the stream is closed; False if that took too long."""
        with self._changed:
            return self._changed.wait_for(lambda: self._rolling.ready > 0 or self._closed, timeout_seconds)

    def interrupt(self) -> None:
        """Forget what was heard but not yet pulled; the lips close within 200 ms, head and eyes go on.

        The clock goes on from the last frame pulled: up to 200 ms of silence take the place of what is forgotten, and
        what is pushed next follows on that. (A microphone, of which less waits, stays on its clock to the sample.) The
        lips stay closed until there is a sound.
        """
        with self._changed:
            level = self._hearings[0].level
            silence = hear(np.zeros(RATE // 10, np.float32), level)[-1]
            before = self._rolling.pending
            kept = self._rolling.hush(silence, CLOSING_FRAMES + 1)
            cut = kept < before
            self._rows = self._rolling.next_frame + kept
            if cut:
                self._heard = self._rows * _SAMPLES_PER_FRAME
                self._hearings = [Hearing(hearing.level) for hearing in self._hearings]
            else:  # the other one's hearing goes on
                self._hearings[0] = Hearing(level)
                self._hearings[0].feed(np.zeros(self._heard - self._rows * _SAMPLES_PER_FRAME, np.float32))
            self._lips.close(self._rolling.next_frame)
            self._changed.notify_all()

    def close(self) -> Motion:
        """No more sound comes: the rest of the frames, up to the end of the sound. Again: nothing."""
        with self._changed:
            if not self._closed:
                self._closed = True
                if any(intake.taken for intake in self._intakes):
                    self._hear([intake.flush() for intake in self._intakes])
                    self._finish_hearing()
                self._rolling.finish()
                self._changed.notify_all()
            rest = self.pull()
            if self._resampling is None:
                return rest
            held = self._resampling.finish(round(self._heard / RATE * self._resampling.fps))
            return rest if held is None else joined([rest, held])

    def _hear(self, heard: list[np.ndarray]) -> int:
        self._heard += len(heard[0])
        return self._take_in([hearing.feed(track) for hearing, track in zip(self._hearings, heard, strict=True)])

    def _finish_hearing(self) -> None:
        missing = frames_of(self._heard) - self._rows
        self._take_in([hearing.finish()[: max(0, missing)] for hearing in self._hearings])

    def _take_in(self, rows: list[np.ndarray]) -> int:
        count = len(rows[0])
        if count:
            loud = np.flatnonzero(sounding(rows[0]))
            if len(loud):
                self._lips.sounding(self._rows + int(loud[0]))
            self._rolling.feed(*rows)
            self._rows += count
        return count

    def _next(self) -> Motion:
        start, number = time.perf_counter(), self._rolling.next_frame
        with one_blas_thread():
            x = self._space.guarded(self._rolling.take()[None])
            motion = self._space.decode(x, np.array([number / FPS]), self._neutral)
        motion = self._eyes.onto(self._lips.onto(motion, number))
        if self._resampling is not None:
            motion = self._resampling.onto(motion)
        self._moving_ms.append(1000 * (time.perf_counter() - start))
        return motion

    def _skip(self, frames: int) -> None:
        self._rolling.skip(frames)
        self.dropped += frames
        if self._resampling is not None:
            self._resampling.skip_to((self._rolling.next_frame - 1) / FPS)

    def _watch(self, samples: int) -> None:
        if self._pace is None:
            return
        said, self.warning = self.warning, self._pace.heard(samples)
        if self.warning and not said:
            note(f"warning: {self.warning}")

    def _nothing(self) -> Motion:
        return self._space.decode(np.zeros((0, self._space.size), np.float32), np.zeros(0))
