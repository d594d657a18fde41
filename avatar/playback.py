"""Playing an avatar without torch: a row of motion in, a picture per camera out, in one native call on the CPU.

>>> player = load_player("me.avatar")
>>> picture = player.frame(player.prepare(player.own_motion), 0)
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8

from avatar import driving_maths
from avatar.assets import head_folder
from avatar.driving_maths import Statistics
from avatar.errors import BackendUnavailable, BadInput, FormatMismatch
from avatar.files import read_arrays
from avatar.motion.motion_io import load_motion
from avatar.packed_layers import PackedLayers
from avatar.plate import plate_behind
from avatar.stored import Precision, in_floats, pose_shapes, read_content, read_layers
from avatar.support import Support, support_of
from avatar.tracks import AlongMotion, Camera, Motion
from cuda_ext.backends import BackendMissing, native
from cuda_ext.camera_models import CAMERA_MODELS, MAX_SIDE
from cuda_ext.packed import PackedMap
from cuda_ext.rig_types import RigHead, RigMesh, RigPose, RigTorso, addresses, counts, each_array, shapes

Background = str | tuple[float, float, float]


@runtime_checkable
class Driven(Protocol):
    """A motion with its driving features, as `Player.prepare` and `Avatar.prepare` give it: arrays or tensors."""

    @property
    def motion(self) -> Motion: ...
    @property
    def features(self) -> Any: ...
    @property
    def torso_features(self) -> Any: ...
    @property
    def torso(self) -> Any: ...


@dataclass(frozen=True)
class DrivenMotion(AlongMotion):
    """A motion in an avatar's driving space, in numpy."""

    motion: Motion
    features: Float[np.ndarray, "t k"]
    torso_features: Float[np.ndarray, "t kt"]
    torso: Float[np.ndarray, "t 3"]
    support: Support


