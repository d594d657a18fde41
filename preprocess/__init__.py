"""From a video of a person to a Capture: tracks, masks, background, sound, and a verdict on their quality."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from preprocess.capture import CaptureFolder
    from preprocess.pipeline import PreprocessConfig, track

__all__ = ["CaptureFolder", "PreprocessConfig", "track"]

_HOMES = {"CaptureFolder": "capture", "PreprocessConfig": "pipeline", "track": "pipeline"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'preprocess' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(f"preprocess.{_HOMES[name]}"), name)
