"""Learned speech encoders behind one protocol, their cache, and the layout that published fields read."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from avatar.errors import BadInput, MissingAsset
from avatar.motion.audio import RATE, load_audio
from avatar.motion.audio_windows import attention_windows, audio_windows
from avatar.motion.encoders import NAMES, Encoding, load_encoder
from avatar.motion.encoders.base import in_pieces
from preprocess.sound.encodings import cache_path, encode_cached, load_encoding
from preprocess.studio.voice import nonsense, synthesise

SENTENCE = Path(os.environ.get("VISAVIS_TEST_DATA", "data")) / "speech" / "arctic_a0009.wav"


class Loudness:
    """A small encoder with a memory of how often it ran."""

    name, key, rate_hz, first_seconds, dims, labels = "loudness", "1", 50.0, 0.01, 2, ("rms", "peak")

    def __init__(self) -> None:
        self.runs = 0

    def encode(self, samples: np.ndarray) -> np.ndarray:
        self.runs += 1
        return in_pieces(samples, self.rows, self.rate_hz, piece_seconds=3, context_seconds=1)

    @staticmethod
    def rows(samples: np.ndarray) -> np.ndarray:
        blocks = np.pad(samples, (0, -len(samples) % 320)).reshape(-1, 320)
        return np.stack([np.sqrt((blocks**2).mean(1)), np.abs(blocks).max(1)], 1)


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return synthesise(nonsense(10.0, 2), 10.0, 2)


@pytest.mark.parametrize("count", [1, 319, 320, 321, 3 * RATE, 10 * RATE + 5])
def test_pieces_join_to_the_whole(count):
    samples = np.random.default_rng(0).normal(0, 0.1, count).astype(np.float32)
    np.testing.assert_array_equal(Loudness().encode(samples), Loudness.rows(samples).astype(np.float32))


def test_encoded_once_per_sound_and_weights(tmp_path, speech):
    encoder = Loudness()
    first, file = encode_cached(encoder, speech, tmp_path)
    again, same = encode_cached(encoder, speech, tmp_path)
    assert encoder.runs == 1 and same == file and again.labels == ("rms", "peak")
    np.testing.assert_array_equal(first.rows, again.rows)
    encode_cached(encoder, speech[:-1], tmp_path)
    encoder.key = "2"
    assert cache_path(encoder, speech, tmp_path) != file
    encode_cached(encoder, speech, tmp_path)
    assert encoder.runs == 3 and len(list((tmp_path / "encodings").iterdir())) == 3
    encoder.key = "1"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(BadInput, match="can't be read"):
        load_encoding(file)
    encode_cached(encoder, speech, tmp_path)
    assert encoder.runs == 4 and len(load_encoding(file).rows) == 500


def test_windows_are_the_published_slices():
    rows = np.random.default_rng(0).normal(size=(101, 29)).astype(np.float32)
    seconds = np.arange(50) / 25
    windows = audio_windows(Encoding("deepspeech", 50.0, 0.0, rows), seconds)
    assert windows.shape == (50, 16, 29) and windows.dtype == np.float32
    padded = np.concatenate([np.zeros((8, 29)), rows, np.zeros((16, 29))])
    np.testing.assert_allclose(windows, np.stack([padded[2 * i : 2 * i + 16] for i in range(50)]), atol=1e-5)
    around = attention_windows(windows)
    assert around.shape == (50, 8, 16, 29)
    for frame in (0, 2, 20, 48):
        for k in range(8):
            other = frame - 4 + k
            np.testing.assert_array_equal(around[frame, k], windows[other] if 0 <= other < 50 else 0 * windows[0])


def test_windows_at_another_rate_hold_the_sound_of_that_moment():
    rows = np.arange(400, dtype=np.float32)[:, None] / 100  # each row says its own time
    seconds = np.cumsum(np.full(60, 1 / 29.97))
    windows = audio_windows(Encoding("clock", 100.0, 0.0, rows), seconds)
    inside = windows[10:, :, 0]
    np.testing.assert_allclose(inside, seconds[10:, None] + (np.arange(16) - 8) / 50, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_missing_packages_say_how_to_get_them(name, tmp_path, monkeypatch):
    for module in ("hama", "ctranslate2", "onnxruntime"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingAsset, match=r"pip install 'visavis\[\w+\]'"):
        load_encoder(name, tmp_path / "m.onnx" if name == "onnx" else None)


def test_wrong_models_are_refused(tmp_path):
    with pytest.raises(BadInput, match="needs a model"):
        load_encoder("onnx")
    with pytest.raises(BadInput, match="no encoder"):
        load_encoder("deepest")
    with pytest.raises(BadInput, match="not finite|NaN"):
        Encoding.of(Loudness(), np.full(400, np.nan, np.float32))


def best(rows: np.ndarray, labels: tuple[str, ...]) -> str:
    """The most probable symbols, one after the other."""
    found = [labels[k] for k in rows.argmax(1)]
    changes = [s for k, s in enumerate(found) if k == 0 or found[k - 1] != s]
    return "".join(s for s in changes if s not in ("<blank>", "<wb>"))


def test_hama_gives_probabilities_of_any_length_of_speech(speech):
    pytest.importorskip("hama")
    encoder = load_encoder("hama")
    got = Encoding.of(encoder, np.tile(speech, 4)[: 37 * RATE + 5])
    assert got.rows.shape == (37 * 50 + 1, encoder.dims) and len(got.labels) == encoder.dims
    np.testing.assert_allclose(got.rows.sum(1), 1, atol=1e-3)
    assert 20 < len(best(got.rows[:500], got.labels)) < 200
    agree = got.rows[1100:1300].argmax(1) == got.rows[600:800].argmax(1)  # one of them has a seam of pieces
    assert agree.mean() > 0.7
    assert encoder.encode(np.zeros(0, np.float32)).shape == (1, encoder.dims)


@pytest.mark.skipif(not SENTENCE.is_file(), reason="the recording is not here")
def test_hama_tells_phonemes():
    pytest.importorskip("hama")
    got = Encoding.of(load_encoder("hama"), load_audio(SENTENCE))
    assert best(got.rows, got.labels).startswith("hit"), "He turned sharply ..."


def test_whisper_rows_differ_with_the_sound(speech):
    pytest.importorskip("ctranslate2")
    try:
        encoder = load_encoder("whisper")
    except MissingAsset:
        pytest.skip("its weights are not installed")
    got = Encoding.of(encoder, speech[: 3 * RATE])
    assert got.rows.shape == (150, encoder.dims) and np.isfinite(got.rows).all()
    still = encoder.encode(np.zeros(3 * RATE, np.float32))
    assert np.abs(got.rows - still).mean() > 0.1


def test_whisper_input_is_scaled_mel():
    from avatar.motion.encoders.whisper import whisper_mel

    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)
    mel = whisper_mel(tone)
    assert mel.shape == (80, 3000) and mel.dtype == np.float32
    assert mel.max() - mel.min() == pytest.approx(2, abs=1e-5)  # eight decades over four
    edges = 1000 / 200 * 3 / (15 + 27 * np.log(8) / np.log(6.4)) * 81  # 1 kHz in bands of Slaney's scale
    assert mel[:, 50].argmax() == pytest.approx(edges - 1, abs=1)


def sound_model(file: Path, hop: int = 320, dims: int = 6) -> Path:
    """A strided convolution of the waveform, as wav2vec2 begins: (1, samples) to (1, t, dims)."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(0).normal(0, 0.1, (dims, 1, 400)).astype(np.float32)
    axis = numpy_helper.from_array(np.array([1]), "axis")
    nodes = [
        helper.make_node("Unsqueeze", ["sound", "axis"], ["channels"]),
        helper.make_node("Conv", ["channels", "w"], ["conv"], strides=[hop]),
        helper.make_node("Transpose", ["conv"], ["rows"], perm=[0, 2, 1]),
    ]
    sound = helper.make_tensor_value_info("sound", TensorProto.FLOAT, [1, "samples"])
    rows = helper.make_tensor_value_info("rows", TensorProto.FLOAT, [1, "t", dims])
    graph = helper.make_graph(nodes, "g", [sound], [rows], [numpy_helper.from_array(weights, "w"), axis])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(file))
    return file


