"""The comparison of fields, on a film of a few seconds."""

from __future__ import annotations

import cv2
import pytest

from avatar.errors import BadInput
from avatar.fitting import FitConfig
from preprocess.studio.field_bench import run

CONFIG = FitConfig(steps=100, long_side=128)
OPTIONS = {"config": CONFIG, "seconds": 3.4}


@pytest.mark.slow
def test_fields_are_compared_on_a_studio_subject(tmp_path):
    result = run(["studio:7"], ["visavis", "talking_gaussian"], keep=tmp_path, **OPTIONS)
    first, second = result["rows"]
    assert (first["case"], first["field"], second["field"]) == ("studio:7", "visavis", "talking_gaussian")
    assert first["psnr"] > first["mean_frame"] - 3, "a hundred steps do not make much of an avatar"
    assert first["baked_psnr"] == first["psnr"]
    assert abs(second["baked_psnr"] - second["psnr"]) < 1
    for row in (first, second):
        assert abs(row["yaw_psnr"]["+0"] - row["psnr"]) < 8, "the studio's camera and ours stand in the same place"
        for scores in (row["yaw_psnr"], row["yaw_head_psnr"]):
            assert 5 < scores["+30"] < scores["+0"]
        assert row["render_fps"] > 0 and row["mb"] > 0 and row["lag_frames"] in range(-6, 7)
    sheet = cv2.imread(str(tmp_path / "studio-7.png"))
    assert sheet.shape == (3 * 256, 5 * 256, 3)


def test_unknown_subjects_and_fields_are_refused():
    with pytest.raises(BadInput, match="no subject is called 'cat'"):
        run(["cat"], ["visavis"], keep=None, **OPTIONS)
    with pytest.raises(BadInput, match="no field is called 'nerf'"):
        run(["speaking"], ["nerf"], keep=None, **OPTIONS)
