"""Reads mutated video files and mutated capture folders: they load, or are refused with an error of ours.

    python tests/fuzz_loader.py --seconds 600 --seed 1
    python tests/fuzz_loader.py --only 1:4711          # one case again, by the name that a finding has

A finding is any other exception, a crash, more than 4 GB of address space or a case that takes longer than 20 seconds.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np

CASE_SECONDS = 20
MEMORY = 4 << 30
_SPECIAL = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\0\1", b"\0\0\x7f\xff")


def make_seeds(folder: Path) -> tuple[list[Path], Path]:
    """Whole files to mutate: small clips in every container, and a capture."""
    from make_capture import small_capture
    from make_video import corner_video, tone

    kinds = [
        ("a.mp4", {"rotation_degrees": -90}), ("b.mkv", {}), ("c.mov", {}), ("d.ts", {}), ("e.avi", {"codec": "mpeg4"}),
        ("f.webm", {"codec": "libvpx-vp9"}), ("g.mp4", {"container_options": {"movflags": "faststart"}}),
    ]  # fmt: skip
    videos = []
    for name, options in kinds:
        sound = None if name.endswith(".webm") else tone(1.2)
        videos.append(corner_video(folder / name, seconds=1.2, fps=10, width=48, height=32, audio=sound, **options))
    capture = small_capture(folder / "capture")
    add_sound(capture)
    return videos, capture


def add_sound(capture: Path) -> None:
    from make_capture import info
    from make_video import corner_video, tone

    from preprocess.capture.files import save_info
    from preprocess.sound.audio import extract_audio, save_features

    source = corner_video(capture.parent / "sound.mp4", seconds=1, audio=tone(1))
    extract_audio(source, capture / "audio.wav", 0.0, 1.0)
    save_features(capture / "audio.wav", capture / "audio_features.npz")
    save_info(capture, info() | {"audio": True})


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Some bytes changed, blocks inserted, removed, repeated or cut off; often near the start, where headers lie."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        if not out:
            break
        at = int(len(out) * rng.random() ** rng.choice((1, 3)))
        length = min(rng.choice((1, 4, 16, 200, 2000)), len(out) - at)
        kind = rng.randrange(8)
        if kind == 0:
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[at : at + length] = rng.randbytes(length)
        elif kind == 2:
            del out[at : at + length]
        elif kind == 3:
            out[at:at] = rng.randbytes(length)
        elif kind == 4:
            out[at : at + 4] = rng.choice(_SPECIAL)
        elif kind == 5:
            out[at:at] = out[at : at + length]
        elif kind == 6:
            out[at : at + length] = bytes(length)
        elif rng.random() < 0.3:
            del out[at:]
    return bytes(out)


def edited_json(data: bytes, rng: random.Random) -> bytes:
    """One value of a JSON file replaced by another kind of thing."""
    content = json.loads(data)
    where, key = content, None
    while isinstance(where, dict) and where:
        parent, key = where, rng.choice(list(where))
        where = where[key]
    odd = (None, True, -1, 0, 1, 2**70, 1e308, "x" * 300, "", [], {}, [1, 2], {"a": 1}, 0.5, "../..", "\ud800")
    parent[key] = rng.choice(odd)
    if rng.random() < 0.2:
        del parent[key]
    return json.dumps(content).encode()


def edited_arrays(file: Path, rng: random.Random) -> None:
    """One array of an npz replaced by another shape, kind or value."""
    with np.load(file) as z:
        arrays = dict(z)
    name = rng.choice(list(arrays))
    array = arrays[name]
    kind = rng.randrange(7)
    if kind == 0:
        del arrays[name]
    elif kind == 1:
        arrays[name] = array[: rng.randrange(len(array) + 1)]
    elif kind == 2:
        arrays[name] = array.astype(rng.choice(("int8", "complex64", "float16", "bool", "U3")))
    elif kind == 3:
        arrays[name] = array[None]
    elif kind == 4:
        arrays[name] = np.array(rng.choice((0.0, np.nan, 1e30)))
    elif kind == 5 and array.dtype.kind == "f" and array.size:
        array.flat[rng.randrange(array.size)] = rng.choice((np.nan, np.inf, -1e30, 1e30, 0.0))
    else:
        arrays[name] = np.zeros_like(array)
    np.savez(file, **arrays)


def read_video(path: Path) -> None:
    from preprocess.sound.audio import extract_audio
    from preprocess.video import frames, probe

    info = probe(path)
    for _, seconds, picture in islice(frames(path, 64, max_seconds=None if info.frame_count % 2 else 1.0), 200):
        assert np.isfinite(seconds) and picture.dtype == np.uint8 and max(picture.shape) <= 64
    wav = path.parent / "audio.wav"
    if extract_audio(path, wav, info.start_seconds, 1.0):
        assert wav.stat().st_size == 44 + 2 * 16_000


def read_capture(path: Path) -> None:
    from preprocess.capture import CaptureFolder
    from preprocess.checking.run import check_capture
    from preprocess.sound.audio import load_features, read_wav

    capture = CaptureFolder.load(path)
    for index in range(len(capture)):
        assert capture.frame(index).shape[:2] == capture.mask(index).shape
    if capture.audio_path is not None:
        read_wav(capture.audio_path)
        load_features(path / "audio_features.npz")
    json.dumps(check_capture(path).quality.as_json(), allow_nan=False)


def run_case(name: str, videos: list[Path], capture: Path, work: Path) -> str:
    """One case by name ("seed:number"); says what became of it. Raises if that is a finding."""
    from avatar.errors import VisavisError

    rng = random.Random(name)
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    read: Callable[[Path], None]
    if rng.random() < 0.7:
        source = rng.choice(videos)
        kind, path, read = source.suffix[1:], work / source.name, read_video
        path.write_bytes(mutated(source.read_bytes(), rng))
    else:
        path, read = work / "capture", read_capture
        shutil.copytree(capture, path)
        files = [f for f in sorted(path.rglob("*")) if f.is_file()]
        suffix = rng.choice(sorted({f.suffix for f in files}))
        file = rng.choice([f for f in files if f.suffix == suffix])
        kind = f"capture's {file.suffix[1:]}"
        if file.suffix == ".npz" and rng.random() < 0.6:
            edited_arrays(file, rng)
        elif file.suffix == ".json" and rng.random() < 0.8:
            file.write_bytes(edited_json(file.read_bytes(), rng))
        elif rng.random() < 0.1:
            file.unlink()
        else:
            file.write_bytes(mutated(file.read_bytes(), rng))
    try:
        read(path)
    except VisavisError as error:
        if not (error.what and (error.fix or error.expected or error.got)):
            raise AssertionError(f"an error that does not help: {error}") from error
        return f"{kind} refused"
    return f"{kind} read"


def work_through(seed: int, first: int, seconds: float, at: Path) -> int:
    """Cases from `first` on until the time is over; each is noted in `at` before it runs. Returns the findings."""
    from av import logging as av_logging

    from avatar.cli import native_logs_hidden

    av_logging.set_level(None)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    end, number, found, counts = time.monotonic() + seconds, first, 0, {}
    with native_logs_hidden(), tempfile.TemporaryDirectory() as folder:
        videos, capture = make_seeds(Path(folder))
        while time.monotonic() < end:
            name = f"{seed}:{number}"
            at.write_text(str(number))
            faulthandler.dump_traceback_later(CASE_SECONDS, exit=True)
            try:
                result = run_case(name, videos, capture, Path(folder) / "work")
            except Exception as error:
                last = traceback.extract_tb(error.__traceback__)[-1]
                print(f"finding in case {name}: {error!r} at {last.filename}:{last.lineno}", file=sys.stderr)
                result, found = "finding", found + 1
            faulthandler.cancel_dump_traceback_later()
            counts[result] = counts.get(result, 0) + 1
            number += 1
    print(f"  cases {first} to {number - 1}: " + ", ".join(f"{what}: {n}" for what, n in sorted(counts.items())))
    return found


def fuzz(seed: int, seconds: float) -> tuple[int, int]:
    """Number of cases and findings; a process of its own does the work, so that a crash is only one more finding."""
    end, first, found = time.monotonic() + seconds, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder) / "at"
        while (left := end - time.monotonic()) > 0:
            at.write_text(str(first))
            arguments = ["--seed", str(seed), "--seconds", str(left), "--first", str(first), "--at", str(at)]
            code = subprocess.run([sys.executable, __file__, *arguments], check=False).returncode
            first = int(at.read_text()) + 1
            if code in range(100):
                found += code
                break
            print(f"finding in case {seed}:{first - 1}: the process ended with {code}", file=sys.stderr)
            found += 1
    return first, found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--seed", type=int, default=None, help="at first a random one, which is printed")
    parser.add_argument("--only", help="one case by name")
    parser.add_argument("--first", type=int, help="number of the first case (for the program's own use)")
    parser.add_argument("--at", type=Path, help="file that is told which case runs (for the program's own use)")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    if options.only:
        with tempfile.TemporaryDirectory() as folder:
            print(run_case(options.only, *make_seeds(Path(folder)), Path(folder) / "work"))
        return 0
    if options.at:
        return min(work_through(seed, options.first, options.seconds, options.at), 99)
    count, found = fuzz(seed, options.seconds)
    print(f"seed {seed}: {count} cases, {found or 'nothing'} found")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