class Player:
    """One avatar, ready to be drawn. Several threads may share it: they take turns."""

    def __init__(
        self,
        mesh: RigMesh,
        head: RigHead,
        torso: RigTorso,
        space: Statistics,
        plate: UInt8[np.ndarray, "h w 3"],
        camera: Camera,
        own_motion: Motion,
        maps: Precision = "float32",
    ) -> None:
        """`mesh`, `head` and `torso` are numpy arrays; the linear maps of the two may be packed.

        Args:
            maps: how linear maps are kept: "half" and "int8" take a half and a quarter of the memory, and round.

        Raises:
            BackendUnavailable: the compiled kernels can't run here.
            ValueError: arrays do not fit each other, unknown `maps`, or maps to be packed hold a NaN or infinity.
        """
        self.space, self.camera, self.own_motion = space, camera, own_motion
        self._plate = np.ascontiguousarray(plate)
        self._mesh = RigMesh(*(_contiguous(a, name == "faces") for name, a in mesh._asdict().items()))
        if maps == "float32":
            head, torso = in_floats(head), in_floats(torso)
        given = {name: a for name, a in head._asdict().items() if a is not None}
        self._head = RigHead(**{name: _contiguous(a, name == "triangles") for name, a in given.items()})
        self._torso = RigTorso(*map(_contiguous, torso))
        mesh_counts, head_counts, torso_counts = counts(self._mesh, self._head, self._torso)
        self._check(RigPose(*(np.zeros(s) for s in pose_shapes(mesh_counts[2], head_counts[1], torso_counts[1]))))
        self._packed = None if maps == "float32" else PackedLayers(self._head, self._torso, maps)
        try:
            if self._packed:
                self._head, self._torso = _shapes_only(self._head), _shapes_only(self._torso)
            drawn = (self._packed.head, self._packed.torso) if self._packed else (self._head, self._torso)
            _, head_counts, torso_counts = counts(self._mesh, *drawn)
            self._native = native().Playback(
                addresses(self._mesh), mesh_counts, addresses(drawn[0]), head_counts, addresses(drawn[1]), torso_counts
            )
        except BackendMissing as error:
            raise BackendUnavailable(str(error)) from error
        except IndexError as error:
            raise ValueError(f"{error}: an index lies outside the mesh") from error
        self._lock = threading.Lock()
        self._driven: Driven | None = None
        self._rows: list[tuple[np.ndarray, int, int]] = []
        self._behind: dict[tuple[float, ...], np.ndarray] = {}

    def prepare(
        self,
        motion: Motion,
        *,
        audio: Path | None = None,
        foreign: bool = False,
        expression_is_relative: bool = True,
    ) -> DrivenMotion:
        """Bring a motion into this avatar's driving space; see `Avatar.prepare`."""
        if foreign:
            motion = driving_maths.retarget(self.space, motion, expression_is_relative=expression_is_relative)
        speech = driving_maths.heard(self.space, audio)
        features = driving_maths.prepare(self.space, motion, speech)
        return DrivenMotion(driving_maths.mesh_motion(self.space, motion), *features, support_of(self.space, motion))

    def frame(
        self, driven: Driven, index: int, camera: Camera | None = None, background: Background = "plate"
    ) -> UInt8[np.ndarray, "h w 3"]:
        """One frame from any camera (default: the capturing one), as an 8-bit RGB picture; see `frames`."""
        return self.frames(driven, index, [camera or self.camera], background)[0]

    def frames(
        self, driven: Driven, index: int, cameras: Sequence[Camera], background: Background = "plate"
    ) -> list[UInt8[np.ndarray, "h w 3"]]:
        """One frame from several cameras (a stereo pair, a ring), as 8-bit RGB pictures: the head is posed once.

        Each picture equals the one that `frame` gives for its camera.

        Args:
            cameras: one or more, all of one picture size and model.
            background: "plate" (the captured room as each camera sees it), "none" (black), or an sRGB colour in [0, 1].

        Raises:
            BadInput: no such background or camera, or cameras of several sizes or models.
            IndexError: no such frame.
            MemoryError: so many cameras need more working memory than is allowed.
            ValueError: a Gaussian holds a NaN or infinity.
        """
        if not 0 <= index < len(driven.motion):
            raise IndexError(f"frame {index} of a motion of {len(driven.motion)}")
        width, height, model = _common(cameras)
        rows = [_camera_row(camera) for camera in cameras]
        pictures = [np.empty((height, width, 3), np.uint8) for _ in cameras]
        with self._lock:
            plates, color = self._background(cameras, rows, background)
            pose = self._pose(driven, index)
            if self._packed:
                self._packed.move(*(array[index] for array, _, _ in self._rows[4:6]))
            self._native.run(
                pose, width, height, rows, CAMERA_MODELS.index(model), plates, color,
                [picture.ctypes.data for picture in pictures],
            )  # fmt: skip
        return pictures

    def _pose(self, driven: Driven, index: int) -> list[int]:
        """Addresses of one row of motion. The motion's arrays are laid out once and kept until another one comes."""
        if driven is not self._driven:
            motion = driven.motion
            if not isinstance(motion.quats_wxyz, np.ndarray):
                raise TypeError(f"quats_wxyz: expected a numpy array, got {type(motion.quats_wxyz).__name__}")
            pose = RigPose(
                motion.expression, motion.joints, driving_maths.rotations(motion).as_matrix(), motion.translation,
                driven.features, driven.torso_features, driven.torso,
            )  # fmt: skip
            pose = RigPose(*(_contiguous(np.asarray(a)) for a in pose))
            rows = [len(a) for a in pose]
            if min(rows) < len(motion):
                raise ValueError(f"expected arrays of {len(motion)} frames, as the motion has, got {rows}")
            self._check(RigPose(*(a[0] for a in pose)))
            self._rows = [(a, a.ctypes.data, a.strides[0]) for a in pose]
            self._driven = driven
        return [start + index * stride for _, start, stride in self._rows]

    def _check(self, pose: RigPose) -> None:
        if self._plate.ndim != 3 or self._plate.shape[2] != 3 or self._plate.dtype != np.uint8 or not self._plate.size:
            raise ValueError(f"plate: expected bytes of shape (h, w, 3), got {self._plate.dtype} {self._plate.shape}")
        for name, (array, want) in shapes(self._mesh, self._head, self._torso, pose).items():
            if array.shape != want:
                raise ValueError(f"{name}: expected shape {want}, got {array.shape}")

    def _background(
        self, cameras: Sequence[Camera], rows: list[list[float]], background: Background
    ) -> tuple[list[int], list[float]]:
        """Addresses of the cameras' plates, or zeros, and the colour that then lies behind."""
        if background == "plate":
            # Resting cameras keep their plates from call to call; those of cameras that left are let go.
            keys = [(c.width, c.height, *row) for c, row in zip(cameras, rows, strict=True)]
            known, self._behind = self._behind, {}
            for key, camera in zip(keys, cameras, strict=True):
                self._behind[key] = known[key] if key in known else self._plate_behind(camera)
            return [self._behind[key].ctypes.data for key in keys], [0.0] * 3
        none = [0] * len(cameras)
        if background == "none":
            return none, [0.0] * 3
        if isinstance(background, str):
            raise BadInput(f"unknown background {background!r}", expected="plate, none or three numbers in 0..1")
        color = [float(c) for c in background]
        if len(color) != 3 or not np.isfinite(color).all():
            raise BadInput("unusable background colour", expected="three finite numbers", got=str(background))
        return none, color

    def _plate_behind(self, camera: Camera) -> UInt8[np.ndarray, "h w 3"]:
        distance = float(self.space.mean_translation[2])
        return np.ascontiguousarray(plate_behind(self._plate, self.camera, distance, camera))


