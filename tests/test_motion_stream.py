"""Live motion: sound pushed in pieces, frames pulled; late readers, interruptions, the command."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import resample_poly
from small_prior import speaking

from avatar.errors import BadInput
from avatar.head.arkit import ARKIT_NAMES
from avatar.motion.eyes import head_degrees
from avatar.motion.groups import GROUPS
from avatar.motion.hearing import frames_of
from avatar.motion.prior.checkpoint import Prior
from avatar.motion.prior.drive import drive
from avatar.motion.prior.intake import PaceWatch
from avatar.motion.prior.stream import MotionStream, StreamFull
from avatar.motion.resampling import joined
from avatar.tracks import MOTION_FIELDS, Motion

RATE = 16_000
LIPS = list(GROUPS["lips"])


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return speaking(4, 2).samples_16k


@pytest.fixture(scope="module")
def prior_file(small_prior: Prior, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "me.prior"
    small_prior.save(path)
    return path


def run(prior: Prior, sound: np.ndarray, size: int, **options) -> Motion:
    """All frames of a sound that is pushed in pieces of one size and pulled after each."""
    stream, frames = MotionStream(prior, seed=3, capacity_seconds=600, **options), []
    for k in range(0, len(sound), size):
        stream.push(sound[k : k + size])
        if stream.ready:
            frames.append(stream.pull())
    return joined([*frames, stream.close()])


def same(one: Motion, two: Motion) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(two, name)) for name in MOTION_FIELDS)


def turned(motion: Motion) -> np.ndarray:
    """Degrees that the head turns from frame to frame."""
    return np.abs(np.diff(head_degrees(motion), axis=0)).max(1)


def test_a_stream_is_the_whole_in_any_pieces(small_prior: Prior, speech: np.ndarray):
    whole = drive(small_prior, speech, seed=3, rung="stream")
    at_once = run(small_prior, speech, 1_000_000)
    for name in MOTION_FIELDS:
        np.testing.assert_allclose(getattr(at_once, name), getattr(whole, name), atol=1e-5)
    assert same(run(small_prior, speech, 320), at_once) and same(run(small_prior, speech, 7001), at_once)
    short = speech[:2000]
    assert same(run(small_prior, short, 1), run(small_prior, short, 2000))


@pytest.mark.parametrize("rate, up, down", [(8000, 1, 2), (44_100, 441, 160), (48_000, 3, 1)])
def test_any_rate_is_heard_alike(small_prior: Prior, speech: np.ndarray, rate: int, up: int, down: int):
    other = np.asarray(resample_poly(speech, up, down), np.float32)
    at_once = run(small_prior, other, 1_000_000, rate=rate)
    assert same(run(small_prior, other, rate // 50, rate=rate), at_once)
    assert same(
        run(small_prior, other[: rate // 20], 1, rate=rate), run(small_prior, other[: rate // 20], 999, rate=rate)
    )
    whole = run(small_prior, speech, 1_000_000)
    assert len(at_once) == len(whole)
    mirrored = run(small_prior, speech[::-1].copy(), 1_000_000)
    apart, by_rate = (np.abs(m.expression - whole.expression)[:, LIPS].mean() for m in (mirrored, at_once))
    # 8 kHz has nothing in the upper half of the bands.
    assert by_rate < (0.9 if rate == 8000 else 0.2) * apart


def test_integers_are_heard_as_floats(small_prior: Prior, speech: np.ndarray):
    integers = np.round(speech * 32767).astype(np.int16)
    assert same(run(small_prior, integers, 500), run(small_prior, integers.astype(np.float64) / 32768, 4000))


@pytest.mark.parametrize("fps", [30.0, 60.0, 12.5])
def test_other_frame_rates(small_prior: Prior, speech: np.ndarray, fps: float):
    streamed = run(small_prior, speech, 777, fps=fps)
    whole = drive(small_prior, speech, seed=3, rung="stream", fps=fps)
    np.testing.assert_allclose(streamed.timestamps_seconds, whole.timestamps_seconds)
    np.testing.assert_allclose(streamed.expression, whole.expression, atol=1e-5)
    np.testing.assert_allclose(streamed.quats_wxyz, whole.quats_wxyz, atol=1e-5)


def test_hardly_any_sound_and_silence(small_prior: Prior):
    assert len(run(small_prior, np.zeros(0, np.float32), 1)) == 0
    moved = run(small_prior, np.full(160, 0.1, np.float32), 16)
    assert len(moved) == 1 and np.isfinite(moved.expression).all()
    silent = run(small_prior, np.zeros(3 * RATE, np.float32), 400)
    assert len(silent) == 75 and all(np.isfinite(getattr(silent, name)).all() for name in MOTION_FIELDS)


def test_what_is_no_sound_is_refused_and_changes_nothing(small_prior: Prior, speech: np.ndarray, unchecked_shapes):
    stream, frames = MotionStream(small_prior, seed=3, capacity_seconds=60), []
    broken = speech[:400].copy()
    broken[7] = np.nan
    for bad in (broken, np.full(9, 1000.0), np.zeros((4, 2), np.float32), np.zeros(4, np.int64)):
        with pytest.raises(BadInput, match="floats in"):
            stream.push(bad)
        frames.append(stream.pull())
    with pytest.raises(BadInput, match="belongs to every piece"):
        stream.push(speech, speech)
    stream.push(speech)
    assert same(joined([*frames, stream.close()]), run(small_prior, speech, 1_000_000))
    with pytest.raises(BadInput, match="closed"):
        stream.push(speech)
    assert len(stream.close()) == 0


@pytest.mark.parametrize(
    "options", [{"rate": 50}, {"lookahead_frames": 40}, {"capacity_seconds": 0.0}, {"fps": 1000.0}], ids=str
)
def test_impossible_wishes_are_refused(small_prior: Prior, options: dict):
    with pytest.raises(BadInput, match="expected"):
        MotionStream(small_prior, seed=0, **options)


def test_late_frames_are_left_out_and_the_head_goes_on(small_prior: Prior, speech: np.ndarray):
    sound = np.tile(speech, 3)
    usual = turned(run(small_prior, sound, 1_000_000))
    stream, frames = MotionStream(small_prior, seed=3, capacity_seconds=0.4), []
    for k in range(0, len(sound), 320):
        stream.push(sound[k : k + 320])
        if k // 320 % 75 == 74 or k < RATE:  # pulled only every 1.5 seconds after the first one
            frames.append(stream.pull())
    motion = joined([*frames, stream.close()])
    assert stream.dropped > 100 and len(motion) + stream.dropped == frames_of(len(sound))
    gaps = np.flatnonzero(np.diff(motion.timestamps_seconds) > 0.041)
    assert len(gaps) >= 5
    assert turned(motion)[gaps].max() <= 1.5 * usual.max()
    np.testing.assert_allclose(motion.timestamps_seconds * 25, np.round(motion.timestamps_seconds * 25))


def test_a_piece_longer_than_the_capacity_leaves_its_end(small_prior: Prior, speech: np.ndarray):
    stream = MotionStream(small_prior, seed=3, capacity_seconds=0.4, fps=50)
    stream.push(np.resize(speech, 1_000_000))
    motion = stream.close()
    assert stream.dropped == frames_of(1_000_000) - 10 - 3
    assert motion.timestamps_seconds[-1] == pytest.approx(1_000_000 / RATE, abs=0.05)
    assert (np.diff(motion.timestamps_seconds) < 0.021).all()


def test_a_stream_that_waits_loses_nothing(small_prior: Prior, speech: np.ndarray):
    stream = MotionStream(small_prior, seed=3, capacity_seconds=0.4, when_late="wait", rate=RATE)
    frames, refused, place = [], 0, 0
    while place < len(speech):
        piece = speech[place : place + 1000]
        try:
            stream.push(piece)
            place += len(piece)
        except StreamFull as full:
            assert "pull()" in str(full) and stream.room < 1000
            refused += 1
            frames.append(stream.pull(most=3))
    assert refused > 10 and stream.dropped == 0
    assert same(joined([*frames, stream.close()]), run(small_prior, speech, 1_000_000))
    with pytest.raises(StreamFull):
        MotionStream(small_prior, seed=3, when_late="wait").push(np.zeros(1_000_000, np.float32))


def test_an_interruption_closes_the_lips_and_the_head_goes_on(small_prior: Prior, speech: np.ndarray):
    """Speech of a program, pushed ahead of what is shown; then silence; then it speaks again."""
    usual = turned(run(small_prior, speech, 1_000_000)).max()
    stream = MotionStream(small_prior, seed=3, capacity_seconds=60)
    stream.push(speech)
    before = stream.pull(most=20)
    stream.interrupt()
    stream.push(np.zeros(RATE, np.float32))
    after = stream.pull()
    assert after.timestamps_seconds[0] == 20 / 25 and np.allclose(np.diff(after.timestamps_seconds), 0.04)
    rest = small_prior.space.rest_expression[LIPS]
    assert np.abs(before.expression[:, LIPS] - rest).max() > 0.02
    np.testing.assert_allclose(after.expression[3:, LIPS], np.tile(rest, (len(after) - 3, 1)), atol=1e-6)
    parted = np.abs(np.diff(joined([before, after]).expression[18:24, LIPS], axis=0)).max()
    assert parted < 0.6 * np.abs(before.expression[-1, LIPS] - rest).max() + 0.1
    assert turned(joined([before, after])).max() <= 1.5 * usual
    assert turned(after).max() > 0
    stream.push(speech)
    again = stream.close()
    assert len(before) + len(after) + len(again) == 20 + 5 + frames_of(RATE + len(speech))
    assert np.abs(again.expression[20:, LIPS] - rest).max() > 0.02


def test_an_interrupted_microphone_stays_on_its_clock(small_prior: Prior, speech: np.ndarray):
    stream, frames = MotionStream(small_prior, seed=3), []
    for k in range(0, len(speech), 320):
        stream.push(speech[k : k + 320])
        frames.append(stream.pull())
        if k == 320 * 100:
            stream.interrupt()
            assert stream.ready == 0
    motion = joined([*frames, stream.close()])
    assert len(motion) == frames_of(len(speech)) and np.allclose(np.diff(motion.timestamps_seconds), 0.04)


@pytest.fixture(scope="module")
def listener(small_prior: Prior) -> Prior:
    """One that heeds the other one, if without sense."""
    return replace(small_prior, about=small_prior.about | {"partner_seconds": 14.0})


def talk(prior: Prior, own: np.ndarray, partner: np.ndarray, size: int, **options) -> Motion:
    """All frames of two sounds that are pushed together in pieces of one size."""
    stream, frames = MotionStream(prior, seed=3, partnered=True, capacity_seconds=600, **options), []
    for k in range(0, len(own), size):
        stream.push(own[k : k + size], partner[k : k + size])
        frames.append(stream.pull())
    return joined([*frames, stream.close()])


def test_the_other_one_is_heard(listener: Prior, small_prior: Prior, speech: np.ndarray):
    silent, partner = np.zeros_like(speech), speech[::-1].copy()
    for own in (silent, speech):
        at_once = talk(listener, own, partner, 1_000_000)
        assert same(talk(listener, own, partner, 320), at_once) and same(talk(listener, own, partner, 7001), at_once)
        assert len(at_once) == len(speech) // 640
        assert not np.array_equal(run(listener, own, 1_000_000).quats_wxyz, at_once.quats_wxyz)
        whole = drive(listener, own, seed=3, rung="stream", partner_16k=partner)
        for name in MOTION_FIELDS:
            np.testing.assert_allclose(getattr(at_once, name), getattr(whole, name), atol=1e-5)
    with pytest.raises(BadInput, match="as long"):
        MotionStream(listener, seed=3, partnered=True).push(speech, speech[:-1])
    # What a prior has not learned to hear does not move it.
    assert same(talk(small_prior, speech, partner, 4000), run(small_prior, speech, 4000))


def test_the_other_one_is_heard_at_any_rate_and_through_interruptions(listener: Prior, speech: np.ndarray):
    own, partner = (np.asarray(resample_poly(s, 3, 1), np.float32) for s in (speech, speech[::-1]))
    at_once = talk(listener, own, partner, 1_000_000, rate=48_000)
    assert same(talk(listener, own, partner, 960, rate=48_000), at_once)

    def interrupted(other: np.ndarray) -> Motion:
        stream, frames = MotionStream(listener, seed=3, partnered=True), []
        for k in range(0, len(speech), 320):
            stream.push(speech[k : k + 320], other[k : k + 320])
            frames.append(stream.pull())
            if k == 320 * 50:
                stream.interrupt()
        return joined([*frames, stream.close()])

    cut = speech[::-1].copy()
    cut[320 * 60 :] = 0
    heard, not_heard = interrupted(speech[::-1].copy()), interrupted(cut)
    assert len(heard) == frames_of(len(speech)) and same(heard[:20], not_heard[:20])
    assert not np.array_equal(heard.quats_wxyz[40:], not_heard.quats_wxyz[40:])  # after it the other one is heard on


def test_one_thread_pushes_and_another_pulls(small_prior: Prior, speech: np.ndarray):
    stream, frames = MotionStream(small_prior, seed=3, capacity_seconds=60), []

    def feed() -> None:
        for k in range(0, len(speech), 320):
            stream.push(speech[k : k + 320])

    feeder = threading.Thread(target=feed)
    feeder.start()
    while feeder.is_alive() or stream.ready:
        if stream.wait(0.05):
            frames.append(stream.pull())
    feeder.join()
    assert same(joined([*frames, stream.close()]), run(small_prior, speech, 1_000_000))


def test_the_budget_adds_up(small_prior: Prior, speech: np.ndarray):
    stream = MotionStream(small_prior, seed=3, rate=48_000, lookahead_frames=2)
    before = stream.latency
    assert before.lookahead_ms == 80 and before.frame_ms == 40 and before.compute_p50_ms == 0
    assert 30 < before.features_ms < 40
    for k in range(0, len(speech), 960):
        stream.push(speech[k : k + 960])
        stream.pull()
    after = stream.latency
    assert 0 < after.compute_p50_ms <= after.compute_p99_ms and 0 <= after.resampling_ms < 3
    assert after.total_ms == after.lookahead_ms + after.features_ms + after.resampling_ms + after.compute_p50_ms
    assert after.worst_ms >= after.total_ms + after.frame_ms


@pytest.mark.parametrize("true_rate, wrong", [(16_000, False), (48_000, True), (8000, True), (14_000, True)])
def test_a_rate_that_lies_is_told_with_numbers(true_rate: int, wrong: bool):
    now = [0.0]
    watch = PaceWatch(RATE, lambda: now[0])
    said = ""
    for _ in range(1000):
        now[0] += 0.02
        said = said or watch.heard(true_rate // 50)
    assert bool(said) == wrong
    if wrong:
        assert f"declared {RATE}" in said and f"about {round(true_rate, -2)}"[:8] in said


def test_a_live_stream_warns_of_a_rate_that_lies(small_prior: Prior, speech: np.ndarray, capsys):
    stream = MotionStream(small_prior, seed=3, live=True)
    for k in range(0, len(speech), 320):
        stream.push(speech[k : k + 320])
    assert "declare the true rate" in stream.warning
    assert capsys.readouterr().err.count("warning") == 1


HOLDS_ITS_MEMORY = """
import json, sys
from pathlib import Path
import numpy as np
from avatar.motion.prior.checkpoint import Prior
from avatar.motion.prior.stream import MotionStream

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

