"""A process of its own that streams a sound and says how it went, as JSON; `bench_stream` starts it. No torch."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from avatar.motion.audio import RATE, load_audio
from avatar.motion.hearing import FPS
from avatar.motion.prior.checkpoint import Prior
from avatar.motion.prior.stream import MotionStream

PIECE_SECONDS = 0.02
_PIECE = round(PIECE_SECONDS * RATE)
_WARM_FRAMES = 25
"""Not counted: caches fill."""


@dataclass(frozen=True)
class Job:
    """What a probe does."""

    prior: str
    sound: str
    seconds: float
    realtime: bool
    """Pieces come when a microphone would bring them; else as fast as they are taken."""
    started: float
    """`time.time` before this process was asked for."""


def probe(job: Job) -> dict:
    """Stream, and measure."""
    prior, sound = Prior.load(Path(job.prior)), load_audio(job.sound)
    stream = MotionStream(prior, seed=0)
    track = np.resize(sound, int(min(job.seconds, 60) * RATE))
    cold_ms = 1000 * (time.time() - job.started)
    told = _in_real_time(stream, track, job.seconds) if job.realtime else _at_once(stream, track, job.seconds)
    return told | {
        "start_ms": cold_ms, "dropped": stream.dropped, "torch": "torch" in sys.modules, "rss_mb": _resident_mb(),
        "budget": asdict(stream.latency),
    }  # fmt: skip


def _in_real_time(stream: MotionStream, track: np.ndarray, seconds: float) -> dict:
    """Latency of each frame: from when the sample at its time was pushed until it was pulled."""
    pushed: list[float] = []
    latency: list[float] = []

    def microphone() -> None:
        start = time.perf_counter()
        for k in range(int(seconds / PIECE_SECONDS)):
            time.sleep(max(0.0, start + (k + 1) * PIECE_SECONDS - time.perf_counter()))
            pushed.append(time.perf_counter())
            stream.push(np.take(track, np.arange(k * _PIECE, (k + 1) * _PIECE), mode="wrap"))

    feeder = threading.Thread(target=microphone)
    begin, used = time.perf_counter(), time.process_time()
    feeder.start()
    while feeder.is_alive() or stream.ready:
        if stream.wait(0.1):
            for t in stream.pull().timestamps_seconds:
                latency.append(1000 * (time.perf_counter() - pushed[int(round(t * RATE)) // _PIECE]))
    feeder.join()
    passed, used = time.perf_counter() - begin, time.process_time() - used
    kept = latency[_WARM_FRAMES:]
    return {"latency_ms": kept, "first_frame_ms": 1000 * (1 / FPS) + latency[0], "core": used / passed}


def _at_once(stream: MotionStream, track: np.ndarray, seconds: float) -> dict:
    """As fast as it goes: what each frame took, and the memory, minute by minute."""
    minutes: list[dict] = []
    used = time.process_time()
    for begin in np.arange(0, seconds, 60):
        took: list[float] = []
        for k in range(int(min(60, seconds - begin) / PIECE_SECONDS)):
            start = time.perf_counter()
            stream.push(np.take(track, np.arange(k * _PIECE, (k + 1) * _PIECE), mode="wrap"))
            frames = len(stream.pull())
            took += [1000 * (time.perf_counter() - start) / frames] * frames if frames else []
        minutes.append({"compute_ms": float(np.median(took)), "rss_mb": _resident_mb()})
    return {"minutes": minutes, "core": (time.process_time() - used) / seconds}


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    print(json.dumps(probe(Job(**json.loads(sys.argv[1])))))
