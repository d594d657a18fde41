"""FLAME and GNM heads from files made here: exactness, retargeting, and refusal of hostile or unfit files."""

import os
import pickle
import shutil

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from avatar.errors import BadInput, FormatMismatch
from avatar.head import cache, flame, gnm, load_head
from avatar.head.arkit import ARKIT_INDEX
from avatar.head.calibration import calibrate
from avatar.head.linear import LinearHead
from avatar.head.model import REGIONS, on_surface
from avatar.head.retarget import projected_uvs, retargeted, similarity


def flame_data(count: int = 24, seed: int = 0) -> dict:
    """A tiny random model in FLAME's layout."""
    rng = np.random.default_rng(seed)
    weights = rng.random((count, 5))
    regressor = rng.random((5, count))
    return {
        "v_template": rng.normal(size=(count, 3)) * 0.1,
        "f": rng.integers(0, count, (30, 3)).astype(np.uint32),
        "shapedirs": rng.normal(size=(count, 3, 400)) * 0.001,
        "posedirs": rng.normal(size=(count, 3, 36)) * 0.002,
        "J_regressor": sp.csc_matrix(regressor / regressor.sum(1, keepdims=True)),
        "weights": weights / weights.sum(1, keepdims=True),
        "kintree_table": np.array([[4294967295, 0, 1, 1, 1], [0, 1, 2, 3, 4]]),
        "bs_type": "lrotmin",
    }


