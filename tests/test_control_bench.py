"""`visavis bench controls` on synthetic speakers, small; and the score of styles."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from avatar.cli import execute
from avatar.cli.inspect import Bench
from avatar.evaluation.motion.control import retrieval_auc
from avatar.motion.prior.config import TrainConfig
from preprocess.studio.control_bench import run


def test_codes_are_found_again():
    references = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
    whose = np.array([0, 1, 2, 0])
    near = references[whose] + 0.1
    assert retrieval_auc(near, references, whose) == 1
    assert retrieval_auc(near, references, (whose + 1) % 3) < 0.5
    assert retrieval_auc(np.zeros((4, 2)), np.zeros((3, 2)), whose) == 0.5


def test_a_bench_of_nothing_is_refused(capsys: pytest.CaptureFixture):
    for options in ({"preset": "l0"}, {"seeds": "1,2"}):
        assert execute(Bench(what="controls", json=True, **options)) == 2
        assert "controls are the network's" in json.loads(capsys.readouterr().out)["error"]


@pytest.mark.slow
def test_controls_are_measured(tmp_path: Path):
    small = TrainConfig(steps=20, width=32, blocks=2, batch=8)
    rows = run((1, 2), small, seconds=8, clip_seconds=4, keep=tmp_path)["rows"]
    cases = {(row["case"], row["of"]): row for row in rows}
    styles = [row for row in rows if row["case"] == "style"]
    assert len(styles) == 2 and all(0 <= row["auc"] <= 1 and 0 <= row["ceiling"] <= 1 for row in styles)
    assert cases["temperature", "head_degrees"]["responses"][0] == 0 < cases["temperature", "head_degrees"]["order"]
    assert len(cases["guidance", "aperture_mm"]["responses"]) == 6
    assert all(row["exact"] for row in rows if row["case"] == "redo")
    keys = next(row for row in rows if row["case"] == "keys")
    assert keys["key_error_mm"] == 0 < keys["changed_between"]
    assert (tmp_path / "shared.prior").is_file()
