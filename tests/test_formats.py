"""Captures in other systems' layouts: what goes out comes back, as others would read it, and nonsense is refused."""

from __future__ import annotations

import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from make_video import audio_only, head_pictures
from synthetic import talking_motion

from avatar.driving import motion_params
from avatar.errors import BadInput, FormatMismatch
from avatar.head import load_head
from avatar.head.arkit import ARKIT_INDEX
from avatar.rig import posed_vertices
from avatar.types import Motion
from preprocess.capture import CaptureFolder
from preprocess.capture.files import frame_path, mask_path, save_info, save_tracks
from preprocess.capture.pictures import write_mask, write_picture
from preprocess.formats import LAYOUTS, ReadOptions, export_capture, import_capture
from preprocess.formats.talking_gaussian import action_units
from preprocess.sound.audio import extract_audio, read_wav

T, WIDTH, HEIGHT = 8, 240, 320
OPTIONS = ReadOptions("anny")


def made_capture(folder: Path) -> CaptureFolder:
    """Pictures of a head and a track (not of these pictures): every number in it is put to the test."""
    head, rng = load_head("anny"), np.random.default_rng(0)
    motion = talking_motion(T, fps=11.5, seed=1)
    joints = np.zeros((T, 4, 3))
    joints[:, 1:, 0] = 0.1 * rng.random((T, 3))  # jaw and eyes, downwards
    identity = rng.normal(size=len(head.identity_basis)).astype(np.float32)
    neutral = head.shape(torch.from_numpy(identity)).numpy() + 0.001 * rng.normal(size=head.template.shape)
    for name in ("frames", "masks"):
        (folder / name).mkdir(parents=True)
    for i, picture in enumerate(head_pictures(T, width=WIDTH, height=HEIGHT, distance=0.7)):
        write_picture(frame_path(folder, i), picture)
        mask = np.tile(np.linspace(0, 255, WIDTH).astype(np.uint8), (HEIGHT, 1))
        write_mask(mask_path(folder, i), np.roll(mask, 5 * i, 1))
    write_picture(folder / "background.png", np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
    write_mask(folder / "background_seen.png", np.full((HEIGHT, WIDTH), 255, np.uint8))
    assert extract_audio(audio_only(folder.parent / "tone.m4a"), folder / "audio.wav", 0.0, T / 11.5)
    landmarks = rng.uniform(50, 150, (T, 478, 2)).astype(np.float32)
    landmarks[3] = np.nan
    save_tracks(
        folder, timestamps=motion.timestamps_seconds, tracked=np.arange(T) != 3, identity=identity, neutral=neutral,
        expression=motion.expression, joints=joints, quats_wxyz=motion.quats_wxyz, translation=motion.translation,
        torso=motion.torso, landmarks_px=landmarks, scores=np.zeros((T, 52), np.float32), confidence=np.ones(T),
    )  # fmt: skip
    save_info(
        folder,
        {
            "tool_version": "test", "source": {"name": "a.mp4"}, "fps": 11.5, "frame_count": T, "width": WIDTH,
            "height": HEIGHT, "head": {"name": "anny", "content_hash": head.content_hash}, "audio": True,
            "camera": {"fx": 336.5, "fy": 336.5, "cx": 121.0, "cy": 158.5}, "verdict": "ok", "warnings": [],
            "metrics": {}, "config": {},
        },
    )  # fmt: skip
    return CaptureFolder.load(folder)


@pytest.fixture(scope="module")
def capture(tmp_path_factory) -> CaptureFolder:
    return made_capture(tmp_path_factory.mktemp("made") / "my capture")


@pytest.fixture(scope="module")
def exported(capture: CaptureFolder, tmp_path_factory) -> dict[str, Path]:
    """The capture in every layout."""
    folder = tmp_path_factory.mktemp("others")
    for name in LAYOUTS:
        export_capture(capture, name, folder / name)
    return {name: folder / name for name in LAYOUTS}


def vertices(capture: CaptureFolder, motion: Motion, index: int) -> np.ndarray:
    return posed_vertices(load_head("anny"), torch.from_numpy(capture.neutral), motion_params(motion, index)).numpy()


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_there_and_back(capture: CaptureFolder, exported: dict[str, Path], layout: str, tmp_path: Path):
    back = import_capture(exported[layout], tmp_path / "back", OPTIONS)
    assert len(back) == T and back.tracked.tolist() == capture.tracked.tolist()
    np.testing.assert_allclose(back.motion.timestamps_seconds, capture.motion.timestamps_seconds, atol=1e-9)
    for name in ("fx", "fy", "cx", "cy"):
        assert getattr(back.camera, name) == pytest.approx(getattr(capture.camera, name))
    exact = layout != "insta"  # there the actions are fitted to meshes, joints and all
    for index in range(T):
        wanted, got = vertices(capture, capture.motion, index), vertices(back, back.motion, index)
        apart = np.linalg.norm(got - wanted, axis=1)
        assert np.sqrt((apart**2).mean()) < (2e-6 if exact else 1.5e-3), "metres"
    if exact:
        np.testing.assert_allclose(back.motion.expression, capture.motion.expression, atol=1e-5)
        np.testing.assert_allclose(back.motion.joints, capture.motion.joints, atol=1e-5)
        np.testing.assert_allclose(back.identity, capture.identity, atol=1e-6)
    else:
        np.testing.assert_allclose(back.neutral, capture.neutral, atol=2e-6)
    mask, hard = capture.mask(5), capture.mask(5) > 127
    if layout == "talking-gaussian":
        assert ((back.mask(5) > 127) == hard).mean() > 0.99
    else:
        assert np.array_equal(back.mask(5), mask)
    share = mask[..., None] / 255.0 if layout == "vhap" else 1.0  # only there the room is lost, to white
    assert np.abs(back.frame(5) - (capture.frame(5) * share + 255 * (1 - share))).mean() < 1
    assert back.audio_path and capture.audio_path
    assert np.array_equal(read_wav(back.audio_path), read_wav(capture.audio_path))
    assert np.isfinite(back.landmarks_px[5]).all(), "our own detector's"
    assert back.info["source"]["layout"] == layout


def test_smplx_reads_the_flame_parameters(capture: CaptureFolder, exported: dict[str, Path], tmp_path: Path):
    """The model file and the parameters of a VHAP folder, in the hands of another FLAME."""
    smplx = pytest.importorskip("smplx")
    folder, models = exported["vhap"], tmp_path / "flame"
    models.mkdir()
    shutil.copyfile(folder / "flame_model.npz", models / "FLAME_NEUTRAL.npz")
    with np.load(folder / "flame_static_embedding.npz", allow_pickle=False) as landmarks:
        (models / "flame_static_embedding.pkl").write_bytes(pickle.dumps(dict(landmarks)))
    with np.load(folder / "flame_param" / "00005.npz", allow_pickle=False) as archive:
        params = {name: torch.from_numpy(archive[name]) for name in archive.files}
    other = smplx.create(str(tmp_path), "flame", ext="npz", num_betas=300, num_expression_coeffs=100)
    other.v_template += params["static_offset"][0]
    got = other(
        betas=params["shape"][None], expression=params["expr"], global_orient=params["rotation"],
        neck_pose=params["neck_pose"], jaw_pose=params["jaw_pose"], transl=params["translation"],
        leye_pose=params["eyes_pose"][:, :3], reye_pose=params["eyes_pose"][:, 3:],
    ).vertices[0].detach().numpy()  # fmt: skip
    wanted = vertices(capture, capture.motion, 5) * (1, -1, -1)  # the camera in OpenGL's axes
    assert np.linalg.norm(got - wanted, axis=1).max() < 1e-4, "metres"


def project(vertices: np.ndarray, camera_to_world: list, focal: float, centre: tuple[float, float]) -> np.ndarray:
    """Pixels by the textbook: x right, y up, looking along -z."""
    local = (np.c_[vertices, np.ones(len(vertices))] @ np.linalg.inv(camera_to_world).T)[:, :3]
    return np.stack([centre[0] - focal * local[:, 0] / local[:, 2], centre[1] + focal * local[:, 1] / local[:, 2]], 1)


def test_their_cameras_see_the_head_where_ours_does(capture: CaptureFolder, exported: dict[str, Path]):
    head, centre = load_head("anny"), (capture.camera.cx, capture.camera.cy)
    wanted = capture.camera.project(vertices(capture, capture.motion, 6))
    params = motion_params(capture.motion, 6)
    local = head.vertices(torch.from_numpy(capture.neutral), params.expression, params.joints).numpy()
    talking = json.loads((exported["talking-gaussian"] / "transforms_train.json").read_text())
    got = project(local, talking["frames"][6]["transform_matrix"], talking["focal_len"], centre)
    np.testing.assert_allclose(got, wanted, atol=1e-3)
    insta = json.loads((exported["insta"] / "transforms.json").read_text())
    lines = (exported["insta"] / insta["frames"][6]["mesh_path"]).read_text().splitlines()
    mesh = np.array([line.split()[1:] for line in lines if line.startswith("v ")], float)
    in_opengl = np.array(insta["frames"][6]["transform_matrix"]) @ np.diag([1, -1, -1, 1])
    np.testing.assert_allclose(project(mesh, in_opengl.tolist(), insta["fl_x"], centre), wanted, atol=5e-3)
    vhap = json.loads((exported["vhap"] / "transforms.json").read_text())
    world = vertices(capture, capture.motion, 6) * (1, -1, -1)
    np.testing.assert_allclose(
        project(world, vhap["frames"][6]["transform_matrix"], vhap["fl_x"], centre), wanted, atol=1e-3
    )
    splits = [json.loads((exported["vhap"] / f"transforms_{s}.json").read_text())["frames"] for s in ("train", "test")]
    assert len(splits[0]) + len(splits[1]) == T
    assert all((exported["vhap"] / f[key]).is_file() for f in vhap["frames"] for key in ("file_path", "fg_mask_path"))


def test_what_talking_head_systems_look_for(capture: CaptureFolder, exported: dict[str, Path]):
    import cv2

    folder = exported["talking-gaussian"]
    header, first, *rest = (folder / "au.csv").read_text().splitlines()
    assert len(rest) == T - 1 and ", AU45_r" in header and ", AU25_r" in header
    assert len(first.split(", ")) == len(header.split(", "))
    assert np.loadtxt(folder / "ori_imgs" / "3.lms").shape == (68, 2), "also where no face was found"
    labels = cv2.imread(str(folder / "parsing" / "2.png"))
    torso = cv2.imread(str(folder / "torso_imgs" / "2.png"), cv2.IMREAD_UNCHANGED)
    assert labels is not None and torso is not None
    assert {tuple(c) for c in labels.reshape(-1, 3).tolist()} >= {(255, 255, 255), (255, 0, 0), (0, 0, 0)}
    assert np.load(folder / "teeth_mask" / "2.npy", allow_pickle=False).dtype == bool
    assert torso.shape == (HEIGHT, WIDTH, 4)
    train, val = (json.loads((folder / f"transforms_{s}.json").read_text())["frames"] for s in ("train", "val"))
    assert [f["img_id"] for f in train + val] == list(range(T)) and val


def test_action_units_say_what_the_face_does():
    expression = np.zeros((3, 52), np.float32)
    expression[1, [ARKIT_INDEX["eyeBlinkLeft"], ARKIT_INDEX["eyeBlinkRight"]]] = 1
    expression[2, ARKIT_INDEX["jawOpen"]] = 0.5
    units = action_units(expression)
    assert units[45].tolist() == [0, 5, 0] and units[25].tolist() == [0, 0, 2.5] and units[12].tolist() == [0, 0, 0]


def test_a_foreign_talking_head_folder_is_tracked_anew(exported: dict[str, Path], tmp_path: Path):
    """As TalkingGaussian's own preprocessing leaves it: no times, and a track that is a pickle of tensors."""
    folder = tmp_path / "theirs"
    shutil.copytree(exported["talking-gaussian"], folder)
    (folder / "track_params.npz").unlink()
    (folder / "layout.json").unlink()
    content = json.loads((folder / "transforms_train.json").read_text())
    for i in range(T, 3 * T):  # tracking wants more than a second
        for name in ("ori_imgs/{}.jpg", "parsing/{}.png"):
            shutil.copyfile(folder / name.format(i % T), folder / name.format(i))
        content["frames"].append(content["frames"][0] | {"img_id": i})
    (folder / "transforms_train.json").write_text(json.dumps(content))
    torch.save({"euler": torch.zeros(3 * T, 3), "focal": torch.tensor([1200.0])}, folder / "track_params.pt")
    back = import_capture(folder, tmp_path / "back", replace(OPTIONS, fps=2))
    assert len(back) == 3 * T and back.tracked.all() and back.fps == pytest.approx(2)
    assert "24 frames and a focal length of 1200 px" in back.info["warnings"][0]
    (folder / "track_params.pt").write_bytes(pickle.dumps({"euler": print}))
    with pytest.raises(FormatMismatch, match="more than tensors"):
        import_capture(folder, tmp_path / "again", OPTIONS)


def broken(exported: dict[str, Path], layout: str, tmp_path: Path, name: str, change) -> Path:
    folder = tmp_path / "broken"
    shutil.copytree(exported[layout], folder)
    content = json.loads((folder / name).read_text())
    change(content)
    (folder / name).write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("layout", "name", "change", "said"),
    [
        ("vhap", "transforms.json", lambda c: c.update(frames=[]), "no frames"),
        ("vhap", "transforms.json", lambda c: c["frames"][1].update(transform_matrix=[[1, 2]]), "transform_matrix"),
        ("vhap", "transforms.json", lambda c: c["frames"][1].update(flame_param_path="../../x.npz"), "names no file"),
        ("vhap", "transforms.json", lambda c: c["frames"][0].update(fl_x="wide"), "fl_x"),
        ("vhap", "transforms.json", lambda c: c["frames"][1].update(timestamp_seconds=9), "do not rise"),
        (
            "insta",
            "transforms.json",
            lambda c: c["frames"][1].update(mesh_path="meshes/00001.obj/../../../../x"),
            "names no file",
        ),
        ("insta", "transforms.json", lambda c: c.pop("cx"), "cx"),
        ("talking-gaussian", "transforms_train.json", lambda c: c.pop("focal_len"), "focal_len"),
        ("talking-gaussian", "transforms_train.json", lambda c: c["frames"][0].update(img_id=99), "track_params"),
    ],
)
def test_nonsense_is_refused_by_name(exported, tmp_path: Path, layout: str, name: str, change, said: str):
    folder = broken(exported, layout, tmp_path, name, change)
    with pytest.raises(FormatMismatch, match=said):
        import_capture(folder, tmp_path / "out", OPTIONS)
    assert not (tmp_path / "out").exists()


