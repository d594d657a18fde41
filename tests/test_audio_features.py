"""Sound stays in step with the pictures, and its features mean what they say."""

from __future__ import annotations

import dataclasses
import wave

import numpy as np
import pytest
from make_video import audio_only, corner_video, tone

from avatar.errors import BadInput
from avatar.motion.audio import RATE, load_audio
from avatar.motion.features import N_MELS, AudioFeatures, FeatureStream, features, join, log_mel
from preprocess.sound.audio import extract_audio, load_features, read_wav, save_features

FIELDS = [field.name for field in dataclasses.fields(AudioFeatures)]


def onset(samples: np.ndarray, rate: int = RATE) -> float:
    """Seconds of the first sample that is clearly sound."""
    return float(np.argmax(np.abs(samples) > 0.1)) / rate


@pytest.mark.parametrize("suffix", [".m4a", ".wav"])
def test_load_any_file_as_16khz_mono(tmp_path, suffix):
    samples = load_audio(audio_only(tmp_path / f"speech{suffix}", seconds=2.0))
    assert samples.dtype == np.float32
    assert len(samples) / RATE == pytest.approx(2.0, abs=0.07)
    spectrum = np.abs(np.fft.rfft(samples[:RATE]))
    assert np.argmax(spectrum) == pytest.approx(440, abs=2)
    assert samples[4000:-4000].std() == pytest.approx(0.4 / 2**0.5, abs=0.01)


def test_load_refuses_what_has_no_sound(tmp_path):
    with pytest.raises(BadInput, match="does not exist"):
        load_audio(tmp_path / "none.wav")
    with pytest.raises(BadInput, match="no audio track"):
        load_audio(corner_video(tmp_path / "mute.mp4"))
    (tmp_path / "text.wav").write_text("not a sound")
    with pytest.raises(BadInput, match="can't be decoded"):
        load_audio(tmp_path / "text.wav")


@pytest.mark.parametrize("audio_start", [0.0, 0.25])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_extracted_sound_is_aligned_to_the_first_picture(tmp_path, audio_start, suffix):
    sound = tone(2.0, silent_seconds=0.5)
    video = corner_video(tmp_path / f"clip{suffix}", audio=sound, audio_start_seconds=audio_start)
    wav = tmp_path / "audio.wav"
    assert extract_audio(video, wav, 0.0, 2.4)
    samples = read_wav(wav)
    assert len(samples) == round(2.4 * RATE)
    assert onset(samples) == pytest.approx(0.5 + audio_start, abs=0.03)


def test_sound_before_the_first_picture_is_cut(tmp_path):
    video = corner_video(tmp_path / "clip.mkv", audio=tone(2.4, silent_seconds=1.0))
    wav = tmp_path / "audio.wav"
    extract_audio(video, wav, 0.6, 1.0)
    samples = read_wav(wav)
    assert len(samples) == RATE
    assert onset(samples) == pytest.approx(0.4, abs=0.03)


def test_mute_video_writes_nothing(tmp_path):
    assert not extract_audio(corner_video(tmp_path / "mute.mp4"), tmp_path / "audio.wav", 0.0, 2.0)
    assert not (tmp_path / "audio.wav").exists()


def test_features_of_a_tone():
    got = features(tone(1.0, RATE))
    assert got.log_mel.shape == (99, N_MELS) and got.mfcc.shape == (99, 13)
    assert got.timestamps_seconds[0] == pytest.approx(0.0125)
    assert got.timestamps_seconds[-1] == pytest.approx(0.9925, abs=1e-4)
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), N_MELS + 2) / 2595) - 1)
    loudest = got.log_mel[50].argmax()
    assert edges[loudest] < 440 < edges[loudest + 2]


@pytest.mark.parametrize("bands", [26, 40, 80])
def test_no_mel_band_is_empty(bands):
    noise = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)
    assert log_mel(noise, bands=bands).mean(0).min() > -12


def test_cepstra_are_those_of_python_speech_features():
    from python_speech_features import mfcc

    noise = np.random.default_rng(0).normal(0, 0.1, 3 * RATE + 77).astype(np.float32)
    theirs = mfcc(noise * 32767.0, RATE, nfft=512)
    ours = features(noise).mfcc
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours[:-1], theirs[:-1], atol=1e-3)  # the last one differs by the edge into silence


@pytest.mark.parametrize("count", [0, 1, 399, 400, 401, 560, 561])
def test_short_tracks(count):
    got = features(np.full(count, 0.1, np.float32))
    assert len(got.log_mel) == len(got.mfcc) == len(got.timestamps_seconds) >= 1
    assert all(np.isfinite(getattr(got, name)).all() for name in FIELDS)


