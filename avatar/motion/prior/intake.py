"""Sound as microphones and sockets deliver it, any rate and piece size, as 16 kHz; and whether it keeps its pace."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from avatar.errors import BadInput
from avatar.motion.audio import RATE

LOWEST_RATE, HIGHEST_RATE = 4_000, 384_000
_LOUDEST = 2.0
"""Full scale is 1; a little more happens where tracks are mixed, much more is another scale."""


def samples_of(pcm: np.ndarray) -> Float[np.ndarray, " n"]:
    """One piece of mono sound in [-1, 1], from floats or 16-bit integers.

    Raises:
        BadInput: it is something else, or not finite: a NaN would stay in the running means for good.
    """
    pcm = np.asarray(pcm)
    if pcm.ndim != 1 or not (pcm.dtype == np.int16 or np.issubdtype(pcm.dtype, np.floating)):
        raise BadInput(
            "this is no piece of sound", expected="one row of floats in [-1, 1] or of int16",
            got=f"{pcm.dtype} of shape {pcm.shape}",
        )  # fmt: skip
    if pcm.dtype == np.int16:
        return pcm.astype(np.float32) / 32768
    loudest = float(np.abs(pcm).max(initial=0.0))
    if not loudest <= _LOUDEST:  # NaN is not either
        raise BadInput(
            "this sound can't be heard", expected="finite floats in [-1, 1]", got=f"a sample of {loudest:g}",
            fix="scale integers by their full scale, and leave broken samples out",
        )  # fmt: skip
    return pcm.astype(np.float32)


class Intake:
    """Pieces at a declared rate to 16 kHz; the same bits for any pieces.

    FFmpeg's resampler, which PyAV brings and which reads our files too: its delay is 1 to 2 ms at any rate from 8 to
    48 kHz. (soxr does not depend on the pieces either, but holds 30 to 95 ms back.)
    """

    def __init__(self, rate: int) -> None:
        if not LOWEST_RATE <= rate <= HIGHEST_RATE:
            raise BadInput("no microphone has this rate", expected="4000 to 384000 samples per second", got=str(rate))
        self.rate = rate
        self.taken = self.given = 0
        """Samples in at the declared rate, and out at 16 kHz."""
        self._resampler = None
        if rate != RATE:
            from av import AudioResampler

            self._resampler = AudioResampler(format="flt", layout="mono", rate=RATE)

    def feed(self, samples: Float[np.ndarray, " n"]) -> Float[np.ndarray, " m"]:
        """What this piece completes."""
        self.taken += len(samples)
        if self._resampler is None or not len(samples):
            return self._count([samples])
        from av import AudioFrame

        frame = AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
        frame.sample_rate = self.rate
        return self._count([out.to_ndarray()[0] for out in self._resampler.resample(frame)])

    def flush(self) -> Float[np.ndarray, " m"]:
        """What was held back."""
        if self._resampler is None or not self.taken:
            return np.zeros(0, np.float32)
        return self._count([out.to_ndarray()[0] for out in self._resampler.resample(None)])

    @property
    def delay_seconds(self) -> float:
        """How much sound is held back now."""
        return self.taken / self.rate - self.given / RATE

    def _count(self, parts: list[np.ndarray]) -> np.ndarray:
        out = np.concatenate([np.zeros(0, np.float32), *parts])
        self.given += len(out)
        return out


class PaceWatch:
    """Whether live sound comes as fast as its declared rate says."""

    LEAST_SECONDS = 3.0
    """Of sound or of time, before anything is said."""
    TOLERANCE, BUFFERED_SECONDS = 0.08, 0.5
    """44.1 and 48 kHz differ by 9 %; what drivers and sockets hold back comes in bursts."""

    def __init__(self, rate: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._clock = rate, clock
        self._start: float | None = None
        self._samples = 0

    def heard(self, samples: int) -> str:
        """After one more piece: what is wrong, or nothing."""
        now = self._clock()
        if self._start is None:
            self._start = now  # the first piece tells when counting begins, not how fast
            return ""
        self._samples += samples
        passed, sound = now - self._start, self._samples / self._rate
        if max(passed, sound) < self.LEAST_SECONDS:
            return ""
        if abs(sound - passed) <= self.BUFFERED_SECONDS + self.TOLERANCE * passed:
            return ""
        real = f"about {self._samples / passed:.0f} samples per second" if passed > 0.1 else "all at once"
        return (
            f"{sound:.1f} s of sound at the declared {self._rate} samples per second came within {passed:.1f} s: "
            f"{real}; declare the true rate, or look for what holds the sound up"
        )
