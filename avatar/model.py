"""A fitted avatar: loading, saving, and turning a motion into pictures.

On disk an avatar is a folder: `avatar.json` (schema, config, camera, metrics), `avatar.safetensors` (layers, driving
space, background), `motion.npz` (the person's own track), `audio.wav` if the video had sound, and `field.safetensors`
if a field was fitted that had to be baked. How layers are stored is for `avatar.stored` to say.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from avatar import __version__, driving_maths
from avatar.assets import sha256_file
from avatar.driving import DrivingSpace, PreparedMotion
from avatar.errors import BadInput, FormatMismatch
from avatar.fields.bound import BoundField
from avatar.fields.presets import preset_named
from avatar.fields.protocol import Rest, Sizes
from avatar.files import load_tensors, save_tensors, write_json
from avatar.head import load_head
from avatar.head.model import HeadModel
from avatar.known import confidence
from avatar.layers import Layers, rig_mesh
from avatar.limits import Limits
from avatar.motion.motion_io import load_motion, save_motion
from avatar.plate import plate_behind
from avatar.playback import Background, Player
from avatar.renderer import render
from avatar.stored import (
    AVATAR_SCHEMA,
    LAYERS_FILE,
    Precision,
    fit_again,
    in_floats,
    pack_layers,
    read_content,
    read_layers,
)
from avatar.types import Camera, Gaussians, HeadParams, Motion, RenderOutput
from cuda_ext.rig_types import each_array

SCHEMA = AVATAR_SCHEMA
FIELD_FILE = "field.safetensors"


@dataclass(frozen=True)
class Avatar:
    """One person's head, fitted."""

    head: HeadModel
    neutral: Float[Tensor, "v 3"]
    layers: Layers
    driving: DrivingSpace
    background: UInt8[np.ndarray, "h w 3"]
    """Clean plate as seen by `camera`."""
    camera: Camera
    """The capturing camera; its frame is the world."""
    own_motion: Motion
    info: dict = field(default_factory=dict)
    """Config, seed, source, split and metrics, as in `avatar.json`."""
    path: Path | None = None
    audio_path: Path | None = None
    head_spec: str = "anny"
    """How `load_head` finds the head model: a name, or kind and path of the user's own file."""

    @cached_property
    def head_center(self) -> Float[np.ndarray, "3"]:
        """World point around which cameras turn: the middle of the head in its mean pose."""
        return self.driving.mean_translation.numpy().astype(np.float64)

    @cached_property
    def training_motion(self) -> Motion:
        """The part of the own track that was fitted; all of it where nothing says which."""
        first, last = self.info.get("split", {}).get("train", (0, len(self.own_motion) - 1))
        return self.own_motion[first : last + 1]

    @cached_property
    def limits(self) -> Limits:
        """From where, and doing what, the person was filmed."""
        return Limits.of(self.training_motion)

    @cached_property
    def known(self) -> Float[Tensor, " n"]:
        """How well the training frames saw the place of each Gaussian of the head, 0..1: 0 is a guess."""
        seen = confidence(self.head, self.neutral, self.training_motion, self.camera)
        return seen[self.layers.head.triangles.long()]

    @property
    def content_hash(self) -> str:
        """Checksum of the avatar's tensors on disk; empty for one that was not saved."""
        return sha256_file(self.path / LAYERS_FILE) if self.path else ""

    def default_params(self) -> HeadParams:
        """Rest expression at the mean pose."""
        return self.driving.params_at_rest()

    @cached_property
    def own(self) -> PreparedMotion:
        """The person's own track, with what was said."""
        return self.prepare(self.own_motion, audio=self.audio_path)

    def prepare(
        self,
        motion: Motion,
        *,
        audio: Path | None = None,
        foreign: bool = False,
        expression_is_relative: bool = True,
    ) -> PreparedMotion:
        """Bring a motion into this avatar's driving space.

        Args:
            motion: the avatar's own track, sliders (absolute values), or somebody else's.
            audio: any file with what is said meanwhile, on the motion's clock; only some avatars listen.
            foreign: the motion comes from another head or driver and is retargeted around this person's mean.
            expression_is_relative: see `DrivingSpace.retarget`.
        """
        if foreign:
            motion = self.driving.retarget(motion, expression_is_relative=expression_is_relative)
        return self.driving.prepare(motion, driving_maths.heard(self.driving.statistics(), audio))

    def gaussians(self, prepared: PreparedMotion, index: int) -> Gaussians:
        """World Gaussians of one frame: head, then torso."""
        return self.layers.gaussians(self.head, self.neutral, prepared.frame(index))

    def plate(self, camera: Camera, background: Background) -> Tensor | None:
        """What lies behind: the clean plate (see `plate_behind`), a colour, or nothing."""
        if background == "none":
            return None
        if background == "plate":
            distance = float(self.driving.mean_translation[2])
            return torch.from_numpy(plate_behind(self.background, self.camera, distance, camera)).float() / 255
        if isinstance(background, str):
            raise BadInput(f"unknown background {background!r}", expected="plate, none or three numbers in 0..1")
        return torch.tensor(background, dtype=torch.float32)

    @torch.inference_mode()
    def render_frame(
        self, prepared: PreparedMotion, index: int, camera: Camera, background: Background = "plate"
    ) -> RenderOutput:
        """One frame from any camera, as float tensors."""
        return render(self.gaussians(prepared, index), camera, background=self.plate(camera, background))

    def frame(
        self, prepared: PreparedMotion, index: int, camera: Camera, background: Background = "plate"
    ) -> UInt8[np.ndarray, "h w 3"]:
        """One frame from any camera, as an 8-bit RGB picture: `render_frame`, but all in one native call."""
        return self.frames(prepared, index, [camera], background)[0]

    def frames(
        self, prepared: PreparedMotion, index: int, cameras: Sequence[Camera], background: Background = "plate"
    ) -> list[UInt8[np.ndarray, "h w 3"]]:
        """One frame from several cameras of one size and model, posed once: see `Player.frames`."""
        if self.layers.field:  # not baked: no player takes it
            return [to_uint8(self.render_frame(prepared, index, camera, background).rgb) for camera in cameras]
        return self._player.frames(prepared, index, cameras, background)

    @cached_property
    def _player(self) -> Player:
        mesh = each_array(rig_mesh(self.head, self.neutral), _numpy)
        return Player(
            mesh, *self.layers.arrays(), self.driving.statistics(), self.background, self.camera, self.own_motion
        )  # pyright: ignore[reportArgumentType]

    def render(self, motion: str | Motion = "own", camera: Camera | None = None, frame: int = 0):
        """The API's short form: one 8-bit RGB frame of a motion (default: the person's own track and camera)."""
        if isinstance(motion, str) and motion != "own":
            raise BadInput(
                f"unknown motion {motion!r}", expected='"own" or a Motion', fix="read files with load_motion"
            )
        prepared = self.own if isinstance(motion, str) else self.prepare(motion, foreign=True)
        return self.frame(prepared, frame, camera or self.camera)

    def save(self, folder: Path, precision: Precision = "float32") -> None:
        """Write the avatar's files into an existing folder; "half" and "int8" keep less of its layers."""
        packed = pack_layers(*self.layers.arrays(), precision)
        driving = {f"driving.{f.name}": getattr(self.driving, f.name) for f in fields(self.driving)}
        plate = torch.from_numpy(self.background)
        layers = {name: torch.from_numpy(array) for name, array in packed.items()}
        save_tensors(folder / LAYERS_FILE, layers | driving | {"neutral": self.neutral, "background": plate})
        save_motion(folder / "motion.npz", self.own_motion)
        if self.audio_path:
            shutil.copyfile(self.audio_path, folder / "audio.wav")
        camera = {k: v for k, v in asdict(self.camera).items() if k != "T_camera_world"}
        head = {"name": self.head_spec, "content_hash": self.head.content_hash}
        content = {"schema": SCHEMA, "tool_version": __version__, "head": head, "camera": camera, **self.info}
        write_json(folder / "avatar.json", content)


