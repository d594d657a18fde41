"""`visavis features`: of captures and sound files, built-in and by encoders."""

from __future__ import annotations

import json
import wave
from pathlib import Path

import numpy as np
import pytest
from make_capture import small_capture

from avatar.cli import main
from avatar.motion.audio import RATE
from preprocess.sound.audio import load_features
from preprocess.studio.voice import nonsense, synthesise

SECONDS = 4.0


@pytest.fixture
def wav(tmp_path) -> Path:
    return write_wav(tmp_path / "speech.wav")


def write_wav(file: Path) -> Path:
    with wave.open(str(file), "wb") as out:
        out.setparams((1, 2, RATE, 0, "NONE", ""))
        samples = synthesise(nonsense(SECONDS, 3), SECONDS, 3)
        out.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return file


@pytest.fixture
def features(capfd):
    def run(*arguments: str | Path) -> tuple[int, dict]:
        with pytest.raises(SystemExit) as ended:
            main(["features", *map(str, arguments), "--json"])
        return int(ended.value.code or 0), json.loads(capfd.readouterr().out)

    return run


@pytest.fixture
def speaking_capture(tmp_path) -> Path:
    capture = small_capture(tmp_path / "a.capture")
    write_wav(capture / "audio.wav")
    info = json.loads((capture / "capture.json").read_text())
    (capture / "capture.json").write_text(json.dumps(info | {"audio": True}))
    return capture


def test_of_a_sound_file(features, wav, tmp_path):
    out = tmp_path / "speech.npz"
    code, said = features(wav, "-o", out)
    assert code == 0 and said["frames"] == 399 and said["speech_seconds"] > 2 and 60 < said["median_pitch_hz"] < 400
    with np.load(out, allow_pickle=False) as z:
        assert {"log_mel", "mfcc", "f0_hz", "voicing", "energy_db", "speaking", "emphasis"} <= set(z.files)
        assert z["speaking"].shape == z["f0_hz"].shape == (399,)
    code, said = features(wav, "-o", out)
    assert code == 2 and "--overwrite" in said["error"]
    assert features(wav, "-o", out, "--overwrite")[0] == 0


def test_of_a_capture_made_by_an_older_version(features, speaking_capture):
    file = speaking_capture / "audio_features.npz"
    np.savez(file, timestamps_seconds=np.zeros(3), log_mel=np.zeros((3, 80)), mfcc=np.zeros((3, 13)))
    assert features(speaking_capture)[0] == 0
    assert len(load_features(file)) == 399


def everything(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_output_leaves_the_capture_untouched(features, speaking_capture, tmp_path):
    pytest.importorskip("hama")
    before = everything(speaking_capture)
    for encoder in ("builtin", "hama"):
        assert features(speaking_capture, "--encoder", encoder, "-o", tmp_path / f"{encoder}.npz")[0] == 0
    assert everything(speaking_capture) == before and not (speaking_capture / "encodings").exists()


def test_by_an_encoder(features, speaking_capture, tmp_path):
    pytest.importorskip("hama")
    code, said = features(speaking_capture, "--encoder", "hama")
    assert code == 0 and said["shape"][0] == 200 and Path(said["features"]).parent == speaking_capture / "encodings"
    for layout, shape in (("frames", (4, 191)), ("windows", (4, 16, 191))):
        out = tmp_path / f"{layout}.npz"
        code, said = features(speaking_capture, "--encoder", "hama", "--layout", layout, "-o", out)
        assert code == 0 and tuple(said["shape"]) == shape
        assert np.load(out, allow_pickle=False)["rows"].shape == shape
    assert len(list((speaking_capture / "encodings").iterdir())) == 1


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ([], "no place"),
        (["-o", "x.npz", "--layout", "windows"], "belong to an encoder"),
        (["-o", "x.npz", "--encoder", "onnx"], "needs a model"),
        (["-o", "x.npz", "--encoder", "hama", "--fps", "0"], "--fps"),
    ],
)
def test_what_it_refuses(features, wav, arguments, what):
    code, said = features(wav, *arguments)
    assert code == 2 and what in said["error"]


def test_a_mute_capture(features, tmp_path):
    code, said = features(small_capture(tmp_path / "mute.capture"))
    assert code == 2 and "no sound" in said["error"]
