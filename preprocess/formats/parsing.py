"""Label pictures as the talking-head systems paint them, from the tracked mesh and the person mask.

Theirs come from a face-parsing network; ours follow the mesh, so hair is what of the person lies above the chin beside
the face.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, UInt8

from avatar.driving import motion_params
from avatar.head.linear import LinearHead
from avatar.head.model import REGIONS
from avatar.head.render_mesh import rasterize
from avatar.rig import posed_vertices
from preprocess.capture import CaptureFolder

COLOURS = {
    "background": (255, 255, 255), "face": (0, 0, 255), "neck": (0, 255, 0), "torso": (255, 0, 0), "hair": (0, 0, 0),
    "mouth": (100, 100, 100),
}  # fmt: skip
"""RGB."""
_MESH_PART = {"scalp": "hair", "neck": "neck"} | dict.fromkeys(("inner_mouth", "teeth", "tongue"), "mouth")
_PERSON = 128


def parts(head: LinearHead, capture: CaptureFolder, index: int) -> dict[str, Bool[np.ndarray, "h w"]]:
    """Where background, face, neck, torso, hair and mouth are (together everywhere), and teeth (in the mouth)."""
    camera = capture.camera
    vertices = posed_vertices(head, torch.from_numpy(capture.neutral), motion_params(capture.motion, index)).numpy()
    points = np.c_[camera.project(vertices), vertices[:, 2]].astype(np.float32)
    ids, _ = rasterize(points, head.faces.numpy(), camera.width, camera.height)
    region = np.where(ids >= 0, head.regions.numpy()[head.faces.numpy()[ids, 0]], -1)
    person = capture.mask(index) >= _PERSON
    found = {name: np.zeros(person.shape, bool) for name in COLOURS}
    for number, name in enumerate(REGIONS):
        found[_MESH_PART.get(name, "face")] |= person & (region == number)
    face_rows = np.flatnonzero(found["face"].any(1))
    chin = face_rows[-1] if len(face_rows) else 0
    beside, below = person & (region < 0), np.arange(camera.height)[:, None] > chin
    found["hair"] |= beside & ~below
    found["torso"] |= beside & below
    found["background"] = ~person
    return found | {"teeth": found["mouth"] & (region == REGIONS.index("teeth"))}


def painted(found: dict[str, Bool[np.ndarray, "h w"]]) -> UInt8[np.ndarray, "h w 3"]:
    """The label picture of `parts`."""
    picture = np.full((*found["background"].shape, 3), 255, np.uint8)
    for name, colour in COLOURS.items():
        picture[found[name]] = colour
    return picture
