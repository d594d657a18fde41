"""Motion frame by frame while the sound comes in: one evaluation of the network per frame. numpy only.

Ahead of the frame that leaves next, others are on their way from noise to motion, each a step further per tick; the
lips' way is shorter and begins when their sound is heard. What was sent cannot change, so that chunks of any size, and
a whole file at once, give the same motion to the bit.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from avatar.motion.groups import GROUP_NAMES
from avatar.motion.hearing import WIDTH
from avatar.motion.prior.checkpoint import Prior
from avatar.motion.prior.forward import Given
from avatar.motion.prior.sampling import Denoiser, Sampling

STREAM_FRAMES = 10
"""Frames on their way from noise to motion: each gets one evaluation per tick."""
LIPS_FRAMES = 4
LIPS = GROUP_NAMES.index("lips")
HISTORY = 24
"""Sent frames that the network sees."""


class Rolling:
    """Feed rows of sound (`Hearing`), take frames of motion as numbers of the prior's space."""

    def __init__(
        self, prior: Prior, *, seed: int, sampling: Sampling | None = None, lookahead: int = 3,
        partnered: bool = False,
    ) -> None:  # fmt: skip
        """Prepare; the frames before the first are warmed up at once.

        Args:
            lookahead: frames of sound heard before a frame leaves, 0 to 12. Lips move before their sound: two or three
                frames (80 to 120 ms) are worth their delay.
            partnered: rows of the other one's sound come with each of ours. A prior that was trained without a partner
                does not hear them.
        """
        self._denoiser, self.lookahead = Denoiser(prior, seed, sampling), lookahead
        self._partnered = partnered and prior.listens
        self._style = prior.style
        self._rows = np.zeros((0, 2, WIDTH), np.float32)
        self._first_row = 0
        """Frame that the oldest kept row belongs to."""
        self._ended = False
        self._x = np.zeros((0, prior.space.size), np.float32)
        self._first_x = 0
        self.next_frame = -STREAM_FRAMES + 1
        while self.next_frame < 0:
            self._tick()

    def feed(self, rows: Float[np.ndarray, "t w"], partner: Float[np.ndarray, "t w"] | None = None) -> None:
        """Rows of sound for the next frames."""
        other = np.zeros_like(rows) if partner is None else partner
        self._rows = np.concatenate([self._rows, np.stack([rows, other], 1)])

    def finish(self) -> None:
        """No more sound will come: what is fed can be taken to its end."""
        self._ended = True

    @property
    def ready(self) -> int:
        """Frames that can be taken now."""
        return max(0, self.pending - (0 if self._ended else self.lookahead))

    def take(self) -> Float[np.ndarray, " d"]:
        """The next frame; only if one is `ready`."""
        assert self.ready, "the sound of this frame has not been fed"
        return self._tick()

    def skip(self, frames: int) -> None:
        """Leave frames out: what comes next continues the motion from where it is."""
        self._first_x += frames
        self.next_frame += frames

    @property
    def pending(self) -> int:
        """Frames of sound that were fed and have not left."""
        return self._first_row + len(self._rows) - self.next_frame

    def hush(self, row: Float[np.ndarray, " w"], most: int) -> int:
        """Forget our sound of the frames that have not left, keep no more than `most` of them, and let them be silent.

        Args:
            row: of silence.

        Returns:
            Frames that are kept.
        """
        first = self.next_frame - self._first_row
        self._rows = self._rows[: first + most].copy()
        self._rows[first:, 0] = row
        return self.pending

    def _tick(self) -> Float[np.ndarray, " d"]:
        now, group = self.next_frame, self._denoiser.group
        begin, end = max(0, now - HISTORY, self._first_x), now + STREAM_FRAMES
        self._x = self._x[begin - self._first_x :]
        fresh = max(0, end - begin - len(self._x))
        start = self._denoiser.start(end - fresh, fresh) if fresh else self._x[:0]
        self._x, self._first_x = np.concatenate([self._x, start]), begin
        behind = now - begin
        levels, steps = (part[HISTORY - behind :] for part in (_LEVELS, _STEPS))
        clean = self._denoiser.clean(self._x, levels, self._given(begin, end))
        moved = self._denoiser.advanced(self._x, clean, levels[:, group], steps[:, group])
        self._x = np.where((steps > 0)[:, group], moved, self._x).astype(np.float32)
        self.next_frame = now + 1
        return self._x[max(0, behind)]

    def _given(self, begin: int, end: int) -> Given:
        known = min(self._first_row + len(self._rows), self.next_frame + self.lookahead + 1)
        spare = max(0, min(begin - self._first_row, len(self._rows)))
        self._rows, self._first_row = self._rows[spare:], self._first_row + spare
        rows = self._rows[begin - self._first_row : max(0, min(known, end) - self._first_row)]
        filled = np.concatenate([rows, np.zeros((end - begin - len(rows), 2, WIDTH), np.float32)])
        heard = (np.arange(end - begin) < len(rows)).astype(np.float32)
        told = heard * float(self._partnered)
        return Given(filled[:, 0], heard, filled[:, 1], told, self._style, 1.0)


def schedule(ahead: np.ndarray) -> tuple[Float[np.ndarray, "t g"], Float[np.ndarray, "t g"]]:
    """Noise levels and the next steps of frames so many `ahead` of the one that leaves; those behind are known."""
    levels = np.empty((len(ahead), len(GROUP_NAMES)), np.float32)
    steps = np.empty_like(levels)
    for k in range(len(GROUP_NAMES)):
        length = LIPS_FRAMES if k == LIPS else STREAM_FRAMES
        levels[:, k] = np.where(ahead < 0, 1.0, 1 - (ahead + 1) / length).clip(0, 1)
        steps[:, k] = np.where((ahead >= 0) & (ahead < length), 1 / length, 0.0)
    return levels, steps


_LEVELS, _STEPS = schedule(np.arange(-HISTORY, STREAM_FRAMES))
