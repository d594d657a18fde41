"""How late live motion is: a microphone's pieces in real time, alone and beside a load; memory over many minutes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import numpy as np

from avatar.errors import BadInput
from avatar.evaluation.bench_timing import busy_neighbour
from avatar.evaluation.stream_probe import Job
from avatar.progress import note


def run(prior: Path, sound: Path, *, seconds: float, soak_minutes: float) -> dict:
    """Stream a sound in a process of its own: in real time, the same beside as many busy processes as there are
    processors, and as fast as it goes.

    Args:
        seconds: of each run in real time; the sound is repeated.
        soak_minutes: of sound, as fast as it goes; 0 leaves that out.

    Returns:
        {"machine", "rows"}. Rows of `stream_latency` have {"case", "backend", "threads", "busy_neighbours", "load"
        (the system's, before), "median_ms", "p95_ms", "p99_ms" (from the push of the sample at a frame's time to the
        frame), "first_frame_ms" (of sound, once it runs), "start_ms" (from nothing to ready), "core" (share of one
        core), "rss_mb", "dropped"}; `stream_soak` has "median_ms" (computing per frame), "core" and both at the first
        and the last minute.

    Raises:
        BadInput: no such sound, or no such prior.
    """
    for path in (prior, sound):
        if not path.is_file():
            raise BadInput(f"{path} does not exist", expected="a prior and a sound", fix="give --prior and --audio")
    rows = []
    for busy in (0, os.cpu_count() or 1):
        note(f"real time, beside {busy} busy processes")
        rows.append(_latency(prior, sound, seconds, busy))
    if soak_minutes:
        note("as fast as it goes")
        rows.append(_soak(prior, sound, soak_minutes))
    return {"machine": f"{os.cpu_count()} processors", "rows": rows}


def _latency(prior: Path, sound: Path, seconds: float, busy: int) -> dict:
    load = os.getloadavg()[0]
    with ExitStack() as neighbours:
        for _ in range(busy):
            neighbours.enter_context(busy_neighbour())
        told = _probe(prior, sound, seconds, realtime=True)
    median, p95, p99 = (round(float(np.percentile(told["latency_ms"], q)), 1) for q in (50, 95, 99))
    return {
        "case": "stream_latency", "backend": "numpy", "threads": 1, "busy_neighbours": busy, "load": round(load, 1),
        "median_ms": median, "p95_ms": p95, "p99_ms": p99, "first_frame_ms": round(told["first_frame_ms"], 1),
    } | _common(told)  # fmt: skip


def _soak(prior: Path, sound: Path, minutes: float) -> dict:
    load = os.getloadavg()[0]
    told = _probe(prior, sound, 60 * minutes, realtime=False)
    first, last = told["minutes"][0], told["minutes"][-1]
    return {
        "case": "stream_soak", "backend": "numpy", "threads": 1, "busy_neighbours": 0, "load": round(load, 1),
        "minutes": minutes, "median_ms": round(float(np.median([m["compute_ms"] for m in told["minutes"]])), 2),
        "first_minute_ms": round(first["compute_ms"], 2), "last_minute_ms": round(last["compute_ms"], 2),
        "first_minute_rss_mb": round(first["rss_mb"], 1),
    } | _common(told)  # fmt: skip


def _common(told: dict) -> dict:
    return {
        "start_ms": round(told["start_ms"]), "core": round(told["core"], 3), "rss_mb": round(told["rss_mb"], 1),
        "dropped": told["dropped"],
    }  # fmt: skip


def _probe(prior: Path, sound: Path, seconds: float, *, realtime: bool) -> dict:
    job = Job(str(prior), str(sound), seconds, realtime, time.time())
    command = [sys.executable, "-m", "avatar.evaluation.stream_probe", json.dumps(asdict(job))]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    told = json.loads(done.stdout)
    assert not told["torch"], "torch was loaded: live motion must do without"
    return told
