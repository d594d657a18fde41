"""Several processes train one network: the same weights as one process alone, one file, one that stops them all."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from make_capture import speaking_capture
from small_prior import SMALL, geometry, speaking

from avatar.errors import BadInput
from avatar.motion.prior.checkpoint import Prior
from avatar.motion.prior.data import material_of
from avatar.motion.prior.processes import Processes, joined
from avatar.motion.prior.training import Trainer

SCRIPT = Path(__file__).with_name("train_together.py")
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def run(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=200, check=False)


def test_two_processes_learn_what_one_learns(tmp_path: Path):
    alone, together = tmp_path / "alone", tmp_path / "together"
    done = [run(sys.executable, SCRIPT, alone), run(*TORCHRUN, SCRIPT, together)]
    assert [d.returncode for d in done] == [0, 0], done[-1].stderr
    one, first, second = (Prior.load(tmp_path / name) for name in ("alone.0", "together.0", "together.1"))
    assert one.weights is not None and first.weights is not None and second.weights is not None
    for name, weights in one.weights.items():
        np.testing.assert_array_equal(first.weights[name], second.weights[name], err_msg=name)
        np.testing.assert_allclose(first.weights[name], weights, atol=5e-6, err_msg=name)
    assert first.about["loss"] == pytest.approx(one.about["loss"], rel=1e-4)


def test_processes_with_other_captures_are_refused(tmp_path: Path):
    done = run(*TORCHRUN, SCRIPT, tmp_path / "x", 3)
    assert done.returncode != 0 and "the processes do not learn from the same" in done.stderr
    assert not list(tmp_path.iterdir())


def test_ctrl_c_stops_all_and_one_alone_goes_on(tmp_path: Path):
    capture, output = speaking_capture(tmp_path / "me.capture", 12), tmp_path / "me.prior"
    arguments = ["-m", "avatar.cli", "train-prior", str(capture), "-o", str(output), "--preset", "quick", "--json"]
    running = subprocess.Popen([*TORCHRUN, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stderr is not None and running.stdout is not None
    for line in running.stderr:
        if line.startswith("training the motion prior"):
            break
    running.send_signal(signal.SIGINT)
    printed, errors = running.communicate(timeout=120)
    assert running.returncode != 0
    said = json.loads(printed)  # one object: only the first process speaks
    assert said["exit_code"] == 3 and "run the same command again" in said["error"], errors
    assert (tmp_path / ".me.prior.partial").is_file() and not output.exists()
    again = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert again.stderr is not None
    deadline = time.monotonic() + 120
    for line in again.stderr:
        if line.startswith("going on at step") or time.monotonic() > deadline:
            break
    again.kill()
    again.communicate()
    assert line.startswith("going on at step") and line.endswith("of 600\n")


def test_shares_cover_a_batch_once():
    shares = [Processes(rank, 3).share(8) for rank in range(3)]
    assert [k for share in shares for k in range(8)[share]] == list(range(8))


def test_more_processes_than_windows_are_refused():
    material = material_of([speaking(8, 1)], geometry())
    with pytest.raises(BadInput, match="more processes than windows") as refused:
        Trainer(material, SMALL, processes=Processes(0, 5))
    assert refused.value.expected == "4 processes at most" and refused.value.got == "5"


def test_a_world_without_its_coordinates_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(BadInput, match="do not know each other") as refused, joined("cpu"):
        pass
    assert "MASTER_ADDR" in refused.value.got and "start it by torchrun" in refused.value.fix