def written(path, data: dict, protocol: int = 2):
    path.write_bytes(pickle.dumps(data, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_flame_equals_smplx(tmp_path, protocol: int):
    lbs = pytest.importorskip("smplx.lbs").lbs
    data = flame_data()
    head = flame.read(written(tmp_path / "generic_model.pkl", data, protocol))
    rng = np.random.default_rng(1)
    shape, expression = rng.normal(size=300), rng.normal(size=100)
    joints = rng.normal(size=(4, 3)) * 0.4
    tensors = {
        k: torch.tensor(np.asarray(data[k]), dtype=torch.float64) for k in ("v_template", "shapedirs", "weights")
    }
    wanted, _ = lbs(
        torch.tensor(np.concatenate([shape, expression]))[None],
        torch.tensor(np.concatenate([np.zeros(3), joints.ravel()]))[None],
        tensors["v_template"],
        tensors["shapedirs"],
        torch.tensor(data["posedirs"]).reshape(-1, 36).T,
        torch.tensor(data["J_regressor"].toarray()),
        torch.tensor([-1, 0, 1, 1, 1]),
        tensors["weights"],
    )
    native = torch.tensor(np.concatenate([expression, joints[1:].ravel()]), dtype=torch.float32)
    got = head.vertices(native, torch.tensor(shape, dtype=torch.float32), torch.tensor(joints[0], dtype=torch.float32))
    centre = torch.tensor(data["v_template"].mean(0))
    assert torch.allclose(got.double() + centre, wanted[0], atol=2e-6)


class _ChumpyLike:
    """Pickles as chumpy's arrays do: by name and state."""

    def __init__(self, array: np.ndarray) -> None:
        self.x = array


def test_flame_reads_chumpy_arrays(tmp_path):
    data = flame_data()
    plain = flame.read(written(tmp_path / "plain.pkl", data))
    stream = pickle.dumps(data | {"shapedirs": _ChumpyLike(data["shapedirs"])}, protocol=2)
    name = f"c{__name__}\n_ChumpyLike\n".encode()
    assert name in stream
    (tmp_path / "chumpy.pkl").write_bytes(stream.replace(name, b"cchumpy.ch\nCh\n"))
    assert torch.equal(flame.read(tmp_path / "chumpy.pkl").expression_dirs, plain.expression_dirs)


class _Hostile:
    def __init__(self, call, *args) -> None:
        self.call, self.args = call, args

    def __reduce__(self):
        return self.call, self.args


@pytest.mark.parametrize(
    "call", [(os.system, "touch {}"), (eval, "open({!r}, 'w')"), (exec, "open({!r}, 'w')"), (open, "{}", "w")]
)
def test_malicious_pickle_is_refused_and_does_nothing(tmp_path, call):
    victim = tmp_path / "created"
    function, *args = call
    bomb = _Hostile(function, *(a.format(str(victim)) for a in args))
    path = written(tmp_path / "generic_model.pkl", flame_data() | {"shapedirs": bomb})
    with pytest.raises(BadInput, match="asks for"):
        load_head(str(path))
    assert not victim.exists()


def test_damaged_or_foreign_pickles_are_refused(tmp_path):
    path = tmp_path / "generic_model.pkl"
    for content in (b"", b"hello", pickle.dumps([1, 2]), pickle.dumps(flame_data())[:5000]):
        path.write_bytes(content)
        with pytest.raises(BadInput, match="refused"):
            flame.read(path)
    with pytest.raises(FormatMismatch, match="posedirs"):
        flame.read(written(path, {k: v for k, v in flame_data().items() if k != "posedirs"}))
    with pytest.raises(FormatMismatch, match="other shapes"):
        flame.read(written(path, flame_data() | {"weights": np.ones((24, 24))}))


def test_similarity_is_recovered():
    torch.manual_seed(0)
    source = torch.randn(50, 3)
    rotation = torch.linalg.matrix_exp(torch.tensor([[0.0, -0.3, 0.1], [0.3, 0.0, 0.2], [-0.1, -0.2, 0.0]]))
    target = 1.7 * source @ rotation.T + torch.tensor([0.1, 0.2, 0.3])
    weights = torch.ones(50)
    weights[0] = 0
    target[0] += 100
    scale, turned, shift = similarity(source, target, weights)
    assert torch.allclose(scale * source[1:] @ turned.T + shift, target[1:], atol=1e-4)


@pytest.fixture(scope="module")
def anny() -> LinearHead:
    return load_head("anny")


def anny_as_flame(anny: LinearHead) -> dict:
    """The anny head in FLAME's layout at 1.1 times its size: its expression space and joints, no ARKit in it."""
    count = len(anny.template)
    flat = anny.expression_basis.flatten(1)
    _, values, right = torch.linalg.svd(flat, full_matrices=False)
    directions = (values[:, None] * right).unflatten(1, (count, 3))[:51] / 4
    shapes = torch.cat([anny.identity_basis, torch.zeros(240, count, 3), directions])
    root = 1 - anny.skin_weights.sum(1, keepdim=True)
    joints = torch.cat([torch.full((1, count), 1 / count), anny.joint_regressor])
    return {
        "v_template": 1.1 * anny.template.numpy() + np.array([0.0, 1.5, 0.0]),
        "f": anny.faces.numpy().astype(np.uint32),
        "shapedirs": 1.1 * shapes.permute(1, 2, 0).numpy(),
        "posedirs": np.zeros((count, 3, 36)),
        "J_regressor": sp.csc_matrix(joints.numpy()),
        "weights": torch.cat([root, anny.skin_weights], 1).numpy(),
        "kintree_table": np.array([[4294967295, 0, 1, 1, 1], [0, 1, 2, 3, 4]]),
    }


def test_retargeting_finds_the_actions_again(anny: LinearHead, tmp_path):
    """Anny disguised as FLAME, with its own landmarks: the 52 actions must come back, 1.1 times as large."""
    native = flame.read(written(tmp_path / "generic_model.pkl", anny_as_flame(anny)))
    table = calibrate(anny)
    head = retargeted(native, table, anny, table)
    wanted = 1.1 * anny.expression_basis
    face = torch.isin(anny.regions, torch.tensor([REGIONS.index("face"), REGIONS.index("lips")]))
    for name in ("jawOpen", "mouthSmileLeft", "browInnerUp", "mouthPucker", "eyeBlinkLeft"):
        row = ARKIT_INDEX[name]
        error = (head.expression_basis[row] - wanted[row])[face].norm(dim=1).mean()
        assert error < 0.3 * wanted[row][face].norm(dim=1).mean(), name
    eye = anny.skin_weights[:, 2] == 1
    row = ARKIT_INDEX["eyeLookOutLeft"]
    assert (head.expression_basis[row] - wanted[row])[eye].norm(dim=1).mean() < 0.3 * wanted[row][eye].norm(
        dim=1
    ).mean()
    assert head.arkit_to_native is not None and head.native_to_arkit is not None
    assert head.arkit_to_native.shape == (52, native.size) and head.native_to_arkit.shape == (native.size, 52)
    assert len(head.metadata["native_names"]) == native.size
    assert (head.regions == anny.regions)[face].float().mean() > 0.95
    rest = native.vertices(torch.zeros(native.size))
    jaw = native.vertices(head.arkit_to_native[ARKIT_INDEX["jawOpen"]]) - rest
    assert torch.allclose(jaw, head.expression_basis[ARKIT_INDEX["jawOpen"]], atol=1e-6)


@pytest.mark.slow
def test_flame_file_to_head_through_the_cache(anny: LinearHead, tmp_path, monkeypatch):
    """The whole way of a user's file: read, calibrate on renders, retarget, cache."""
    path = written(tmp_path / "generic_model.pkl", anny_as_flame(anny))
    folder = tmp_path / "heads"
    shutil.copytree(cache.head_folder(), folder)
    monkeypatch.setattr(cache, "head_folder", lambda: folder)
    head = load_head(f"flame:{path}")
    lips = anny.regions == REGIONS.index("lips")
    assert head.expression_basis[ARKIT_INDEX["jawOpen"]][lips, 1].min() < -0.015
    again = load_head(str(path))
    assert again.content_hash == head.content_hash and torch.equal(again.expression_basis, head.expression_basis)


def gnm_data(count: int = 20, expressions: int = 7) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    weights, regressor = rng.random((count, 4)), rng.random((4, count))
    return {
        "template_vertices": rng.random((count, 3)) * 25,
        "triangles": rng.integers(0, count, (12, 3)).astype(np.int32),
        "identity_basis": rng.normal(size=(5, count, 3)),
        "expression_basis": rng.normal(size=(count, 3, expressions)),
        "joint_regressor": regressor / regressor.sum(1, keepdims=True),
        "skinning_weights": weights / weights.sum(1, keepdims=True),
    }


def test_gnm_reads_a_tiny_file_in_centimetres(tmp_path):
    data = gnm_data()
    np.savez(tmp_path / "gnm.npz", **data)
    head = gnm.read(tmp_path / "gnm.npz")
    centred = (data["template_vertices"] - data["template_vertices"].mean(0)) / 100
    assert torch.allclose(head.template, torch.tensor(centred, dtype=torch.float32), atol=1e-6)
    moved = head.vertices(torch.eye(head.size)[3]) - head.template
    assert torch.allclose(moved, torch.tensor(data["expression_basis"][:, :, 3] / 100, dtype=torch.float32), atol=1e-6)
    assert torch.allclose(head.skin_weights.sum(1), torch.ones(20))
    assert head.skin_weights[:, 1].max() == 0, "no jaw joint"


def test_gnm_names_the_keys_it_found(tmp_path):
    data = gnm_data()
    data["nonsense"] = data.pop("expression_basis")
    np.savez(tmp_path / "gnm.npz", **data)
    with pytest.raises(FormatMismatch, match=r"lacks expression[\s\S]*nonsense"):
        load_head(f"gnm:{tmp_path / 'gnm.npz'}")
    np.savez(tmp_path / "gnm.npz", **gnm_data() | {"identity_basis": np.zeros((3, 3))})
    with pytest.raises(FormatMismatch, match="identity does not fit"):
        gnm.read(tmp_path / "gnm.npz")
    np.savez(tmp_path / "gnm.npz", template=np.array([{"a": 1}], dtype=object))
    with pytest.raises(BadInput, match="plain arrays"):
        gnm.read(tmp_path / "gnm.npz")


def test_projected_uvs_have_no_triangle_across_the_seam(anny: LinearHead):
    uvs = projected_uvs(anny.template, anny.faces)
    wide = uvs[..., 0].amax(1) - uvs[..., 0].amin(1) > 0.5
    assert wide.sum() < 10, "only triangles around the axis itself, at the poles"
    assert uvs[..., 1].min() >= 0 and uvs[..., 1].max() <= 1


def test_fields_on_the_surface_interpolate(anny: LinearHead):
    table = calibrate(anny)
    points = on_surface(anny.template, anny.faces, table)
    corners = anny.template[anny.faces[table.triangles]]
    assert (points >= corners.amin(1) - 1e-6).all() and (points <= corners.amax(1) + 1e-6).all()
