"""A tracked motion as FLAME parameters and back, for a head that opens its mouth with a joint as FLAME does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic import talking_motion

from avatar.driving import motion_params
from avatar.head import load_head
from avatar.head.arkit import ARKIT_INDEX, ARKIT_NAMES
from avatar.head.calibration import calibrate
from avatar.head.flame_model import FlameModel
from avatar.head.flame_track import from_flame, to_flame
from avatar.head.linear import LinearHead
from avatar.head.residuals import action_residuals, share
from avatar.head.retarget import retargeted
from avatar.rig import posed_vertices
from avatar.types import Motion

T = 5


@pytest.fixture(scope="module")
def flame_like() -> tuple[LinearHead, FlameModel]:
    """The open head with FLAME's division of labour: no expression moves the jaw, which has its joint; off centre."""
    anny = load_head("anny")
    jawless = anny.expression_basis.clone()
    jawless[[ARKIT_INDEX[name] for name in ARKIT_NAMES if name.startswith("jaw") or name == "mouthClose"]] = 0
    plain = FlameModel.of("anny")
    _, values, right = torch.linalg.svd(jawless.flatten(1), full_matrices=False)
    directions = (values[:, None] * right)[:47].unflatten(1, anny.template.shape) / 4
    root = torch.full((len(anny.template),), 1 / len(anny.template))
    native = replace(plain.native, name="flame", expression_dirs=directions, joint_regressor=anny.joint_regressor)
    table = calibrate(anny)
    head = retargeted(native, table, anny, table)
    assert head.arkit_to_native is not None
    return head, FlameModel(native, root, torch.tensor([0.0, 1.5, 0.1]), head.arkit_to_native)


def person(head: LinearHead) -> tuple[torch.Tensor, torch.Tensor, Motion]:
    generator = torch.Generator().manual_seed(0)
    identity = torch.randn(len(head.identity_basis), generator=generator)
    neutral = head.shape(identity) + 0.001 * torch.randn(head.template.shape, generator=generator)
    return identity, neutral, talking_motion(T, seed=2)


def test_flame_parameters_put_the_vertices_where_they_were(flame_like: tuple[LinearHead, FlameModel]):
    head, model = flame_like
    identity, neutral, motion = person(head)
    params = to_flame(model, head, identity, neutral, motion)
    assert params.jaw_pose[:, 0].abs().max() > 0.05, "the jaw opens by its joint"
    for index in range(T):
        wanted = posed_vertices(head, neutral, motion_params(motion, index)) * torch.tensor([1.0, -1.0, -1.0])
        apart = (model.vertices(params, index) - wanted).norm(dim=1)
        assert apart.square().mean().sqrt() < 6e-4, "metres: half way, a jaw that turns is not where a sliding one is"


def test_and_back(flame_like: tuple[LinearHead, FlameModel]):
    head, model = flame_like
    identity, neutral, motion = person(head)
    params = to_flame(model, head, identity, neutral, motion)
    back, residual_mm = from_flame(model, head, params, motion.timestamps_seconds)
    assert residual_mm < 0.6
    np.testing.assert_allclose(back.translation, motion.translation, atol=1e-5)
    np.testing.assert_allclose(np.abs((back.quats_wxyz * motion.quats_wxyz).sum(1)), 1, atol=1e-6)
    for index in range(T):
        wanted = posed_vertices(head, neutral, motion_params(motion, index))
        apart = (posed_vertices(head, neutral, motion_params(back, index)) - wanted).norm(dim=1)
        assert apart.square().mean().sqrt() < 6e-4


def test_residuals_of_the_reference_itself_are_none():
    rows = action_residuals("anny")
    assert [row["action"] for row in rows] == list(ARKIT_NAMES)
    assert all(row["residual_mm"] == 0 and float(row["half_mm"]) < 1e-3 for row in rows) and share(rows) == 0
    assert float(rows[ARKIT_INDEX["jawOpen"]]["size_mm"]) > 5


@pytest.mark.slow
def test_the_whole_line_with_a_flame_head(tmp_path: Path):
    """Track, fit, render and score through a file in FLAME's layout; its parameters put smplx where our head is."""
    import pickle

    from make_video import rendered_head_video

    from avatar.evaluation.protocol import Evaluator
    from avatar.export.cameras import front
    from avatar.export.clip import ClipOptions, render_clip
    from avatar.fitting import FitConfig, fit
    from avatar.head.flame_file import export_flame
    from preprocess import PreprocessConfig, track
    from preprocess.formats import export_capture

    files = export_flame("anny", tmp_path / "models" / "flame" / "FLAME_NEUTRAL.npz")
    name = f"flame:{files['model']}"
    rows = action_residuals(name)
    assert share(rows) < 0.06, "of the size of the actions; 0.04 measured"
    clip = rendered_head_video(tmp_path / "a.mp4", seconds=6)
    capture = track(clip, tmp_path / "capture", config=PreprocessConfig(head=name, overlay=False))
    assert capture.tracked.all() and capture.info["metrics"]["reprojection_iod"] < 0.02
    config = FitConfig(
        steps=150, long_side=128, head_gaussians=3000, core_gaussians=300, hair_gaussians=300, torso_gaussians=600
    )
    avatar = fit(capture, tmp_path / "avatar", config)
    summary = Evaluator(avatar, capture, lambda rgb: None, 128).run().summary
    assert summary["full"]["psnr"] > 18 and summary["full"]["psnr"] > summary["rivals"]["mean_frame"]["psnr"]
    prepared = avatar.prepare(avatar.own_motion[:5])
    assert render_clip(avatar, prepared, front(avatar.camera), tmp_path / "a2.mp4", options=ClipOptions(128)) == 5

    smplx = pytest.importorskip("smplx")
    export_capture(capture, "vhap", tmp_path / "vhap")
    with np.load(files["ibug_landmarks"], allow_pickle=False) as landmarks:
        embedding = Path(files["model"]).with_name("flame_static_embedding.pkl")
        embedding.write_bytes(pickle.dumps(dict(landmarks)))
    other = smplx.create(str(tmp_path / "models"), "flame", ext="npz", num_betas=300, num_expression_coeffs=100)
    head = load_head(name)
    with np.load(tmp_path / "vhap" / "flame_param" / "00030.npz", allow_pickle=False) as archive:
        params = {key: torch.from_numpy(archive[key]) for key in archive.files}
    got = other(
        betas=params["shape"][None], expression=params["expr"], global_orient=params["rotation"],
        neck_pose=params["neck_pose"], jaw_pose=params["jaw_pose"], transl=params["translation"],
        leye_pose=params["eyes_pose"][:, :3], reye_pose=params["eyes_pose"][:, 3:],
    ).vertices[0].detach()  # fmt: skip
    wanted = posed_vertices(head, torch.from_numpy(capture.neutral), motion_params(capture.motion, 30))
    apart = (got - wanted * torch.tensor([1.0, -1.0, -1.0])).norm(dim=1)
    assert apart.square().mean().sqrt() < 2e-4, "metres"
