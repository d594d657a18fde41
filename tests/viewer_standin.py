"""A paper face that obeys real head parameters: the viewer's tests see what they set, without fitting anything."""

from __future__ import annotations

from functools import cached_property

import cv2
import numpy as np
import torch

from avatar.driving import DrivingSpace, PreparedMotion
from avatar.head.arkit import ARKIT_INDEX
from avatar.limits import Limits
from avatar.types import Camera, HeadParams, Motion

# Head axes to camera axes for a face that looks into the camera: Y up to Y down, Z out of the face to towards us.
FACING = np.diag([1.0, -1.0, -1.0]).astype(np.float32)


def own_track(frames: int = 50) -> Motion:
    """Two seconds: the jaw opens and closes twice while the head turns."""
    t = np.arange(frames) / 25
    expression = np.zeros((frames, 52), np.float32)
    expression[:, ARKIT_INDEX["jawOpen"]] = 0.35 * (1 - np.cos(2 * np.pi * t))
    expression[:, ARKIT_INDEX["eyeLookOutLeft"]] = expression[:, ARKIT_INDEX["eyeLookInRight"]] = 0.2
    yaw = 0.1 * np.sin(np.pi * t)
    # FACING is a half turn about X: in quaternions (0, 1, 0, 0), here times a yaw about the head's Y.
    quats = np.stack([0 * t, np.cos(yaw / 2), 0 * t, np.sin(yaw / 2)], 1).astype(np.float32)
    translation = np.tile(np.array([0.02, 0.01, 0.6], np.float32), (frames, 1))
    return Motion(t, expression, np.zeros((frames, 4, 3), np.float32), quats, translation)


class PaperAvatar:
    """What the viewer asks of an avatar, painted with OpenCV."""

    camera = Camera(320, 240, 400.0, 400.0, 160.0, 120.0)
    audio_path = None

    def __init__(self) -> None:
        self.own_motion = own_track()
        self.frames_rendered = 0

    @cached_property
    def driving(self) -> DrivingSpace:
        return DrivingSpace.of(self.own_motion, rank=2)

    @cached_property
    def limits(self) -> Limits:
        return Limits.of(self.own_motion)

    @property
    def head_center(self) -> np.ndarray:
        return self.driving.mean_translation.numpy().astype(np.float64)

    def default_params(self) -> HeadParams:
        return self.driving.params_at_rest()

    @cached_property
    def own(self) -> PreparedMotion:
        return self.prepare(self.own_motion)

    def prepare(self, motion: Motion) -> PreparedMotion:
        return self.driving.prepare(motion)

    def frame(self, prepared: PreparedMotion, index: int, camera: Camera, background="plate") -> np.ndarray:
        self.frames_rendered += 1
        shade = {"plate": (70, 90, 110), "none": (0, 0, 0)}.get(background) if isinstance(background, str) else None
        color = shade or tuple(int(255 * c) for c in background)
        image = np.full((camera.height, camera.width, 3), color, np.uint8)
        params = prepared.frame(index).params
        jaw = float(params.expression[ARKIT_INDEX["jawOpen"]])
        parts = [((0, 0, 0), 0.09, (220, 180, 150)), ((0.035, 0.03, 0.08), 0.014, (40, 60, 160))]
        parts += [((-0.035, 0.03, 0.08), 0.014, (40, 60, 160)), ((0, 0, 0.1), 0.01, (230, 120, 120))]
        parts += [((0, -0.045, 0.08), 0.006 + 0.03 * jaw, (150, 20, 40))]
        for point, radius, rgb in parts:
            world = (params.rotation @ torch.tensor(point, dtype=torch.float32) + params.translation).numpy()
            depth = camera.T_camera_world[2, :3] @ world + camera.T_camera_world[2, 3]
            if depth > 0.01:
                x, y = camera.project(world[None])[0]
                cv2.circle(image, (round(x), round(y)), max(1, round(radius * camera.fx / depth)), rgb, -1, cv2.LINE_AA)
        return image