def test_files_that_lie(exported: dict[str, Path], tmp_path: Path):
    folder = tmp_path / "vhap"
    shutil.copytree(exported["vhap"], folder)
    for wrong, said in (
        ({"expr": np.array([{}], dtype=object)}, BadInput),
        ({"expr": np.array(["a"])}, FormatMismatch),
        ({"expr": np.full((1, 100), np.nan)}, FormatMismatch),
        ({}, FormatMismatch),
    ):
        np.savez(folder / "flame_param" / "00002.npz", **wrong)  # pyright: ignore[reportArgumentType]
        with pytest.raises(said, match="00002.npz"):
            import_capture(folder, tmp_path / "out", OPTIONS)
    with np.load(exported["vhap"] / "flame_param" / "00000.npz") as archive:
        arrays = dict(archive)
    arrays["static_offset"] = np.zeros((1, 5023, 3))
    np.savez(folder / "flame_param" / "00000.npz", **arrays)  # pyright: ignore[reportArgumentType]
    shutil.copyfile(exported["vhap"] / "flame_param" / "00002.npz", folder / "flame_param" / "00002.npz")
    with pytest.raises(FormatMismatch, match="another head model"):
        import_capture(folder, tmp_path / "out", OPTIONS)
    with pytest.raises(BadInput, match="no layout"):
        import_capture(tmp_path, tmp_path / "out", OPTIONS)


