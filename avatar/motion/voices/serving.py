"""The side of the child in `avatar.motion.voices.child`; it imports little, to start fast."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import NamedTuple


class Answer(NamedTuple):
    """What a child says of a text."""

    rate: int
    samples: bytes
    """16 bit, mono."""
    labels: list[tuple[str, float, float]] | None
    """Phones with start and end in seconds."""


def serve(speak: Callable[[str], Answer]) -> None:
    """The child's loop: answer texts until there are no more. A ValueError goes to the parent as its message."""
    # Native libraries print what they like: only we may write to the pipe.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    for line in sys.stdin.buffer:
        try:
            answer = speak(json.loads(line)["text"])
        except ValueError as error:
            answers.write(json.dumps({"error": str(error)}).encode() + b"\n")
        else:
            head = {"rate": answer.rate, "bytes": len(answer.samples), "labels": answer.labels}
            answers.write(json.dumps(head).encode() + b"\n" + answer.samples)
        answers.flush()
