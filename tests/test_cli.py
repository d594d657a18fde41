"""The command contract: help, JSON, exit codes, errors that say what, expected, got and next."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from avatar.cli import COMMANDS, main
from avatar.cli.common import resolve_motion
from avatar.types import CAPTURE_SCHEMA
from cuda_ext import ops


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def visavis(capfd):
    """Run a command in this process: importing torch anew would take longer than the command."""
    torch_threads, native_threads = torch.get_num_threads(), ops.get_threads()

    def run(*arguments: str | Path) -> Done:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(a) for a in arguments])
        out, err = capfd.readouterr()
        return Done(int(ended.value.code or 0), out, err)

    yield run
    torch.set_num_threads(torch_threads)
    ops.set_threads(native_threads)


def real_visavis(*arguments: str | Path) -> subprocess.CompletedProcess:
    """Run the command as a user does."""
    command = [sys.executable, "-m", "avatar.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)


def test_the_real_command(tmp_path):
    done = real_visavis("--help")
    assert done.returncode == 0 and all(name in done.stdout for name in COMMANDS)
    done = real_visavis("render", tmp_path / "no such avatar", "-o", tmp_path / "clip.mp4", "--json")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert list(json.loads(done.stdout)) == ["error", "exit_code"]
    assert not (tmp_path / "clip.mp4").exists()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_with_an_example(visavis, name):
    done = visavis(name, "--help")
    assert done.returncode == 0
    assert f"visavis {name}" in done.stdout and "Example" in done.stdout
    assert "--json" in done.stdout


def test_usage_errors_exit_with_2(visavis):
    assert visavis("fit").returncode == 2
    assert visavis("nonsense").returncode == 2


def test_errors_name_the_fix_and_are_json_on_request(visavis, tmp_path):
    done = visavis("render", tmp_path / "no such avatar", "-o", tmp_path / "clip.mp4", "--json")
    assert done.returncode == 2
    assert "is not an avatar" in done.stderr and "expected" in done.stderr
    assert json.loads(done.stdout)["exit_code"] == 2
    assert "Traceback" not in done.stderr


def test_options_out_of_range_are_refused(visavis, tmp_path):
    done = visavis("render", tmp_path, "-o", tmp_path / "clip.mp4", "--size", "4")
    assert done.returncode == 2 and "16 to 8192" in done.stderr
    done = visavis("info", tmp_path, "--threads", "-1")
    assert done.returncode == 2 and "--threads" in done.stderr
    for command in (("fit", tmp_path, "-o", tmp_path / "x"), ("eval", tmp_path)):
        done = visavis(*command, "--long-side", "63")
        assert done.returncode == 2 and "64 to 8192" in done.stderr
    for background in ("1,1,1.5", "nan,0,0", "-1,0,0", "red"):
        done = visavis("render", tmp_path, "-o", tmp_path / "clip.mp4", f"--background={background}")
        assert done.returncode == 2 and "such as 1,1,1" in done.stderr


def test_eval_says_what_is_in_its_way(visavis, tiny_avatar, tmp_path):
    """The synthetic capture was never on disk: its recorded place is as good as moved."""
    done = visavis("eval", tiny_avatar.path)
    assert done.returncode == 2 and "--capture" in done.stderr
    notes = tmp_path / "notes.html"
    notes.write_text("mine")
    done = visavis("eval", tiny_avatar.path, "-o", notes)
    assert done.returncode == 2 and "--overwrite" in done.stderr and notes.read_text() == "mine"


def test_a_bug_prints_its_traceback_once(visavis, tmp_path, monkeypatch):
    def crash(path):
        raise RuntimeError("crashed on purpose")

    monkeypatch.setattr("avatar.info.describe", crash)
    for arguments in ((), ("-v",)):
        done = visavis("info", tmp_path, *arguments)
        assert done.returncode == 1 and done.stderr.count("Traceback") == 1


def test_info_tells_what_a_folder_is(visavis, tiny_avatar, tmp_path):
    done = visavis("info", tiny_avatar.path, "--json")
    facts = json.loads(done.stdout)
    assert done.returncode == 0 and facts["kind"] == "avatar"
    assert facts["gaussians"]["head"] == 3600 and facts["seed"] == 0
    done = visavis("info", tmp_path)
    assert done.returncode == 2 and "nothing that visavis made" in done.stderr


def test_info_looks_into_a_capture(visavis, tmp_path):
    """A capture.json alone, with the right schema, is not a whole capture."""
    (tmp_path / "capture.json").write_text(json.dumps({"schema": CAPTURE_SCHEMA}))
    assert visavis("info", tmp_path).returncode == 2


def test_doctor_reports_every_part(visavis):
    done = visavis("doctor", "--json")
    report = json.loads(done.stdout)
    names = {c["name"] for c in report["checks"]}
    assert {"python", "torch", "mediapipe", "backend cpu", "face_landmarker.task"} <= names
    assert all(c["fix"] for c in report["checks"] if c["needed"] and not c["ok"])
    assert done.returncode == (0 if report["ok"] else 2)


def test_the_three_jobs_from_the_command_line(visavis, tiny_avatar, tmp_path):
    """Clips, stereo, views and splats with awkward file names; each carries its provenance."""
    import av

    out = tmp_path / "späte Größe 1"
    out.mkdir()
    common = ("--size", "64", "--max-seconds", "0.3", "-q", "--json")
    orbit = out / "orbit.mp4"
    done = visavis("render", tiny_avatar.path, "--camera", "orbit", "-o", orbit, *common)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["frames"] == 8
    assert (out / "orbit.mp4.provenance.json").exists()
    again = visavis("render", tiny_avatar.path, "-o", orbit, *common)
    assert again.returncode == 2 and "--overwrite" in again.stderr
    done = visavis("export", tiny_avatar.path, "--stereo", "sbs", "-o", out / "pair.mp4", *common)
    clip = json.loads(done.stdout)["clip"]
    with av.open(clip) as container:
        assert container.streams.video[0].width == 128
    again = visavis("export", tiny_avatar.path, "--stereo", "sbs", "-o", out / "pair.mp4", *common)
    assert again.returncode == 2 and "pair_sbs.mp4 exists" in again.stderr
    done = visavis("export", tiny_avatar.path, "--multiview", "ring", "--views", "3", "-o", out / "ring", *common)
    assert len(json.loads(done.stdout)["clips"]) == 3 and (out / "ring" / "cameras.json").exists()
    done = visavis("export", tiny_avatar.path, "--splats", "-o", out / "head.ply", "-q", "--json")
    assert done.returncode == 0 and (out / "head.ply").stat().st_size > 3900 * 17 * 4
    done = visavis("export", tiny_avatar.path, "-o", out / "nothing")
    assert done.returncode == 2 and "--splats" in done.stderr


def test_a_head_speaks_a_recording(visavis, tiny_avatar, tmp_path):
    import av
    from scipy.io import wavfile

    t = np.arange(16000) / 16000
    wavfile.write(tmp_path / "hum.wav", 16000, (8000 * np.sin(2 * np.pi * 150 * t)).astype(np.int16))
    talk = tmp_path / "talk.mp4"
    arguments = ("--audio", tmp_path / "hum.wav", "-o", talk, "--size", "64", "-q", "--json")
    done = visavis("drive", tiny_avatar.path, *arguments)
    assert done.returncode == 0, done.stderr
    with av.open(str(talk)) as container:
        assert container.streams.audio and container.streams.video[0].frames == 25
    done = visavis("drive", tiny_avatar.path, *arguments, "--overwrite", "--max-seconds", "0.4")
    assert json.loads(done.stdout)["seconds"] == 0.4
    done = visavis("drive", tiny_avatar.path, "--audio", tmp_path / "none.wav", "-o", tmp_path / "x.mp4")
    assert done.returncode == 2 and not (tmp_path / "x.mp4").exists()


def test_another_persons_motion_drives_the_avatar(visavis, tiny_avatar, tmp_path):
    from synthetic import talking_motion

    from avatar.motion.motion_io import save_motion

    save_motion(tmp_path / "other.npz", talking_motion(20, seed=7))
    clip = tmp_path / "other.mp4"
    done = visavis("render", tiny_avatar.path, "--motion", tmp_path / "other.npz", "-o", clip, "--size", "64", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["frames"] == 20
    whole, _ = resolve_motion(tiny_avatar, str(tmp_path / "other.npz"), None)
    beginning, _ = resolve_motion(tiny_avatar, str(tmp_path / "other.npz"), 0.2)
    assert len(beginning) == 5
    assert np.array_equal(beginning.motion.expression, whole.motion.expression[:5])
    assert np.array_equal(beginning.motion.quats_wxyz, whole.motion.quats_wxyz[:5])
    done = visavis("render", tiny_avatar.path, "--motion", "nobody", "-o", tmp_path / "x.mp4")
    assert done.returncode == 2 and "motion file" in done.stderr


def test_every_bench_is_there():
    from typing import get_args, get_type_hints

    from avatar.cli.inspect import Bench

    names = get_args(get_args(get_type_hints(Bench, include_extras=True)["what"])[0])
    assert {"kernels", "cross", "prior"} <= set(names)
    assert all(callable(getattr(Bench, f"_{name}")) for name in names)
