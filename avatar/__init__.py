"""visavis: 3D Gaussian heads that talk, from a few minutes of video.

Importing this package loads neither torch nor anything else heavy: names are resolved on first use.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from avatar.fitting import FitConfig as FitConfig
    from avatar.fitting import fit as fit
    from avatar.model import Avatar as Avatar
    from avatar.model import load as load
    from avatar.types import Camera as Camera
    from avatar.types import Motion as Motion

_HOMES = {
    "Avatar": "avatar.model",
    "Camera": "avatar.types",
    "FitConfig": "avatar.fitting",
    "Motion": "avatar.types",
    "fit": "avatar.fitting",
    "load": "avatar.model",
}

try:
    __version__ = version("visavis")
except PackageNotFoundError:  # a source tree that is not installed
    __version__ = "0+unknown"


def __getattr__(name: str):
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'avatar' has no attribute {name!r}")
