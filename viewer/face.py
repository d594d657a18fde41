"""What the sliders mean: a face as a handful of named numbers, and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from avatar.head.arkit import ARKIT_INDEX, ARKIT_NAMES
from avatar.motion.eye_angles import gaze_degrees, with_gaze
from avatar.types import HeadParams

COMMON = (
    *("jawOpen", "mouthSmileLeft", "mouthSmileRight", "mouthPucker", "mouthFunnel"),
    *("eyeBlinkLeft", "eyeBlinkRight", "browInnerUp"),
)
"""The actions one reaches for first."""
GAZE_RANGE_DEGREES = 25.0
HEAD_RANGE_DEGREES = 30.0


def action_groups() -> dict[str, tuple[str, ...]]:
    """Sliders by folder: the common ones first, every other action once; gaze has sliders of its own."""
    rest = [n for n in ARKIT_NAMES if n not in COMMON and not n.startswith("eyeLook")]
    prefixes = {
        "Jaw": "jaw", "Mouth": "mouth", "Eyes": "eye", "Brows": "brow", "Cheeks": "cheek", "Nose": "nose",
        "Tongue": "tongue",
    }  # fmt: skip
    groups = {title: tuple(n for n in rest if n.startswith(prefix)) for title, prefix in prefixes.items()}
    return {"Common": COMMON, **groups}


@dataclass(frozen=True)
class Face:
    """A pose of the head in the viewer's terms; degrees, relative to the person's mean pose."""

    actions: dict[str, float]
    """ARKit actions by name, 0..1 (tracked ones slightly beyond), without `eyeLook*`."""
    gaze: tuple[float, float] = (0.0, 0.0)
    """To the subject's left, up."""
    head: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Yaw to the subject's left, pitch down, roll (turns the crown to the subject's right)."""
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Shift from the mean position, metres in the world."""


def face_to_params(face: Face, rest: HeadParams) -> HeadParams:
    """Head parameters of a face; `rest` gives the person's mean pose."""
    actions = np.zeros((1, len(ARKIT_INDEX)), np.float32)
    for name, value in face.actions.items():
        actions[0, ARKIT_INDEX[name]] = value
    expression = torch.from_numpy(with_gaze(actions, np.array([face.gaze]))[0]).to(rest.expression)
    turn = Rotation.from_euler("YXZ", face.head, degrees=True).as_matrix()
    return HeadParams(
        expression,
        rest.joints,
        rest.rotation @ torch.from_numpy(turn).to(rest.rotation.dtype),
        rest.translation + torch.tensor(face.offset, dtype=rest.translation.dtype),
    )


def params_to_face(params: HeadParams, rest: HeadParams) -> Face:
    """The inverse of `face_to_params`; both eyes are taken to look the same way."""
    value = {name: float(params.expression[i]) for name, i in ARKIT_INDEX.items()}
    left, up, _ = gaze_degrees(params.expression[None].numpy())[0].tolist()
    turn = (rest.rotation.T @ params.rotation).double().numpy()
    yaw, pitch, roll = Rotation.from_matrix(turn).as_euler("YXZ", degrees=True)
    offset = (params.translation - rest.translation).tolist()
    actions = {name: v for name, v in value.items() if not name.startswith("eyeLook")}
    return Face(actions, (left, up), (float(yaw), float(pitch), float(roll)), (offset[0], offset[1], offset[2]))
