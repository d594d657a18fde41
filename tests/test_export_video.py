import resource
import signal
import wave
from fractions import Fraction

import av
import numpy as np
import pytest

from avatar.errors import BadInput
from avatar.export.video import VideoWriter


@pytest.fixture
def tone(tmp_path):
    """5 s of 16 kHz mono: silence for 2 s, then a 440 Hz tone."""
    path = tmp_path / "Töne mit Lücke.wav"
    t = np.arange(5 * 16000) / 16000
    samples = (np.sin(2 * np.pi * 440 * t) * (t >= 2) * 12000).astype(np.int16)
    with wave.open(str(path), "wb") as f:
        f.setnchannels(1)
        f.setsampwidth(2)
        f.setframerate(16000)
        f.writeframes(samples.tobytes())
    return path


def flat(color, height=48, width=64):
    return np.broadcast_to(np.array(color, np.uint8), (height, width, 3)).copy()


def sound_of(path):
    with av.open(str(path)) as clip:
        return np.concatenate([f.to_ndarray()[0] for f in clip.decode(audio=0)])


def test_colours_and_fractional_rate_survive(tmp_path):
    path = tmp_path / "a b.mp4"
    with VideoWriter(path, 64, 48, 29.97, comment="Synthetic ü") as clip:
        for color in ([200, 60, 30], [10, 240, 90]) * 30:
            clip.add(flat(color))
    with av.open(str(path)) as read:
        stream = read.streams.video[0]
        assert read.metadata["comment"] == "Synthetic ü"
        assert stream.average_rate == Fraction(2997, 100)
        assert stream.codec_context.pix_fmt == "yuv420p"
        frames = [f.to_ndarray(format="rgb24") for f in read.decode(video=0)]
    assert len(frames) == 60
    assert np.abs(frames[0].astype(int) - [200, 60, 30]).max() <= 4
    assert np.abs(frames[1].astype(int) - [10, 240, 90]).max() <= 4


def test_sound_is_cut_to_the_pictures_and_in_place(tmp_path, tone):
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, 64, 48, 25, audio_path=tone) as clip:
        for _ in range(75):
            clip.add(flat([0, 0, 0]))
    with av.open(str(path)) as read:
        video, audio = read.streams.video[0], read.streams.audio[0]
        assert float(video.duration * video.time_base) == pytest.approx(3.0)
        assert float(audio.duration * audio.time_base) == pytest.approx(3.0, abs=0.03)
    samples = sound_of(path)
    onset = np.nonzero(np.abs(samples) > 0.1)[0][0] / 48000
    assert onset == pytest.approx(2.0, abs=0.04)


def test_sound_can_start_inside_the_file(tmp_path, tone):
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, 64, 48, 25, audio_path=tone, audio_start_seconds=1.5) as clip:
        for _ in range(25):
            clip.add(flat([0, 0, 0]))
    onset = np.nonzero(np.abs(sound_of(path)) > 0.1)[0][0] / 48000
    assert onset == pytest.approx(0.5, abs=0.04)


def test_odd_sizes_are_padded(tmp_path):
    path = tmp_path / "odd.mp4"
    with VideoWriter(path, 63, 47, 25) as clip:
        clip.add(flat([90, 90, 200], 47, 63))
    with av.open(str(path)) as read:
        image = next(read.decode(video=0)).to_ndarray(format="rgb24")
    assert image.shape == (48, 64, 3)
    assert np.abs(image[-1, -1].astype(int) - [90, 90, 200]).max() <= 4


def test_an_error_leaves_the_old_clip_and_no_rest(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="renderer"), VideoWriter(path, 64, 48, 25) as clip:
        clip.add(flat([0, 0, 0]))
        raise RuntimeError("renderer")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["clip.mp4"]


def test_wrong_picture_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected uint8"), VideoWriter(tmp_path / "c.mp4", 64, 48, 25) as clip:
        clip.add(flat([0, 0, 0], 10, 10))


def test_empty_clip_and_bad_sound_are_refused(tmp_path, tone):
    with pytest.raises(BadInput, match="empty clip"), VideoWriter(tmp_path / "c.mp4", 64, 48, 25):
        pass
    with pytest.raises(BadInput, match="is a folder"):
        VideoWriter(tmp_path, 64, 48, 25)
    text = tmp_path / "text.wav"
    text.write_text("hello")
    with pytest.raises(BadInput, match="cannot read sound"):
        VideoWriter(tmp_path / "c.mp4", 64, 48, 25, audio_path=text)
    silent = tmp_path / "silent.mp4"
    with VideoWriter(silent, 64, 48, 25) as clip:
        clip.add(flat([0, 0, 0]))
    with pytest.raises(BadInput, match="no audio track"):
        VideoWriter(tmp_path / "c.mp4", 64, 48, 25, audio_path=silent)
    assert not (tmp_path / "c.mp4").exists()


def test_full_disk_is_said_and_nothing_stays(tmp_path):
    """A file-size limit stands in for the full disk: the same failing write(2)."""
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.uint8)
    old_signal = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    old_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, old_limit[1]))
    try:
        with pytest.raises(BadInput, match="disk is full"), VideoWriter(tmp_path / "c.mp4", 64, 48, 25) as clip:
            for shift in range(300):
                clip.add(np.roll(noise, shift * 7, axis=1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old_limit)
        signal.signal(signal.SIGXFSZ, old_signal)
    assert not list(tmp_path.iterdir())