def _common(cameras: Sequence[Camera]) -> tuple[int, int, str]:
    """Width, height and model of all cameras."""
    kinds = sorted({(c.width, c.height, c.model) for c in cameras})
    if len(kinds) != 1:
        raise BadInput(
            "these cameras can't be rendered in one call",
            expected="one or more cameras of one picture size and model",
            got=", ".join(f"{width}x{height} {model}" for width, height, model in kinds) or "none",
        )
    return kinds[0]


def _camera_row(camera: Camera) -> list[float]:
    """fx, fy, cx, cy and the rows of [R | t]."""
    pose = np.asarray(camera.T_camera_world, np.float64)
    row = [camera.fx, camera.fy, camera.cx, camera.cy, *pose[:3].ravel().tolist()]
    sized = 1 <= camera.width <= MAX_SIDE and 1 <= camera.height <= MAX_SIDE
    if not sized or pose.shape != (4, 4) or not all(map(math.isfinite, row)) or camera.model not in CAMERA_MODELS:
        raise BadInput(
            "this camera can't be rendered",
            expected=f"1..{MAX_SIDE} pixels a side, finite numbers, one of {', '.join(CAMERA_MODELS)}",
            got=str(camera),
        )
    return row


def load_player(path: str | Path, maps: Precision = "float32", *, gaussians: int | None = None) -> Player:
    """Open an avatar folder for playing, with its linear maps packed if asked for: as they are where they lie so.

    The head model is read from its converted copy; where it was never converted, torch is needed once to do that.

    Args:
        gaussians: play no more than so many, the most important ones.

    Raises:
        BadInput: no such folder, or not an avatar; `gaussians` is not above 0.
        FormatMismatch: another schema, a damaged file, or another version of the head model.
        BackendUnavailable: the compiled kernels can't run here.
    """
    path = Path(path)
    content = read_content(path)
    head_model = _head_arrays(content["head"]["name"], content["head"]["content_hash"])
    rest = [head_model[name] for name in RigMesh._fields[1:]]
    stored = read_layers(path, content, lambda neutral: RigMesh(neutral, *rest), gaussians)
    camera, motion = Camera(**content["camera"]), load_motion(path / "motion.npz")
    return Player(stored.mesh, stored.head, stored.torso, stored.space, stored.plate, camera, motion, maps)


def _head_arrays(name: str, content_hash: str) -> dict[str, np.ndarray]:
    copies = sorted(head_folder().glob(f"*-{content_hash[:16]}.safetensors"))
    if not copies:
        from avatar.head import load_head

        got = load_head(name).content_hash
        copies = sorted(head_folder().glob(f"*-{content_hash[:16]}.safetensors"))
        if not copies:
            raise FormatMismatch(
                "the avatar was fitted on another version of its head model", expected=content_hash, got=got,
                fix="fit the avatar again with this version, or install the one that made it",
            )  # fmt: skip
    arrays, _ = read_arrays(copies[0], fix=f"rm {copies[0]}")
    return arrays


def _shapes_only(part: Any) -> Any:
    """The same shapes, without memory: what later poses are checked against."""
    return each_array(part, lambda array: np.broadcast_to(np.float32(0), array.shape))


def _contiguous(array: np.ndarray | PackedMap, integers: bool = False) -> Any:
    if isinstance(array, PackedMap):
        return array
    return np.ascontiguousarray(array, np.int32 if integers else np.float32)