def cepstra_model(file: Path, width: tuple[int, ...]) -> Path:
    """DeepSpeech's input, and its lengths, to time-major logits (t, 1, 29)."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(0).normal(0, 0.1, (494, 29)).astype(np.float32)
    constants = [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(np.array([-1, 1, 494]), "shape")]
    nodes = [
        helper.make_node("Reshape", ["input_node", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["logits"]),
        helper.make_node("Identity", ["input_lengths"], ["lengths_out"]),
    ]
    inputs = [
        helper.make_tensor_value_info("input_node", TensorProto.FLOAT, [1, "t", *width]),
        helper.make_tensor_value_info("input_lengths", TensorProto.INT32, [1]),
    ]
    outputs = [
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["t", 1, 29]),
        helper.make_tensor_value_info("lengths_out", TensorProto.INT32, [1]),
    ]
    graph = helper.make_graph(nodes, "g", inputs, outputs, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(file))
    return file


def test_onnx_of_sound(tmp_path, speech):
    pytest.importorskip("onnxruntime")
    encoder = load_encoder("onnx", sound_model(tmp_path / "hubert.onnx"))
    assert (encoder.rate_hz, encoder.dims) == (50, 6) and encoder.first_seconds == pytest.approx(0.0125, abs=0.01)
    got = encoder.encode(np.tile(speech, 4))
    assert got.shape == (2000, 6)
    np.testing.assert_allclose(got[500:900], got[1000:1400], atol=1e-4)  # across a seam of pieces
    np.testing.assert_allclose(encoder.encode(3 * speech), encoder.encode(speech), atol=1e-3)
    assert encoder.encode(np.zeros(0, np.float32)).shape == (1, 6)
    with pytest.raises(BadInput, match="odd rate"):
        load_encoder("onnx", sound_model(tmp_path / "odd.onnx", hop=333))


@pytest.mark.parametrize("width", [(494,), (19, 26)])
def test_onnx_of_deepspeech(tmp_path, speech, width):
    pytest.importorskip("onnxruntime")
    encoder = load_encoder("onnx", cepstra_model(tmp_path / "ds.onnx", width))
    assert (encoder.rate_hz, encoder.dims, encoder.first_seconds) == (50, 29, 0)
    assert abs(len(encoder.encode(speech)) - 500) <= 1


def test_onnx_files_that_are_none(tmp_path):
    pytest.importorskip("onnxruntime")
    (tmp_path / "text.onnx").write_text("nothing")
    for file, what in (("text.onnx", "can't be loaded"), ("none.onnx", "does not exist")):
        with pytest.raises(BadInput, match=what):
            load_encoder("onnx", tmp_path / file)
    with pytest.raises(BadInput, match="no speech encoder"):
        load_encoder("onnx", cepstra_model(tmp_path / "other.onnx", (7,)))
