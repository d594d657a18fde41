"""What all speech encoders share: the protocol, the result with its times, and running over long sound in pieces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from avatar.errors import BadInput, MissingAsset
from avatar.motion.audio import RATE
from avatar.progress import progress


@runtime_checkable
class SpeechEncoder(Protocol):
    """Turns speech into one row of numbers every few hundredths of a second."""

    name: str
    key: str
    """Identity of the weights and of all that shapes the rows: what was stored under another key is another thing."""
    rate_hz: float
    """Rows per second."""
    first_seconds: float
    """The moment that row 0 stands for."""
    dims: int
    labels: tuple[str, ...]
    """What each dimension means, if it means something."""

    def encode(self, samples: Float[np.ndarray, " n"]) -> Float[np.ndarray, "t d"]:
        """Rows of 16 kHz mono samples in [-1, 1]; as many as cover them, at least one."""
        ...


@dataclass(frozen=True)
class Encoding:
    """What an encoder said about one track."""

    name: str
    rate_hz: float
    first_seconds: float
    rows: Float[np.ndarray, "t d"]
    labels: tuple[str, ...] = ()

    @staticmethod
    def of(encoder: SpeechEncoder, samples: Float[np.ndarray, " n"]) -> Encoding:
        """Run an encoder.

        Raises:
            BadInput: the samples are not finite.
        """
        if not np.isfinite(samples).all():
            raise BadInput("this sound can't be encoded", expected="finite samples", got="NaN or infinity")
        rows = encoder.encode(np.asarray(samples, np.float32))
        return Encoding(encoder.name, encoder.rate_hz, encoder.first_seconds, rows, encoder.labels)

    @property
    def timestamps_seconds(self) -> Float[np.ndarray, " t"]:
        """The moment of each row."""
        return self.first_seconds + np.arange(len(self.rows)) / self.rate_hz

    def at(self, seconds: Float[np.ndarray, " f"]) -> Float[np.ndarray, "f d"]:
        """Rows interpolated at a clip's own frame times."""
        columns = [np.interp(seconds, self.timestamps_seconds, column) for column in self.rows.T]
        return np.stack(columns, 1).astype(np.float32)


def require(module: str, why: str, extra: str) -> ModuleType:
    """Import an optional package.

    Raises:
        MissingAsset: it is not installed; says how to.
    """
    try:
        return import_module(module)
    except ImportError as error:
        fix = f"pip install 'visavis[{extra}]'"
        raise MissingAsset(f"the package {module} is missing: it {why}", got=str(error), fix=fix) from error


def in_pieces(
    samples: Float[np.ndarray, " n"],
    run: Callable[[Float[np.ndarray, " m"]], Float[np.ndarray, "r d"]],
    rate_hz: float,
    *,
    piece_seconds: int = 24,
    context_seconds: int = 2,
) -> Float[np.ndarray, "t d"]:
    """Run an encoder that takes seconds, not hours: pieces with context on both sides, of which the middle is kept.

    Args:
        run: rows of a piece of sound; may come out a few rows short or long.
        rate_hz: must divide 16000.
    """
    step = round(RATE / rate_hz)
    count = max(1, -(-len(samples) // step))
    piece, context = round(piece_seconds * rate_hz), round(context_seconds * rate_hz)
    parts = []
    with progress("encoding", count) as shown:
        for begin in range(0, count, piece):
            end, before = min(begin + piece, count), min(begin, context)
            rows = run(samples[(begin - before) * step : (end + context) * step])[before : before + end - begin]
            missing = end - begin - len(rows)
            parts.append(np.pad(rows, ((0, missing), (0, 0)), mode="edge") if missing else rows)
            shown.update(end)
    return np.concatenate(parts).astype(np.float32)
