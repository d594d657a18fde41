"""The whole line on a real person: slow, so a short fit and generous bars; `scripts/bench clips` gives the numbers."""

from __future__ import annotations

import pytest

from avatar.assets import find_asset
from avatar.evaluation.protocol import Evaluator
from avatar.fitting import FitConfig, fit

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    import preprocess

    folder = tmp_path_factory.mktemp("real")
    capture = preprocess.track(find_asset("speaking.avi"), folder / "speaking.capture")
    return capture, fit(capture, folder / "speaking.avatar", FitConfig(steps=700))


@pytest.mark.timeout(600)
def test_a_speaking_person_is_re_enacted_on_held_out_frames(line):
    from preprocess.landmarks import Detector

    capture, avatar = line
    with Detector() as detector:

        def landmarks(rgb):
            found = detector.detect(rgb)
            return found and found.landmarks_px

        scores = Evaluator(avatar, capture, landmarks).run().summary
    rivals = [r["psnr"] for r in scores["rivals"].values()]
    assert scores["full"]["psnr"] > max(rivals) + 4
    assert scores["full"]["landmark_px"] < 1.2
    assert scores["full"]["aperture_r"] > 0.7
    assert scores["full"]["faces_found"] == 1


def test_the_shoulders_of_a_speaking_person_are_found(line):
    capture, _ = line
    assert capture.motion.torso.any()
    assert capture.tracked.all()