stream = MotionStream(Prior.load(Path(sys.argv[1])), seed=1)
sound = np.load(sys.argv[2])
sizes = []
for minute in range(5):
    for k in range(0, 60 * 16000, 4000):
        stream.push(np.take(sound, range(k, k + 4000), mode="wrap"))
        stream.pull()
    sizes.append(resident())
print(json.dumps({"sizes": sizes, "torch": "torch" in sys.modules, "dropped": stream.dropped}))
"""


def test_memory_is_flat_and_torch_stays_out(prior_file: Path, speech: np.ndarray, tmp_path: Path):
    np.save(tmp_path / "speech.npy", speech)
    command = [sys.executable, "-c", HOLDS_ITS_MEMORY, str(prior_file), str(tmp_path / "speech.npy")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert not told["torch"] and told["dropped"] == 0
    assert told["sizes"][-1] - told["sizes"][0] < 2_000_000


def command(prior_file: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "avatar.cli", "stream", "--prior", str(prior_file), *options]


def test_the_command_streams_a_pipe(prior_file: Path, small_prior: Prior, speech: np.ndarray):
    pcm = np.round(speech * 32767).astype("<i2")
    options = ("--json", "--seed", "3", "--capacity", "0.3")
    done = subprocess.run(command(prior_file, *options), input=pcm.tobytes(), capture_output=True, check=True)
    *lines, told = map(json.loads, done.stdout.splitlines())
    whole = run(small_prior, pcm.astype(np.int16), 1_000_000)
    assert told["frames"] == len(lines) == len(whole) and told["dropped"] == 0
    assert b"end of input" in done.stderr
    for line, t, expression, quat in zip(
        lines, whole.timestamps_seconds, whole.expression, whole.quats_wxyz, strict=True
    ):
        assert line["t"] == pytest.approx(t) and list(line["expression"]) == list(ARKIT_NAMES)
        np.testing.assert_allclose(list(line["expression"].values()), expression, atol=1e-4)
        np.testing.assert_allclose(line["quaternion"], quat, atol=1e-4)
        assert len(line["translation"]) == 3


def test_the_command_ends_cleanly_on_ctrl_c(prior_file: Path, speech: np.ndarray):
    stereo = np.repeat(speech[:RATE, None], 2, 1).astype("<f4").tobytes()
    options = ("--format", "f32", "--partner")
    with subprocess.Popen(
        command(prior_file, *options), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdin and child.stdout and child.stderr
        child.stdin.write(stereo)
        child.stdin.flush()
        lines = [child.stdout.readline() for _ in range(20)]
        child.send_signal(signal.SIGINT)
        lines += child.stdout.readlines()
        errors = child.stderr.read().decode()
        assert child.wait(60) == 0
    assert "ended_by Ctrl-C" in errors and "Traceback" not in errors
    assert all(json.loads(line)["t"] == pytest.approx(k / 25) for k, line in enumerate(lines))


def test_the_command_says_what_is_wrong(prior_file: Path, small_prior: Prior, tmp_path: Path):
    done = subprocess.run(command(prior_file), input=b"abc", capture_output=True, check=False)
    assert done.returncode == 2 and b"amid a sample" in done.stderr and b"--format" in done.stderr
    replace(small_prior, weights=None).save(tmp_path / "l0.prior")
    done = subprocess.run(command(tmp_path / "l0.prior"), input=b"", capture_output=True, check=False)
    assert done.returncode == 2 and b"no flow network" in done.stderr


def test_the_command_bears_a_reader_that_leaves(prior_file: Path, speech: np.ndarray):
    pcm = np.round(np.tile(speech, 4) * 32767).astype("<i2").tobytes()
    with subprocess.Popen(
        command(prior_file), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdin and child.stdout and child.stderr
        child.stdin.write(pcm[:64_000])
        child.stdin.flush()
        assert json.loads(child.stdout.readline())["t"] == 0
        child.stdout.close()
        child.communicate(pcm[64_000:])
        assert child.returncode == 0


def test_lateness_is_measured(prior_file: Path):
    command = [sys.executable, "-m", "avatar.cli", "bench", "stream", "--prior", str(prior_file), "--json", "-q"]
    options = ("--seconds", "3", "--soak-minutes", "0.1")
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
    alone, busy, soak = json.loads(done.stdout)["rows"]
    assert [row["case"] for row in (alone, busy, soak)] == ["stream_latency", "stream_latency", "stream_soak"]
    assert alone["busy_neighbours"] == 0 < busy["busy_neighbours"]
    for row in (alone, busy):
        # Frames wait for the sound ahead of them, whatever the machine does.
        assert 120 < row["median_ms"] <= row["p95_ms"] <= row["p99_ms"]
    assert soak["minutes"] == 0.1 and soak["first_minute_ms"] == soak["last_minute_ms"] > 0
    done = subprocess.run(command[:5], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "no prior to stream with" in done.stderr