def sound(kind: str) -> np.ndarray:
    """Three seconds and a bit, so that the last frame is not whole."""
    count = 3 * RATE + 123
    if kind == "voice":
        return voice(np.linspace(90, 280, count))
    rng = np.random.default_rng(1)
    return {"noise": rng.normal(0, 0.1, count), "silence": np.zeros(count), "short": rng.normal(0, 0.1, 700)}[
        kind
    ].astype(np.float32)


def voice(hz: np.ndarray, harmonics: int = 20) -> np.ndarray:
    """A buzz whose harmonics fall off like a glottis', `hz` per sample."""
    phase = 2 * np.pi * np.cumsum(hz) / RATE
    return sum(0.2 * np.sin(k * phase + k) / k**1.5 for k in range(1, harmonics)).astype(np.float32)


@pytest.mark.parametrize("kind", ["voice", "noise", "silence", "short"])
@pytest.mark.parametrize("largest", [1, 7, 160, 401, 5000])
def test_streamed_features_are_the_same_to_the_bit(kind, largest):
    samples = sound(kind)[: 3000 if largest == 1 else None]
    whole, stream, rng = features(samples), FeatureStream(), np.random.default_rng(largest)
    parts, at = [], 0
    while at < len(samples):
        size = int(rng.integers(0, largest + 1)) or 1
        parts.append(stream.feed(samples[at : at + size]))
        at += size
    got = join([*parts, stream.flush()])
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(got, name), getattr(whole, name), err_msg=name)
    np.testing.assert_array_equal(log_mel(samples), whole.log_mel)
    again = join([stream.feed(samples), stream.flush()])
    np.testing.assert_array_equal(again.mfcc, whole.mfcc)


def test_a_frame_depends_on_its_own_window_only():
    samples = sound("voice")
    other = samples.copy()
    other[:16_000], other[17_000:] = 0.3, -0.2
    one, two = features(samples), features(other)
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(one, name)[102:103], getattr(two, name)[102:103], err_msg=name)


def test_frames_come_21_ms_after_their_middle():
    stream = FeatureStream()
    late = round((0.0125 + 0.021) * RATE)
    assert len(stream.feed(np.zeros(late - 5, np.float32))) == 0
    assert len(stream.feed(np.zeros(5, np.float32))) == 1


@pytest.mark.parametrize("hz", [65, 100, 151.3, 233, 440, 490])
def test_pitch_of_steady_sounds(hz):
    for samples in (voice(np.full(RATE, hz)), 0.3 * np.sin(2 * np.pi * hz * np.arange(RATE) / RATE)):
        inner = slice(3, -5)
        got = features(samples)
        np.testing.assert_allclose(got.f0_hz[inner], hz, rtol=0.005)
        assert got.voicing[inner].min() > 0.95


def test_pitch_follows_a_glide_in_noise():
    hz = 160 + 60 * np.sin(2 * np.pi * 0.8 * np.arange(2 * RATE) / RATE)
    clean = voice(hz)
    noise = np.random.default_rng(0).normal(0, clean.std() * 10 ** (-15 / 20), len(clean))
    got = features(clean + noise)
    truth = hz[(got.timestamps_seconds * RATE).astype(int).clip(0, len(hz) - 1)]
    inner = slice(3, -5)
    assert got.voiced[inner].mean() > 0.98
    error = np.abs(got.f0_hz / truth - 1)[inner][got.voiced[inner]]
    assert np.median(error) < 0.01 and (error < 0.05).mean() > 0.99


def test_noise_and_silence_have_no_pitch():
    assert features(sound("noise")).voiced.mean() < 0.02
    quiet = features(sound("silence"))
    assert not quiet.voiced.any() and quiet.energy_db.max() == -100 and quiet.voicing.max() == 0


def test_energy_is_against_full_scale():
    loud = features(np.sin(2 * np.pi * 200 * np.arange(RATE) / RATE)).energy_db[5:-5]
    np.testing.assert_allclose(loud, -3.01, atol=0.02)


def test_features_at_frame_times():
    got = features(tone(1.0, RATE, silent_seconds=0.5)).at(np.array([0.1, 0.9]))
    assert got.log_mel.shape == (2, N_MELS)
    assert got.log_mel[0].max() < -20 < got.log_mel[1].max()
    assert got.f0_hz[0] == 0 and got.f0_hz[1] == pytest.approx(440, abs=2)


def test_features_round_trip(tmp_path):
    with wave.open(str(tmp_path / "a.wav"), "wb") as out:
        out.setparams((1, 2, RATE, 0, "NONE", ""))
        out.writeframes((tone(1.0, RATE) * 32767).astype("<i2").tobytes())
    saved = save_features(tmp_path / "a.wav", tmp_path / "f.npz")
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(load_features(tmp_path / "f.npz"), name), getattr(saved, name))
    (tmp_path / "f.npz").write_text("nonsense")
    with pytest.raises(BadInput, match=r"f\.npz"):
        load_features(tmp_path / "f.npz")
