"""`visavis bench prior` on a synthetic speaker, small."""

from __future__ import annotations

from pathlib import Path

import pytest

from avatar.motion.prior.config import TrainConfig
from preprocess.studio.prior_bench import run


@pytest.mark.slow
def test_rungs_of_a_speaker_are_measured(tmp_path: Path):
    result = run(
        [3],
        TrainConfig(steps=40, width=32, blocks=2, batch=8),
        seconds=20,
        held_out_seconds=10,
        keep=tmp_path,
        rivals=True,
    )
    rows = {row["name"]: row for row in result["rows"]}
    assert list(rows) == [
        "truth",
        "mean_pose",
        "shuffled_audio",
        "rules",
        "l0",
        "flow",
        "stream",
        "ddpm",
        "autoregression",
    ]
    assert (
        rows["ddpm"]["aperture_r"] != rows["flow"]["aperture_r"] and rows["autoregression"]["lip_vertex_error_mm"] < 20
    )
    assert rows["truth"]["aperture_r"] == 1 and rows["l0"]["aperture_r"] > 0.5 > rows["shuffled_audio"]["aperture_r"]
    flow = rows["flow"]
    assert flow["steps"] == 40 and 0 < flow["real_time_factor"] < 10 and 0 <= flow["drift"] < 1
    assert (tmp_path / "speaker_3.prior").is_file() and (tmp_path / "speaker_3.html").is_file()