def test_the_command(capture: CaptureFolder, capsys, tmp_path: Path):
    from avatar.cli import main

    def run(*arguments: str | Path) -> tuple[int, dict]:
        with pytest.raises(SystemExit) as ended:
            main(["convert", *map(str, arguments), "--json", "-q"])
        return int(ended.value.code or 0), json.loads(capsys.readouterr().out)

    code, got = run(capture.path, "--to", "vhap", "-o", tmp_path / "größe vhap")
    assert code == 0 and got["frames"] == T and "room" in got["lost"]
    code, got = run(capture.path, "--to", "vhap", "-o", tmp_path / "größe vhap")
    assert code == 2 and "--overwrite" in got["error"]
    assert run(capture.path, "--to", "insta", "-o", tmp_path / "größe vhap", "--overwrite")[0] == 0
    assert not (tmp_path / "größe vhap" / "fg_masks").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    assert run(capture.path, "--to", "insta", "-o", tmp_path / "mine", "--overwrite")[0] == 2
    code, got = run(tmp_path / "größe vhap", "--from", "auto", "-o", tmp_path / "again.capture")
    assert code == 0 and got["frames"] == T and CaptureFolder.load(tmp_path / "again.capture")
    for name, options in (("take.csv", ("--to", "arkit-csv")), ("take.npz", ()), ("mine.csv", ())):
        code, got = run(capture.path, *options, "-o", tmp_path / name)
        assert code == 0 and got["frames"] == T
    assert run(tmp_path / "mine.csv", "-o", tmp_path / "again.npz")[0] == 0
    assert run(tmp_path / "mine.csv", "-o", tmp_path / "again.npz")[0] == 2
    assert run(capture.path, "--to", "arkit-csv", "-o", tmp_path / "take.txt")[0] == 2
    assert run(capture.path, "--to", "vhap", "--from", "vhap", "-o", tmp_path / "x")[0] == 2
