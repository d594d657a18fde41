"""The whole line on a real person: slow, so a short fit and generous bars; `scripts/bench clips` gives the numbers."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from avatar.assets import find_asset
from avatar.evaluation.protocol import Evaluator
from avatar.fitting import FitConfig, fit
from preprocess.capture import CaptureFolder

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def preprocessed(tmp_path_factory) -> dict:
    """What the command says, in a process of its own: the peak of this one also counts what other tests took."""
    output = tmp_path_factory.mktemp("real") / "speaking.capture"
    command = [sys.executable, "-m", "avatar.cli", "preprocess", str(find_asset("speaking.avi")), "-o", str(output)]
    done = subprocess.run([*command, "--json", "-q"], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout) | {"folder": output}


@pytest.fixture(scope="module")
def line(preprocessed):
    capture = CaptureFolder.load(preprocessed["folder"])
    return capture, fit(capture, preprocessed["folder"].with_suffix(".avatar"), FitConfig(steps=500))


def test_a_speaking_person_is_tracked(preprocessed):
    assert preprocessed["frames"] == 317 and preprocessed["tracked_fraction"] > 0.98
    assert preprocessed["reprojection_iod"] < 0.02 and preprocessed["peak_rss_mb"] < 1500


@pytest.mark.timeout(600)
def test_a_speaking_person_is_re_enacted_on_held_out_frames(line):
    from preprocess.detection.landmarks import Detector

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
