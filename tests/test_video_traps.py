"""Traps that real files set for a loader, each in a real file made here."""

from __future__ import annotations

import gc
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from make_video import colour_at, corner_video, tone, write_video

from avatar.errors import BadInput
from avatar.motion.audio import RATE, load_audio
from preprocess.sound.audio import clip_samples
from preprocess.video import frames, probe, require_length


def greys(count: int, width: int = 96, height: int = 64) -> list[np.ndarray]:
    """Pictures that tell their number by their brightness."""
    return [np.full((height, width, 3), 30 + 6 * i, np.uint8) for i in range(count)]


def number_of(picture: np.ndarray) -> int:
    return round((float(picture.mean()) - 30) / 6)


def with_edit_list(path: Path, hidden_seconds: float, shown_seconds: float) -> None:
    """Rewrite the first track's edit list (ISO 14496-12, 8.6.6) to hide the beginning and the end."""
    data = bytearray(path.read_bytes())
    entry = data.find(b"elst") + 12
    timescale = struct.unpack_from(">I", data, data.find(b"mdhd") + 16)[0]
    delay = struct.unpack_from(">i", data, entry + 4)[0]
    struct.pack_into(">Ii", data, entry, round(shown_seconds * 1000), delay + round(hidden_seconds * timescale))
    path.write_bytes(data)


def test_edit_list_hides_frames_that_the_header_counts(tmp_path):
    path = write_video(tmp_path / "trimmed.mp4", greys(30), np.arange(30) / 10)
    with_edit_list(path, hidden_seconds=1.0, shown_seconds=1.5)
    got = list(frames(path))
    assert [number_of(picture) for _, _, picture in got] == list(range(10, 25))
    np.testing.assert_allclose([t for _, t, _ in got], np.arange(15) / 10, atol=5e-3)
    assert probe(path).frame_count >= len(got)


def test_edit_list_keeps_sound_and_picture_together(tmp_path):
    sound = tone(3.0, silent_seconds=2.0)
    path = write_video(tmp_path / "trimmed.mp4", greys(30), np.arange(30) / 10, audio=sound)
    with_edit_list(path, hidden_seconds=1.0, shown_seconds=2.0)
    # Only the picture's track is trimmed: its second 1 is shown at 0, while the sound still starts at its own 0.
    samples = clip_samples(path, probe(path).start_seconds, 2.0)
    assert np.abs(samples[: int(1.9 * RATE)]).max() < 0.02


def test_interlaced_frames_show_one_moment(tmp_path):
    """The two fields of a woven frame are 20 ms apart: a moving edge must not come out as a comb."""
    pictures = []
    for i in range(12):
        early, late = (np.full((64, 96, 3), 40, np.uint8) for _ in range(2))
        early[:, 8 * i : 8 * i + 24], late[:, 8 * i + 4 : 8 * i + 28] = 220, 220
        early[1::2] = late[1::2]
        pictures.append(early)

    def interlaced(stream) -> None:
        stream.codec_context.options = {"flags": "+ildct+ilme", "x264-params": "tff=1"}

    path = write_video(tmp_path / "tv.mkv", pictures, np.arange(12) / 25, tune=interlaced)
    shown = [picture.astype(int) for _, _, picture in frames(path)]
    assert len(shown) == 12 and shown[0].shape == (64, 96, 3)
    assert max(np.abs(np.diff(picture, axis=0)).mean() for picture in shown) < 2
    assert np.abs(np.diff(pictures[3].astype(int), axis=0)).mean() > 8


@pytest.mark.parametrize(("transfer", "hdr"), [(16, True), (18, True), (1, False)])
def test_hdr_is_recognised(tmp_path, transfer, hdr):
    def tag(stream) -> None:
        stream.codec_context.color_trc = transfer
        stream.codec_context.color_primaries = 9
        stream.codec_context.colorspace = 9

    path = corner_video(tmp_path / "hdr.mkv", pixel_format="yuv420p10le", tune=tag)
    info = probe(path)
    assert (info.hdr, info.pixel_format) == (hdr, "yuv420p10le")
    assert next(iter(frames(path)))[2].dtype == np.uint8


def test_sound_that_starts_late_keeps_its_place(tmp_path):
    path = corner_video(tmp_path / "late.mkv", audio=tone(2.0), audio_start_seconds=0.24)
    samples = clip_samples(path, probe(path).start_seconds, 2.4)
    onset = int(np.argmax(np.abs(samples) > 0.1)) / RATE
    assert onset == pytest.approx(0.24, abs=0.03)


def mux_sound(container, sound, samples: np.ndarray, layout: str) -> None:
    """Encode channels (c, n) at 48 kHz."""
    for begin in range(0, samples.shape[1], 1536):
        block = np.ascontiguousarray(samples[:, begin : begin + 1536])
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = 48_000, begin, Fraction(1, 48_000)
        container.mux(sound.encode(frame))
    container.mux(sound.encode())


