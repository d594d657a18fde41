"""Keys of the stages: equal keys, equal results.

A key is a hash of all that a stage's result depends on: the keys of the stages that it builds on (at their root the
content of the video), the options that it looks at, and our own code and the libraries that it runs.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from avatar import __version__
from preprocess.stages.config import PreprocessConfig

_ROOMS = ("avatar", "preprocess", "cuda_ext")
_LIBRARIES = ("av", "mediapipe", "numpy", "scipy", "torch")

_CODE: dict[str, tuple[str, ...]] = {
    "detection": ("preprocess.detection.run", "preprocess.checking.gate"),
    "tracking": ("preprocess.tracking.tracker", "avatar.head.calibration", "cuda_ext._native"),
    "shoulders": ("preprocess.tracking.torso",),
    "background": ("preprocess.detection.background", "avatar.split"),
    "sound": ("preprocess.sound.audio",),
    "check": ("preprocess.checking.run",),
    "overlay": ("preprocess.tracking.overlay",),
}
"""Modules that a stage begins in; what they import counts too."""


@dataclass(frozen=True)
class StageKeys:
    """Keys of one run. What a stage looks at must be named here, or it will be served what it made of something else.

    Args:
        source: content hash of the video.
        head: content hash of the head model.
    """

    source: str
    head: str
    config: PreprocessConfig

    @property
    def detection(self) -> str:
        c = self.config
        return _key("detection", self.source, c.long_side, c.detect_long_side, c.start_seconds, c.max_seconds)

    @property
    def tracking(self) -> str:
        return _key("tracking", self.detection, self.head, asdict(self.config.tracking))

    @property
    def shoulders(self) -> str:
        return _key("shoulders", self.tracking)

    @property
    def background(self) -> str:
        return _key("background", self.detection)

    def sound(self, late_seconds: float) -> str:
        return _key("sound", self.detection, late_seconds)

    def check(self, late_seconds: float) -> str:
        return _key("check", self.shoulders, self.background, self.sound(late_seconds))

    def overlay(self, late_seconds: float) -> str:
        return _key("overlay", self.tracking, self.sound(late_seconds))


def _key(stage: str, *inputs: object) -> str:
    steps = (Path(__file__).parent / "steps.py").read_text(encoding="utf-8")  # itself only: it imports every stage
    code = [__version__, steps, code_hash(*_CODE[stage]), _libraries()]
    text = json.dumps([stage, code, inputs], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _libraries() -> list[str]:
    import cv2  # it comes under several names

    return [*(metadata.version(name) for name in _LIBRARIES), cv2.__version__]


@cache
def code_hash(*modules: str) -> str:
    """Hash of what `code_files` finds."""
    digest = hashlib.sha256()
    for name, file in sorted(code_files(*modules).items()):
        digest.update(name.encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def code_files(*modules: str) -> dict[str, Path]:
    """Files of our modules of these names and of all of ours that they import, directly or not, by name."""
    waiting, files, known = list(modules), {}, set()
    while waiting:
        name = waiting.pop()
        if name in known or name.partition(".")[0] not in _ROOMS:
            continue
        known.add(name)
        file = _file(name)
        if file is not None:
            files[name] = file
            waiting += _imported(file) if file.suffix == ".py" else []
    return files


@cache
def _file(name: str) -> Path | None:
    try:
        spec = find_spec(name)
    except ModuleNotFoundError:  # something in a module, which is no package
        return None
    return Path(spec.origin) if spec is not None and spec.origin is not None else None


@cache
def _imported(file: Path) -> list[str]:
    return list(_names(ast.parse(file.read_text(encoding="utf-8"))))


def _names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)  # some of them are modules
