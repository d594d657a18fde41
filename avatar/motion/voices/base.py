"""What all synthesisers share: how they are asked, what they give, and how their programs are run."""

from __future__ import annotations

import subprocess
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int16

from avatar.errors import BadInput
from avatar.motion.phones import Phone

PATIENCE_SECONDS = 60.0
"""For one piece of text, which takes a second at most; a program that needs longer hangs."""


@dataclass(frozen=True)
class Manner:
    """How a text is to be read."""

    language: str = "en"
    """Language tag, such as `de` or `en-us`."""
    pace: float = 1.0
    """Speed beside the voice's own."""
    pitch: float = 1.0
    """Height beside the voice's own."""
    seed: int = 0
    """For voices that never say a thing twice alike."""

    def __post_init__(self) -> None:
        for name in ("pace", "pitch"):
            if not 0.5 <= getattr(self, name) <= 2.0:
                raise BadInput(f"--{name} is out of range", expected="0.5 to 2", got=f"{getattr(self, name):g}")


@dataclass(frozen=True)
class Utterance:
    """A piece of speech."""

    samples: Int16[np.ndarray, " n"]
    rate: int
    """Samples per second."""
    phones: list[Phone] | None
    """With times from the first sample on; None if the voice does not tell."""

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.samples) / self.rate


@runtime_checkable
class Voice(Protocol):
    """A synthesiser with its voice."""

    @property
    def name(self) -> str:
        """Program and voice, for people and provenance."""
        ...

    def read(self, pieces: Iterable[str]) -> Generator[Utterance, None, None]:
        """Speak pieces of text one after the other; whatever runs for it ends with the iterator.

        Raises:
            BadInput: the voice can't read a piece, or its program fails or hangs.
        """
        ...


def run(command: Sequence[str], *, timeout_seconds: float = PATIENCE_SECONDS) -> str:
    """What a program prints; it is killed when it takes too long.

    Raises:
        BadInput: it fails or hangs.
    """
    name = command[0].rsplit("/", 1)[-1]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=timeout_seconds
        )
    except subprocess.TimeoutExpired:
        raise hangs(name, timeout_seconds) from None
    if done.returncode:
        raise fails(name, f"exit code {done.returncode}: {done.stderr.decode(errors='replace')}")
    return done.stdout.decode(errors="replace")


def hangs(name: str, seconds: float) -> BadInput:
    """The error of a synthesiser that was killed."""
    return BadInput(
        f"{name} did not answer", expected=f"an answer within {seconds:g} s", fix="try other text or another --voice"
    )


def fails(name: str, got: str) -> BadInput:
    """The error of a synthesiser that gave up."""
    return BadInput(f"{name} failed", got=got.strip()[-300:], fix="try other text or another --voice")
