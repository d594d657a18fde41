"""Label pictures as the talking-head systems paint them, from the parts of a capture."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, UInt8

from preprocess.capture import CaptureFolder
from preprocess.parts import PARTS

COLOURS = {
    "background": (255, 255, 255), "face": (0, 0, 255), "neck": (0, 255, 0), "torso": (255, 0, 0), "hair": (0, 0, 0),
    "mouth": (100, 100, 100),
}  # fmt: skip
"""RGB."""
_NAMES = {"skin": "face", "lips": "face", "eyes": "face", "inner_mouth": "mouth", "teeth": "mouth"}


def parts(capture: CaptureFolder, index: int) -> dict[str, Bool[np.ndarray, "h w"]]:
    """Where background, face, neck, torso, hair and mouth are (together everywhere), and teeth (in the mouth)."""
    labels = capture.parts(index)
    found = {name: np.zeros(labels.shape, bool) for name in COLOURS}
    for number, name in enumerate(PARTS):
        found[_NAMES.get(name, name)] |= labels == number
    return found | {"teeth": labels == PARTS.index("teeth")}


def painted(found: dict[str, Bool[np.ndarray, "h w"]]) -> UInt8[np.ndarray, "h w 3"]:
    """The label picture of `parts`."""
    picture = np.full((*found["background"].shape, 3), 255, np.uint8)
    for name, colour in COLOURS.items():
        picture[found[name]] = colour
    return picture
