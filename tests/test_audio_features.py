"""Sound stays in step with the pictures, and its features mean what they say."""

from __future__ import annotations

import wave

import numpy as np
import pytest
from make_video import audio_only, corner_video, tone

from avatar.errors import BadInput
from avatar.motion.audio import N_MELS, RATE, features, load_audio, log_mel, mfcc
from preprocess.audio import extract_audio, load_features, read_wav, save_features


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


def test_long_tracks_give_the_same_features_in_blocks():
    from python_speech_features import mfcc as cepstra

    noise = np.random.default_rng(0).normal(0, 0.1, 61 * RATE + 77).astype(np.float32)
    whole = cepstra(noise * 32767.0, RATE, nfft=512)
    got = mfcc(noise)
    assert got.shape == whole.shape
    np.testing.assert_allclose(np.delete(got, 6000, 0), np.delete(whole, 6000, 0), atol=2e-2)


@pytest.mark.parametrize("count", [0, 1, 399, 400, 401, 560, 561])
def test_short_tracks(count):
    got = features(np.full(count, 0.1, np.float32))
    assert len(got.log_mel) == len(got.mfcc) == len(got.timestamps_seconds) >= 1
    assert np.isfinite(got.log_mel).all() and np.isfinite(got.mfcc).all()


def test_features_at_frame_times():
    got = features(tone(1.0, RATE, silent_seconds=0.5)).at(np.array([0.1, 0.9]))
    assert got.log_mel.shape == (2, N_MELS)
    assert got.log_mel[0].max() < -20 < got.log_mel[1].max()


def test_features_round_trip(tmp_path):
    with wave.open(str(tmp_path / "a.wav"), "wb") as out:
        out.setparams((1, 2, RATE, 0, "NONE", ""))
        out.writeframes((tone(1.0, RATE) * 32767).astype("<i2").tobytes())
    saved = save_features(tmp_path / "a.wav", tmp_path / "f.npz")
    np.testing.assert_array_equal(load_features(tmp_path / "f.npz").log_mel, saved.log_mel)
    (tmp_path / "f.npz").write_text("nonsense")
    with pytest.raises(BadInput, match=r"f\.npz"):
        load_features(tmp_path / "f.npz")
