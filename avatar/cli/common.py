"""Options and small parsers that the commands share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from avatar.errors import BadInput
from avatar.progress import note, set_quiet

Output = Annotated[Path, tyro.conf.arg(aliases=["-o"])]
Input = tyro.conf.Positional[Path]


@dataclass(frozen=True)
class Common:
    """Options of every command."""

    json: bool = False
    """Print one JSON object on stdout and nothing else there."""
    threads: int = 0
    """Native and torch threads; 0 takes all cores."""
    quiet: Annotated[bool, tyro.conf.arg(aliases=["-q"])] = False
    """No progress and no notes on stderr."""
    verbose: Annotated[bool, tyro.conf.arg(aliases=["-v"])] = False
    """Show tracebacks of errors and the logs of native libraries."""

    def start(self) -> None:
        """Apply the options before any work."""
        set_quiet(self.quiet)
        if self.threads < 0:
            raise BadInput("--threads can't be negative", expected="0 (all cores) or more", got=str(self.threads))


@dataclass(frozen=True)
class Computing(Common):
    """Options of commands that compute with torch and the native core."""

    def start(self) -> None:
        super().start()
        if self.threads:
            import torch

            from cuda_ext import ops

            torch.set_num_threads(self.threads)
            ops.set_threads(self.threads)


@dataclass(frozen=True)
class Pictures(Computing):
    """Options of commands that write clips."""

    avatar: Input = field(kw_only=True)
    output: Output = field(kw_only=True)
    overwrite: bool = False
    """Replace an existing file."""
    size: int = 512
    """Longer side of the picture, pixels."""
    fps: float | None = None
    """Frames per second of the clip; the motion's own rate if not given."""
    background: str = "plate"
    """plate (the captured room), none (black), or three numbers in 0..1 such as 1,1,1."""
    max_seconds: float | None = None
    """Render only the beginning."""
    gaussians: int | None = None
    """Take no more Gaussians than these, the most important ones; all if not given."""

    def start(self) -> None:
        super().start()
        check_pixels("--size", self.size, 16)
        parse_background(self.background)
        if self.target().exists() and not self.overwrite:
            raise BadInput(
                f"{self.target()} exists", fix="add --overwrite to replace it, or choose another -o/--output"
            )

    def target(self) -> Path:
        """The file or folder that will be written."""
        return self.output

    def options(self, audio: Path | None, audio_start: float = 0.0):
        """Clip options for the exporters."""
        from avatar.export.clip import ClipOptions

        return ClipOptions(self.size, self.fps, audio, audio_start, parse_background(self.background))


def check_pixels(option: str, pixels: int, lowest: int) -> None:
    """Refuse sizes of pictures that can't be meant.

    Raises:
        BadInput: outside `lowest` to 8192.
    """
    if not lowest <= pixels <= 8192:
        raise BadInput(f"{option} is out of range", expected=f"{lowest} to 8192", got=str(pixels))


def parse_numbers(option: str, text: str) -> tuple[float, ...]:
    """Numbers with commas between them; nothing gives none.

    Raises:
        BadInput: something else.
    """
    try:
        return tuple(float(x) for x in text.split(",") if x.strip())
    except ValueError:
        raise BadInput(f"{option} is no list of numbers", expected=f"{option}=-30,30", got=text) from None


def parse_background(text: str) -> str | tuple[float, float, float]:
    """`plate`, `none`, or a colour such as `1,1,1`.

    Raises:
        BadInput: neither, or a number outside 0..1.
    """
    if text in ("plate", "none"):
        return text
    try:
        red, green, blue = (float(x) for x in text.split(","))
    except ValueError:
        raise BadInput(f"unknown background {text!r}", expected="plate, none, or three numbers such as 1,1,1") from None
    if not all(0 <= x <= 1 for x in (red, green, blue)):  # NaN is in no range either
        raise BadInput("--background is out of range", expected="three numbers in 0..1 such as 1,1,1", got=text)
    return red, green, blue


def resolve_motion(avatar, motion: str, max_seconds: float | None):
    """A motion by name, cut and prepared for the avatar, and the sound that belongs to it.

    A foreign motion is cut only after it was retargeted: its mean is that of the whole, however little is shown.
    """
    source, audio = source_motion(avatar, motion)
    return prepare(avatar, cut(source, max_seconds), audio), audio


def source_motion(avatar, motion: str):
    """A motion by name, in the avatar's terms, and the sound that belongs to it.

    Raises:
        BadInput: nothing of that name is a motion.
    """
    from avatar.model import load
    from avatar.motion.motion_io import load_motion
    from preprocess.capture import CaptureFolder

    path = Path(motion)
    if motion == "own":
        source, audio = avatar.own_motion, avatar.audio_path
    elif (path / "capture.json").is_file():
        capture = CaptureFolder.load(path)
        source, audio = capture.motion, capture.audio_path
    elif (path / "avatar.json").is_file():
        other = load(path)
        source, audio = other.own_motion, other.audio_path
    elif path.is_file():
        source, audio = load_motion(path), None
    else:
        raise BadInput(
            f"no motion {motion!r}", expected="own, a capture folder, an avatar folder or a motion file (.npz, .csv)"
        )
    return source if motion == "own" else avatar.driving.retarget(source), audio


def prepare(avatar, motion, audio: Path | None):
    """A motion in an avatar's driving space; says so if much of it lies outside of what the avatar was fitted on."""
    prepared = avatar.prepare(motion, audio=audio)
    if warning := prepared.support.warning(prepared.timestamps_seconds):
        note(f"warning: {warning}")
    return prepared


def cut(motion, max_seconds: float | None):
    """The beginning of a motion."""
    if max_seconds is None:
        return motion
    seconds = motion.timestamps_seconds - motion.timestamps_seconds[0]
    return motion[: max(1, int((seconds < max_seconds).sum()))]