def load(path: str | Path, *, exact: bool = False, gaussians: int | None = None) -> Avatar:
    """Open an avatar folder.

    Args:
        exact: with the deformation field that was fitted, as slow as that is, instead of what it was baked to. The same
            for avatars without one.
        gaussians: take no more than so many, the most important ones; not with `exact`.

    Raises:
        BadInput: no such folder, or not an avatar; `gaussians` is not above 0.
        FormatMismatch: another schema, a damaged file, or another version of the head model.
    """
    if exact and gaussians is not None:
        raise ValueError("gaussians: a field that is not baked has all of them")
    path = Path(path)
    content = read_content(path)
    head = load_head(content["head"]["name"])
    if head.content_hash != content["head"]["content_hash"]:
        raise FormatMismatch(
            f"{path} was fitted on another version of the head model {head.name}",
            expected=content["head"]["content_hash"],
            got=head.content_hash,
            fix="fit the avatar again with this version, or install the one that made it",
        )
    stored = read_layers(
        path, content, lambda rest: each_array(rig_mesh(head, torch.from_numpy(rest)), _numpy), gaussians
    )
    layers = Layers.from_arrays(in_floats(stored.head), in_floats(stored.torso))
    neutral = torch.from_numpy(stored.mesh.neutral)
    driving = DrivingSpace(**{name: torch.from_numpy(array) for name, array in stored.space._asdict().items()})
    if exact and (path / FIELD_FILE).exists():
        layers = _with_field(path, content, head, neutral)
    camera = Camera(**content["camera"])
    info = {k: v for k, v in content.items() if k not in ("schema", "tool_version", "head", "camera")}
    audio = path / "audio.wav"
    return Avatar(
        head, neutral, layers, driving, stored.plate, camera, load_motion(path / "motion.npz"), info, path,
        audio if audio.exists() else None, content["head"]["name"],
    )  # fmt: skip


def save_field(folder: Path, layers: Layers) -> None:
    """Write layers with a field beside the avatar that they were baked to."""
    assert layers.field is not None
    save_tensors(folder / FIELD_FILE, layers.tensors(), {"sizes": asdict(layers.field.sizes)})


def _with_field(path: Path, content: dict, head: HeadModel, neutral: Tensor) -> Layers:
    tensors, metadata = load_tensors(path / FIELD_FILE, "the avatar's field")
    try:
        sizes = Sizes(**metadata["sizes"])
        network = preset_named(content["config"]["field"]).build(sizes)
        return Layers.from_tensors(tensors, network and BoundField(network, Rest(head, neutral), sizes))
    except (KeyError, TypeError, RuntimeError) as e:
        raise FormatMismatch(f"{path / FIELD_FILE} does not hold this avatar's field: {e}", fix=fit_again(path)) from e


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().numpy()


def to_uint8(rgb: Float[Tensor, "h w c"]) -> UInt8[np.ndarray, "h w c"]:
    """[0, 1] floats to 8 bits, rounded."""
    return rgb.clamp(0, 1).mul(255).add_(0.5).to(torch.uint8).numpy()
