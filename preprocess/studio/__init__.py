"""A synthetic talking subject with complete ground truth: what tracking and views off the axis are measured on.

Nothing here renders with Gaussians: a z-buffer draws the head model with hair, shoulders and a painted skin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from preprocess.studio.config import StudioConfig
    from preprocess.studio.filming import record
    from preprocess.studio.folder import StudioFolder

__all__ = ["StudioConfig", "StudioFolder", "record"]

_HOMES = {"StudioConfig": "config", "StudioFolder": "folder", "record": "filming"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'preprocess.studio' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(f"preprocess.studio.{_HOMES[name]}"), name)
