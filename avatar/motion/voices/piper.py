"""Piper: neural voices of many languages, each a file of the user's."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from avatar.assets import cache_dir
from avatar.errors import BadInput, MissingAsset
from avatar.motion.voices.base import Manner, Utterance
from avatar.motion.voices.child import ask

GET_A_VOICE = "python -m piper.download_voices en_US-lessac-medium --data-dir"


def has_piper() -> bool:
    """Whether the package piper-tts is here; `piper` alone is the name of others."""
    try:
        return bool(version("piper-tts")) and importlib.util.find_spec("piper") is not None
    except PackageNotFoundError:
        return False


def voices_folder() -> Path:
    """Where voices are looked for that are not given by path."""
    return cache_dir() / "voices"


def find_voice(language: str) -> Path | None:
    """The first voice of `voices_folder` in a language, one of its very region before others."""
    tag = language.lower().replace("-", "_")
    files = [path for path in sorted(voices_folder().glob("*.onnx")) if config_path(path).is_file()]
    names = [(path, path.name.lower()) for path in files]
    near = [path for path, name in names if name.startswith(tag)]
    far = [path for path, name in names if name.split("_")[0].split("-")[0] == tag.split("_")[0]]
    return next(iter(near + far), None)


def config_path(model: Path) -> Path:
    """A voice's description lies beside it."""
    return model.with_name(model.name + ".json")


@dataclass(frozen=True)
class Piper:
    """A voice of Piper."""

    manner: Manner
    model: Path

    def __post_init__(self) -> None:
        if self.manner.pitch != 1:
            raise BadInput("piper's voices have one pitch", expected="no --pitch", fix="leave it out")
        config = config_path(self.model)
        try:
            json.loads(config.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise MissingAsset(
                f"{self.model} is no voice of piper", expected=f"an .onnx file and {config.name} beside it",
                got=str(error), fix=f"{GET_A_VOICE} {voices_folder()}",
            ) from error  # fmt: skip

    @property
    def name(self) -> str:
        return f"piper {self.model.stem}"

    def read(self, pieces: Iterable[str]) -> Generator[Utterance, None, None]:
        arguments = [str(self.model), str(1 / self.manner.pace), str(self.manner.seed)]
        return ask(self.name, "avatar.motion.voices.piper_child", arguments, pieces)
