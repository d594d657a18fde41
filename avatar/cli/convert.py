"""The `convert` command: motions as tables, captures in the layouts of other systems, and back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import tyro

from avatar.cli.common import Computing, Input, Output
from avatar.errors import BadInput


@dataclass(frozen=True)
class Convert(Computing):
    """Turn a motion into a table or back, and a capture into another system's folder or back.

    A motion (.npz, .csv, or a capture, whose motion is taken) becomes what the name of the output says: .npz, or a .csv
    to edit by hand; --to arkit-csv writes it as a take of Live Link Face. A capture becomes with --to vhap the folder
    that GaussianAvatars reads, with --to talking-gaussian that of TalkingGaussian and ER-NeRF, with --to insta that of
    INSTA. With --from such a folder becomes a capture.

    Example: visavis convert me.capture --to arkit-csv -o take.csv

    Example: visavis convert take.csv -o take.npz

    Example: visavis convert me.capture --to vhap -o me_vhap

    Example: visavis convert me_vhap --from vhap --head flame:generic_model.pkl -o again.capture
    """

    input: Input = field(kw_only=True)
    """A motion file, a capture, or another system's folder."""
    output: Output = field(kw_only=True)
    to: Literal["vhap", "talking-gaussian", "insta", "arkit-csv"] | None = None
    """What to write; a motion file or a capture if not given."""
    source: Annotated[Literal["vhap", "talking-gaussian", "insta", "auto"] | None, tyro.conf.arg(name="from")] = None
    """The folder's layout; auto looks at its files."""
    head: str = "anny"
    """For --from: the head model that the folder's parameters belong to, such as flame:/path/to/model.pkl; folders that
    visavis wrote from a capture of its own head need none."""
    fps: float = 25.0
    """For --from: frame rate, where the layout holds no times."""
    overwrite: bool = False
    """Replace an older result of that name."""

    def start(self) -> None:
        super().start()
        if self.to and self.source:
            raise BadInput("one of --to and --from", expected="a capture in between", fix="convert twice")
        if not 1 <= self.fps <= 1000:
            raise BadInput("--fps is out of range", expected="1 to 1000", got=str(self.fps))

    def run(self) -> dict:
        if self.source:
            return self._import(self.source)
        if self.to in (None, "arkit-csv"):
            return self._motion()
        from preprocess.capture import CaptureFolder
        from preprocess.formats import export_capture

        return export_capture(CaptureFolder.load(self.input), self.to, self.output, overwrite=self.overwrite)

    def _import(self, layout: str) -> dict:
        from preprocess.formats import ReadOptions, import_capture

        named = None if layout == "auto" else layout
        options = ReadOptions(self.head, self.fps)
        capture = import_capture(self.input, self.output, options, layout=named, overwrite=self.overwrite)
        facts = {"frames": len(capture), **capture.info["metrics"]}
        return facts | {"warnings": capture.info["warnings"], "capture": str(self.output)}

    def _motion(self) -> dict:
        from avatar.motion.motion_csv import write_live_link
        from avatar.motion.motion_io import load_motion, save_motion
        from preprocess.capture import CaptureFolder

        suffixes = (".csv",) if self.to else (".npz", ".csv")
        if self.output.suffix not in suffixes:
            raise BadInput(
                f"{self.output} has no motion's name", expected=f"a name that ends in {' or '.join(suffixes)}"
            )
        if self.output.exists() and not self.overwrite:
            raise BadInput(f"{self.output} exists", fix="add --overwrite to replace it, or choose another -o/--output")
        motion = CaptureFolder.load(self.input).motion if self.input.is_dir() else load_motion(self.input)
        write = write_live_link if self.to else save_motion
        write(self.output, motion)
        return {"motion": str(self.output), "frames": len(motion), "fps": round(motion.fps, 3)}
