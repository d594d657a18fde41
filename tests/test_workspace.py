"""The folder in which a capture grows: stages are done once per key, resumed, and taken over from an older capture."""

from __future__ import annotations

import ast
import inspect
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from make_capture import HEIGHT, WIDTH, picture, small_capture

from avatar.errors import BadInput, Interrupted
from preprocess.capture.files import SCHEMA, frame_path, mask_path
from preprocess.capture.pictures import write_mask, write_picture
from preprocess.stages import keys as stage_keys
from preprocess.stages import steps
from preprocess.stages.config import PreprocessConfig
from preprocess.stages.keys import StageKeys, code_files
from preprocess.stages.records import FILES
from preprocess.stages.workspace import Workspace
from preprocess.tracking import PhotometricConfig, TrackConfig


class Run:
    """One run of two stages; counts what it makes."""

    def __init__(self, output: Path, overwrite: bool = False) -> None:
        self.output, self.overwrite, self.made = output, overwrite, []

    def go(self, **keys: str) -> Workspace:
        with Workspace(self.output, self.overwrite) as work:
            for name, key in keys.items():
                facts = work.run(name, key, lambda name=name, key=key: self._make(work, name, key))
                assert facts == {"made by": key}
            (work.path / "capture.json").write_text(json.dumps({"schema": SCHEMA}))
            work.publish()
        return work

    def _make(self, work: Workspace, name: str, key: str) -> dict:
        self.made.append(name)
        file = work.path / FILES[name][0]
        assert not file.exists()
        file.write_text(key)
        return {"made by": key}


def no_links(*_: object) -> None:
    """A disk as sticks and some network drives are."""
    raise PermissionError(1, "Operation not permitted")


def again(output: Path, **keys: str) -> tuple[list[str], list[str]]:
    run = Run(output, overwrite=True)
    return run.made, run.go(**keys).reused


