"""Synthesisers that are libraries run in a process of their own, which may hang or crash without harm to ours.

Parent and child speak in turns: a line of JSON with a text one way; a line of JSON, then 16-bit samples, the other.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator, Iterable, Sequence

import numpy as np

from avatar.errors import BadInput
from avatar.motion.voices.base import PATIENCE_SECONDS, Utterance, fails, hangs


def ask(
    name: str, module: str, arguments: Sequence[str], texts: Iterable[str], timeout_seconds: float = PATIENCE_SECONDS
) -> Generator[Utterance, None, None]:
    """Have a child, the module `module` with arguments, speak texts.

    Raises:
        BadInput: it can't, or it fails, or takes longer than the timeout for a piece.
    """
    from avatar.motion.phone_sets import to_phones

    with tempfile.TemporaryFile() as complaints:
        child = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints,
        )  # fmt: skip
        assert child.stdin is not None and child.stdout is not None
        try:
            for text in texts:
                head, samples = _exchange(child, name, text, timeout_seconds, complaints)
                labels = head["labels"]
                phones = None if labels is None else to_phones([(n, float(a), float(b)) for n, a, b in labels])
                yield Utterance(np.frombuffer(samples, "<i2").astype(np.int16), int(head["rate"]), phones)
        finally:
            child.kill()
            child.wait()
            child.stdout.close()
            try:
                child.stdin.close()
            except BrokenPipeError:  # what it did not read before it died
                pass


def _exchange(child, name: str, text: str, timeout_seconds: float, complaints) -> tuple[dict, bytes]:
    late = threading.Event()
    watch = threading.Timer(timeout_seconds, lambda: (late.set(), child.kill()))
    watch.start()
    try:
        child.stdin.write(json.dumps({"text": text}).encode() + b"\n")
        child.stdin.flush()
        line = child.stdout.readline()
        head = json.loads(line) if line else {}
        samples = child.stdout.read(head.get("bytes", 0))
    except (BrokenPipeError, ValueError):
        head, samples = {}, b""
    finally:
        watch.cancel()
    if "error" in head:
        raise BadInput(f"{name} can't read this", got=head["error"], fix="try another --voice or --language")
    if "bytes" not in head or len(samples) < head["bytes"]:
        if late.is_set():
            raise hangs(name, timeout_seconds)
        complaints.seek(0)
        raise fails(name, complaints.read().decode(errors="replace") or "its process died")
    return head, samples
