"""The open head in FLAME's file layout: exact for smplx and for us, whatever the parameters."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from avatar.errors import BadInput
from avatar.geometry import axis_angle_to_matrix
from avatar.head import flame, load_head
from avatar.head.flame_file import export_flame, flame_arrays
from avatar.head.flame_model import FlameModel, FlameParams
from avatar.head.landmarks import IBUG_68
from avatar.head.linear import LinearHead
from avatar.head.pickles import load_arrays


@pytest.fixture(scope="module")
def anny() -> LinearHead:
    return load_head("anny")


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """The folder that `smplx.create` takes, with both kinds of file."""
    folder = tmp_path_factory.mktemp("models")
    for suffix in ("npz", "pkl"):
        export_flame("anny", folder / "flame" / f"FLAME_NEUTRAL.{suffix}")
    return folder


def random_params(
    anny: LinearHead, model: FlameModel, frames: int = 3
) -> tuple[torch.Tensor, torch.Tensor, FlameParams]:
    """Expression (t, 52) and joints (t, 4, 3) of our own head, and the same as FLAME parameters."""
    generator = torch.Generator().manual_seed(0)
    actions = torch.rand(frames, 52, generator=generator)
    joints = 0.3 * torch.randn(frames, 4, 3, generator=generator)
    params = FlameParams(
        shape=torch.randn(60, generator=generator),
        expr=actions @ model.actions[:, : model.expressions],
        rotation=torch.randn(frames, 3, generator=generator),
        neck_pose=joints[:, 0],
        jaw_pose=joints[:, 1],
        eyes_pose=joints[:, 2:].flatten(1),
        translation=torch.randn(frames, 3, generator=generator),
        static_offset=torch.zeros_like(anny.template),
    )
    return actions, joints, params


def ours(anny: LinearHead, actions: torch.Tensor, joints: torch.Tensor, params: FlameParams) -> torch.Tensor:
    """World vertices (t, v, 3) by our own head."""
    local = anny.vertices(anny.shape(params.shape), actions, joints)
    return local @ axis_angle_to_matrix(params.rotation).mT + params.translation[:, None]


def padded(coefficients: torch.Tensor, width: int) -> torch.Tensor:
    return torch.nn.functional.pad(coefficients, (0, width - coefficients.shape[-1]))


@pytest.mark.parametrize("suffix", ["npz", "pkl"])
def test_smplx_gives_our_vertices(anny: LinearHead, files: Path, suffix: str):
    smplx = pytest.importorskip("smplx")
    actions, joints, params = random_params(anny, FlameModel.of("anny"))
    other = smplx.create(
        str(files), "flame", ext=suffix, num_betas=300, num_expression_coeffs=100, batch_size=len(params)
    )
    got = other(
        betas=padded(params.shape, 300).expand(len(params), -1),
        expression=padded(params.expr, 100),
        global_orient=params.rotation,
        neck_pose=params.neck_pose,
        jaw_pose=params.jaw_pose,
        leye_pose=params.eyes_pose[:, :3],
        reye_pose=params.eyes_pose[:, 3:],
        transl=params.translation,
    )
    wanted = ours(anny, actions, joints, params)
    assert (got.vertices - wanted).norm(dim=-1).max() < 1e-5, "metres"
    assert (other.faces == anny.faces.numpy()).all()
    landmarks = got.joints[:, 5:]  # after FLAME's own joints: the static embedding's points
    assert landmarks.shape == (len(params), 51, 3)
    nose, chin_side = landmarks[0, 30 - 17], landmarks[0, 57 - 17]
    assert 0.01 < (nose - chin_side).norm() < 0.12, "tip of the nose to the middle of the lower lip"


def test_our_own_flame_gives_our_vertices(anny: LinearHead):
    model = FlameModel.of("anny")
    actions, joints, params = random_params(anny, model)
    got = torch.stack([model.vertices(params, i) for i in range(len(params))])
    assert (got - ours(anny, actions, joints, params)).norm(dim=-1).max() < 2e-6


def test_the_file_is_read_back(anny: LinearHead, files: Path):
    native, root, centre = flame.read_with_root(files / "flame" / "FLAME_NEUTRAL.npz")
    again = flame.read(files / "flame" / "FLAME_NEUTRAL.pkl")
    assert torch.equal(native.expression_dirs, again.expression_dirs)
    assert len(native.identity_basis) == 300 and len(native.expression_dirs) == 100
    assert torch.equal(native.identity_basis[:60], anny.identity_basis) and not native.identity_basis[60:].any()
    assert torch.allclose(native.template + centre, anny.template, atol=1e-7)
    assert (root @ native.template).abs().max() < 1e-6
    sizes = native.expression_dirs[:52].flatten(1).norm(dim=1)
    assert (sizes[1:] <= sizes[:-1] * (1 + 1e-5)).all(), "expressions come by falling variance"


def test_landmark_files(anny: LinearHead, files: Path):
    inner = load_arrays(files / "flame" / "flame_static_embedding.pkl")
    assert inner["lmk_face_idx"].shape == (51,)
    np.testing.assert_allclose(inner["lmk_b_coords"].sum(1), 1, atol=1e-5)
    with np.load(files / "flame" / "mediapipe_landmark_embedding.npz", allow_pickle=False) as steady:
        assert steady["landmark_indices"].shape == steady["lmk_face_idx"].shape
        assert len(steady["landmark_indices"]) > 300
    corners = anny.template.numpy()[anny.faces.numpy()[inner["lmk_face_idx"]]]
    points = (corners * inner["lmk_b_coords"][..., None]).sum(1)
    right_brow, left_brow, mouth = points[:5], points[5:10], points[31:]
    assert (right_brow[:, 0] < 0).all() and (left_brow[:, 0] > 0).all(), "left is +X"
    assert right_brow[:, 1].min() > mouth[:, 1].max()
    assert len(set(IBUG_68)) == 68


def test_only_open_heads_and_known_suffixes_are_exported(tmp_path: Path):
    with pytest.raises(BadInput, match="npz or .pkl"):
        export_flame("anny", tmp_path / "head.obj")


def test_arrays_have_flames_layout(anny: LinearHead):
    arrays = flame_arrays(FlameModel.of("anny"))
    count = len(anny.template)
    assert {k: v.shape for k, v in arrays.items()} == {
        "v_template": (count, 3), "f": (len(anny.faces), 3), "shapedirs": (count, 3, 400), "posedirs": (count, 3, 36),
        "J_regressor": (5, count), "weights": (count, 5), "kintree_table": (2, 5),
    }  # fmt: skip
    np.testing.assert_allclose(arrays["weights"].sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(arrays["J_regressor"].sum(1), 1, atol=1e-5)


def test_the_command(capsys, tmp_path: Path):
    from avatar.cli import main

    def run(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(["head", *arguments, "--json", "-q"])
        return int(ended.value.code or 0), capsys.readouterr().out

    code, out = run("info")
    assert code == 0 and json.loads(out)["vertices"] == len(load_head("anny").template)
    model = tmp_path / "open_head.npz"
    code, out = run("export", "-o", str(model))
    assert code == 0 and set(json.loads(out)) == {"model", "landmarks", "ibug_landmarks"} and model.is_file()
    assert run("export", "-o", str(model))[0] == 2
    assert run("export", "-o", str(tmp_path / "other.npz"))[0] == 2, "its landmark files would replace the first one's"
    assert run("export", "-o", str(tmp_path / "head.pkl"))[0] == 2
    assert run("export")[0] == 2