@pytest.mark.parametrize("links", [True, False])
def test_stages_of_the_same_key_are_taken_over(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    output = tmp_path / "out"
    run = Run(output)
    assert run.go(sound="a", overlay="b").reused == [] and run.made == ["sound", "overlay"]
    before = os.stat(output / "audio.wav").st_ino
    assert again(output, sound="a", overlay="b") == ([], ["sound", "overlay"])
    assert again(output, sound="a", overlay="c") == (["overlay"], ["sound"])
    assert (output / "overlay.mp4").read_text() == "c"
    after = os.stat(output / "audio.wav")
    assert after.st_nlink == 1 and (before == after.st_ino or not links)  # a removed file's number is given again
    assert again(output, sound="a") == ([], ["sound"])
    assert not (output / "overlay.mp4").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("harm", ["changed", "removed", "renamed"])
def test_files_that_somebody_changed_are_made_again(tmp_path, harm):
    output = tmp_path / "out"
    Run(output).go(sound="a", overlay="b")
    file = output / "audio.wav"
    if harm == "changed":
        file.write_text("b")
    elif harm == "removed":
        file.unlink()
    else:
        file.rename(output / "audio_features.npz")
    assert again(output, sound="a", overlay="b") == (["sound"], ["overlay"])
    assert file.read_text() == "a"


def test_a_copied_capture_is_as_good(tmp_path):
    Run(tmp_path / "out").go(sound="a", overlay="b")
    shutil.copytree(tmp_path / "out", tmp_path / "copy", copy_function=shutil.copyfile)
    assert again(tmp_path / "copy", sound="a", overlay="b") == ([], ["sound", "overlay"])


@pytest.mark.parametrize("text", ["", "[]", '{"sound": 1}', '{"sound": {"key": "a"}}', "\ud800"])
def test_records_that_make_no_sense_are_no_records(tmp_path, text):
    output = tmp_path / "out"
    Run(output).go(sound="a")
    (output / ".stages" / "records.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    assert again(output, sound="a") == (["sound"], [])


def test_a_stage_that_fails_leaves_the_old_capture_as_it_was(tmp_path):
    output = tmp_path / "out"
    Run(output).go(sound="a")
    for error in (ValueError("ours"), BadInput("theirs"), KeyboardInterrupt()):
        with pytest.raises((ValueError, BadInput, Interrupted)), Workspace(output, overwrite=True) as work:
            work.run("sound", "a", dict)
            (work.path / "audio.wav").unlink()
            (work.path / "audio.wav").write_text("half")
            raise error
        assert (output / "audio.wav").read_text() == "a"
    assert again(output, sound="a") == ([], ["sound"])


def test_workspace_becomes_the_output_in_one_step(tmp_path):
    output = tmp_path / "out ü"
    with Workspace(output, overwrite=False) as work:
        assert work.path.name == ".out ü.partial" and not output.exists()
        blocks = work.blocks("key")
        (work.path / ".stages" / "shoulders.npz.123.partial").touch()  # another process was killed here
        for i in range(5):
            write_picture(frame_path(blocks.path, i), picture(i))
            write_mask(mask_path(blocks.path, i), np.zeros((HEIGHT, WIDTH), np.uint8))
        work.run("detection", "key", lambda: blocks.hand_over(work.path, 1, 4) or {})
        assert (work.path / "frames" / "000000.jpg").read_bytes() == frame_path(blocks.path, 1).read_bytes()
        work.publish()
    assert sorted(p.name for p in (output / "frames").iterdir()) == ["000000.jpg", "000001.jpg", "000002.jpg"]
    assert sorted(p.name for p in output.iterdir()) == [".stages", "frames", "masks"]
    assert [p.name for p in (output / ".stages").iterdir()] == ["records.json"]
    assert [p.name for p in tmp_path.iterdir()] == ["out ü"]


def test_publishing_replaces_an_older_capture(tmp_path):
    folder = small_capture(tmp_path / "capture")
    with Workspace(folder, overwrite=True) as work:
        (work.path / "capture.json").write_text(json.dumps({"schema": SCHEMA, "new": True}))
        assert "new" not in (folder / "capture.json").read_text()
        work.publish()
    assert "new" in (folder / "capture.json").read_text()
    assert not (folder / "tracks.npz").exists()
    assert [p.name for p in tmp_path.iterdir()] == [folder.name]


def test_a_pass_is_resumed_by_its_own_key_only(tmp_path):
    with (
        pytest.raises(Interrupted, match="of 1 blocks"),
        Workspace(tmp_path / "out", overwrite=False) as work,
    ):
        work.blocks("key").save_chunk(0, {"a": np.arange(3)})
        raise KeyboardInterrupt
    for key, count in (("key", 1), ("other key", 0)):
        with Workspace(tmp_path / "out", overwrite=False) as work:
            blocks = work.blocks(key)
            assert len(blocks.load_chunks()) == count and not blocks.complete
            assert (blocks.earlier_seconds > 0) == (count > 0)


@pytest.mark.parametrize("error", [BadInput("bad"), OSError(28, "No space left on device"), PermissionError(13, "no")])
def test_nothing_is_left_behind_by_a_refusal(tmp_path, error):
    with pytest.raises(BadInput), Workspace(tmp_path / "out", overwrite=False) as work:
        work.blocks("key").save_chunk(0, {"a": np.arange(3)})
        raise error
    assert not list(tmp_path.iterdir())


def test_two_runs_do_not_share_an_output(tmp_path):
    with Workspace(tmp_path / "out", overwrite=False) as first:
        first.blocks("key").save_chunk(0, {"a": np.arange(3)})
        with pytest.raises(BadInput, match="another run"):
            Workspace(tmp_path / "out", overwrite=False).__enter__()
        assert len(first.blocks("key").load_chunks()) == 1


def keys(head: str = "head", **options) -> list[str]:
    k = StageKeys("source", head, PreprocessConfig(**options))
    return [k.detection, k.tracking, k.shoulders, k.background, k.sound(0.0), k.check(0.0), k.overlay(0.0)]


@pytest.mark.parametrize(
    ("changed", "new"),
    [
        ({"long_side": 256}, set(FILES)),
        ({"start_seconds": 1.0}, set(FILES)),
        ({"max_seconds": 9.0}, set(FILES)),
        ({"head": "another"}, {"tracking", "shoulders", "check", "overlay"}),
        ({"tracking": TrackConfig(photometric=PhotometricConfig(rounds=0))},
         {"tracking", "shoulders", "check", "overlay"}),
        ({"overlay": False, "fix_sync": True}, set()),
    ],
)  # fmt: skip
def test_an_option_changes_the_keys_of_what_depends_on_it(changed, new):
    assert {n for n, before, after in zip(FILES, keys(), keys(**changed), strict=True) if before != after} == new


def test_every_option_has_its_say_in_a_key():
    """Whoever adds an option must say which stages look at it."""
    assert set(vars(PreprocessConfig())) == {
        "head", "long_side", "detect_long_side", "start_seconds", "max_seconds", "overlay", "fix_sync", "tracking"
    }  # fmt: skip
    assert keys(detect_long_side=900)[0] != keys()[0]
    k = StageKeys("source", "head", PreprocessConfig())
    later = StageKeys("other", "head", k.config)
    assert (k.sound(0.2) != k.sound(0.0)) and (k.check(0.2) != k.check(0.0)) and (k.overlay(0.2) != k.overlay(0.0))
    assert replace(k, source="other") == later and later.detection != k.detection


MAKING = {
    "detection": "_detect", "tracking": "_track", "shoulders": "_find_shoulders", "background": "_find_background",
    "sound": "_take_sound", "check": "_check", "overlay": "_draw",
}  # fmt: skip


def used_modules(method: str) -> set[str]:
    """Modules of ours from which a method of `Clip` uses something, directly or by others of its methods."""
    tree, ours = ast.parse(inspect.getsource(steps)), ("avatar.", "preprocess.", "cuda_ext.")
    bodies = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    waiting, known, found = [method], set(), set()
    while waiting:
        name = waiting.pop()
        known.add(name)
        for node in ast.walk(bodies[name]):
            if isinstance(node, ast.ImportFrom):
                found.add(str(node.module))
            used = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
            if used in bodies.keys() - known:
                waiting.append(used)
            elif isinstance(node, ast.Name):
                found.add(getattr(getattr(steps, used, None), "__module__", ""))
    return {name for name in found if name.startswith(ours)} - {steps.__name__}


@pytest.mark.parametrize("stage", FILES)
def test_a_change_of_what_a_stage_uses_changes_its_key(stage, monkeypatch):
    def key(changed: str) -> str:
        monkeypatch.setattr(stage_keys, "code_hash", lambda *names: str(changed in code_files(*names)))
        return dict(zip(FILES, keys(), strict=True))[stage]

    for module in used_modules(MAKING[stage]):
        assert key(module) != key("nothing"), module


def test_code_counts_with_all_that_it_imports():
    tracking = code_files("preprocess.tracking.tracker", "cuda_ext._native")
    named = {"preprocess.tracking.smoothing", "avatar.geometry", "avatar.head.arkit", "cuda_ext._native"}
    assert named <= set(tracking) and tracking["cuda_ext._native"].suffix != ".py"
    # Whoever works on kernels or on the tracker need not look for the face again.
    detection = set(code_files("preprocess.detection.run"))
    assert "preprocess.detection.masks" in detection and not any("tracking" in n or "cuda_ext" in n for n in detection)