def surround(path: Path, seconds: float = 2.4) -> Path:
    """A clip whose speech is in the middle channel of six."""
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=10)
        picture.width, picture.height, picture.pix_fmt = 96, 64, "yuv420p"
        sound = container.add_stream("ac3", rate=48_000, layout="5.1")
        for rgb in greys(round(seconds * 10)):
            container.mux(picture.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(picture.encode())
        samples = np.zeros((6, round(seconds * 48_000)), np.float32)
        samples[2] = tone(seconds)
        mux_sound(container, sound, samples, "5.1")
    return path


def test_speech_in_the_middle_of_five_point_one(tmp_path):
    path = surround(tmp_path / "cinema.mkv")
    assert probe(path).has_audio
    samples = load_audio(path)
    assert len(samples) / RATE == pytest.approx(2.4, abs=0.1)
    assert 0.05 < np.abs(samples[RATE // 2 :]).max() < 1


def dolby(path: Path, layout: str, channels: int, seconds: float) -> bytes:
    """A tone as a bare stream, which may be followed by another."""
    with av.open(str(path), "w", format="ac3") as container:
        sound = container.add_stream("ac3", rate=48_000, layout=layout)
        mux_sound(container, sound, np.tile(tone(seconds), (channels, 1)).astype(np.float32), layout)
    return path.read_bytes()


def test_sound_that_changes_from_stereo_to_surround(tmp_path):
    parts = dolby(tmp_path / "a.ac3", "stereo", 2, 1.2), dolby(tmp_path / "b.ac3", "5.1", 6, 1.2)
    (tmp_path / "broadcast.ac3").write_bytes(b"".join(parts))
    samples = load_audio(tmp_path / "broadcast.ac3")
    assert len(samples) / RATE == pytest.approx(2.4, abs=0.15)
    for part in np.split(samples, [len(samples) // 2]):
        assert np.abs(part[RATE // 4 : RATE // 2]).max() > 0.05


def test_no_sound(tmp_path):
    path = corner_video(tmp_path / "mute.mp4")
    assert not probe(path).has_audio
    assert not clip_samples(path, 0.0, 1.0).any()
    with pytest.raises(BadInput, match="no audio track"):
        load_audio(path)


@pytest.mark.parametrize("suffix", [".mkv", ".ts", ".mp4"])
def test_garbage_in_the_middle_costs_some_frames_only(tmp_path, suffix):
    def often(stream) -> None:
        stream.codec_context.gop_size = 5

    path = corner_video(tmp_path / f"scratched{suffix}", seconds=8, width=192, height=128, tune=often)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2 if suffix != ".mp4" else len(data) // 3
    data[middle : middle + 300] = np.random.default_rng(0).bytes(300)
    path.write_bytes(data)
    got = list(frames(path))
    assert 50 <= len(got) <= 80
    assert got[-1][1] == pytest.approx(7.9, abs=0.15)
    assert colour_at(got[-1][2], 0.2, 0.2)[0] > 150


def test_a_tenth_of_a_second(tmp_path):
    path = corner_video(tmp_path / "blip.mp4", seconds=0.1, fps=30)
    assert len(list(frames(path))) == 3
    with pytest.raises(BadInput, match="too short") as error:
        require_length(path, probe(path).duration_seconds)
    assert "0.1" in error.value.got


def test_a_header_that_promises_three_hours(tmp_path):
    path = corner_video(tmp_path / "stuck.mkv", seconds=4)
    data = path.read_bytes()
    at = data.find(b"\x44\x89\x88") + 3  # Matroska's Duration: an 8-byte float, in milliseconds
    path.write_bytes(data[:at] + struct.pack(">d", 3 * 3600e3) + data[at + 8 :])
    with pytest.raises(BadInput, match="is cut off") as error:
        list(frames(path))
    assert "10800.0 s, as its header says" in str(error.value) and "--max-seconds" in error.value.fix
    assert len(list(frames(path, max_seconds=3.0))) == 30


def test_megabytes_of_metadata_in_a_foreign_alphabet(tmp_path):
    def chatty(stream) -> None:
        stream.container.metadata["comment"] = "é" * 1_000_000

    path = corner_video(tmp_path / "tagged.mkv", seconds=2.4, tune=chatty)
    data = path.read_bytes()
    assert len(data) > 2_000_000
    path.write_bytes(data.replace("é".encode() * 4, b"\xe9" * 8, 1))  # Latin-1, as cameras write it
    assert len(list(frames(path))) == 24


def test_decoded_frames_do_not_wait_for_the_garbage_collector(tmp_path):
    path = corner_video(tmp_path / "clip.mp4", seconds=4.0, fps=10)
    gc.collect()
    gc.disable()
    try:
        for _ in frames(path):
            pass
        assert gc.collect() < 40
    finally:
        gc.enable()
