import numpy as np
import pytest

from avatar.errors import BadInput, FormatMismatch
from avatar.motion.motion_io import load_motion, save_motion
from avatar.motion.rules import drive
from avatar.types import MOTION_FIELDS


@pytest.fixture
def saved(tmp_path):
    motion = drive(np.random.default_rng(0).normal(0, 0.1, 16000), seed=1)
    path = tmp_path / "Bewegung ü.npz"
    save_motion(path, motion)
    return path, motion


def test_round_trip(saved):
    path, motion = saved
    back = load_motion(path)
    for name in MOTION_FIELDS:
        assert np.allclose(getattr(back, name), getattr(motion, name)), name
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def rewrite(path, **changes):
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays.update(changes)
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema": np.array("visavis.motion/9")}, "visavis.motion/9"),
        ({"schema": None}, "schema"),
        ({"names": np.array(["jawOpen"])}, "another list"),
        ({"expression": np.zeros((3, 52))}, "expression: float64"),
        ({"joints": None}, "joints: nothing"),
        ({"translation": np.full((25, 3), np.nan)}, "not finite"),
        ({"quats_wxyz": np.zeros((25, 4))}, "length 0"),
        ({"timestamps_seconds": np.zeros(25)}, "do not rise"),
        ({"expression": np.full((25, 52), {}, dtype=object)}, "plain arrays"),
    ],
)
def test_nonsense_is_explained(saved, changes, said):
    path, _ = saved
    rewrite(path, **changes)
    with pytest.raises(FormatMismatch, match=said):
        load_motion(path)


def test_other_files_are_explained(tmp_path):
    with pytest.raises(BadInput, match="cannot read"):
        load_motion(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(FormatMismatch, match="not a usable motion"):
        load_motion(tmp_path / "text.npz")
    (tmp_path / "empty.npz").write_bytes(b"")
    with pytest.raises(FormatMismatch, match="not a usable motion"):
        load_motion(tmp_path / "empty.npz")
    with pytest.raises(BadInput, match="cannot read"):
        load_motion(tmp_path)
