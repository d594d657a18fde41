"""Commands that inspect: info, doctor, bench."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import tyro

from avatar.cli.common import Common, Input, check_pixels, parse_numbers
from avatar.errors import BadInput
from avatar.motion.prior.config import Preset


@dataclass(frozen=True)
class Info(Common):
    """Say what a file or folder of ours is, and whether it is whole.

    Example: visavis info me.avatar
    """

    file: Input = field(kw_only=True)

    def run(self) -> dict:
        from avatar.info import describe
        from preprocess.capture import CaptureFolder

        if (self.file / "capture.json").is_file():
            CaptureFolder.load(self.file)  # reads its tracks and looks for every picture
        return describe(self.file)


@dataclass(frozen=True)
class Doctor(Common):
    """Check this machine: what is missing, why it matters, and the command that fixes it.

    Example: visavis doctor
    """

    def run(self) -> dict:
        from avatar.doctor import examine

        return examine()


@dataclass(frozen=True)
class Bench(Common):
    """Measure this machine (kernels; each row with its rival's ratio from the same run), the tracker (studio), all
    designs of what moves the Gaussians, fitted to the same clips (fields), every avatar driven by everybody's motion
    (cross), motion priors on synthetic speakers (prior), and as listeners when two of them talk (listening), whether a
    prior does what it is asked (controls), or how late live motion is (stream).

    Example: visavis bench kernels
    Example: visavis bench fields --subjects speaking --fields visavis,linear --minutes 1 --keep out/fields
    Example: visavis bench cross --subjects pexels,speaking --minutes 1 --keep out/cross
    Example: visavis bench studio --seeds 0,1,2 --seconds 8
    Example: visavis bench prior --seeds 5,6 --seconds 150 --preset quick --keep out/priors
    Example: visavis bench listening --seeds 5,6 --seconds 300 --preset quick --keep out/listeners
    Example: visavis bench controls --seeds 1,2,3,4,5,6,7,8 --seconds 60 --preset quick
    Example: visavis bench stream --prior me.prior --seconds 60 --soak-minutes 10
    """

    what: tyro.conf.Positional[
        Literal["kernels", "studio", "fields", "cross", "prior", "listening", "controls", "stream"]
    ] = "kernels"

    case: tuple[str, ...] = ()
    """Only these cases, by name."""

    busy: bool = False
    """Time a few cases beside a process that keeps one processor busy: more threads must not be slower then."""

    seeds: str = "1000,1001,1002,1003,1004,1005,1006,1007,1008,1009"
    """Synthetic subjects of `studio`, speakers of `prior`, `listening` and `controls`; develop below 100 only."""

    seconds: float = 8.0
    """Length of their clips, of those of `fields`, of what priors are trained on, and of each run of `stream`."""

    preset: Preset = "quick"
    """How priors are trained, see `visavis train-prior --help`."""

    keep: Path | None = None
    """Folder in which recordings stay for the next run; of `fields` and `cross` also captures, avatars and
    contact sheets."""

    subjects: str = "pexels,speaking,studio:1000"
    """Clips of `fields` and `cross`: sample clips, or studio:SEED."""

    fields: str = ""
    """Designs to compare, see `visavis fit --help`; all if not given."""

    minutes: float = 2.0
    """Budget of each fit of `fields` and `cross`."""

    long_side: int = 256
    """Resolution that they fit, pixels; they are compared at 256."""

    rivals: bool = False
    """Beside `prior`: denoising diffusion (DDPM) and an autoregressive network, trained for as many steps."""

    prior: Path | None = None
    """The prior of `stream`."""

    audio: Path | None = None
    """What it hears, again and again; a synthetic voice if not given."""

    soak_minutes: float = 0.0
    """Of sound that `stream` also hears as fast as it goes: time and memory must stay as they are."""

    def run(self) -> dict:
        return getattr(self, f"_{self.what}")()

    def _prior(self) -> dict:
        from avatar.motion.prior.config import preset_named
        from preprocess.studio.prior_bench import run

        return run(
            self._seeds(), preset_named(self.preset, 0), seconds=self.seconds, keep=self.keep, rivals=self.rivals
        )

    def _listening(self) -> dict:
        from avatar.motion.prior.config import preset_named
        from preprocess.studio.listening_bench import run

        return run(self._seeds(), preset_named(self.preset, 0), seconds=self.seconds, keep=self.keep)

    def _controls(self) -> dict:
        from avatar.motion.prior.config import preset_named
        from preprocess.studio.control_bench import run

        if self.preset == "l0" or len(self._seeds()) < 3:
            raise BadInput(
                "controls are the network's, styles those of several", expected="--preset quick, three --seeds"
            )
        return run(self._seeds(), preset_named(self.preset, 0), seconds=self.seconds, keep=self.keep)

    def _stream(self) -> dict:
        import tempfile

        from avatar.evaluation.bench_stream import run

        if self.prior is None:
            raise BadInput("no prior to stream with", fix="give one: visavis bench stream --prior me.prior")
        if not 3 <= self.seconds <= 3600 or not 0 <= self.soak_minutes <= 1440:
            raise BadInput("this can't be measured", expected="--seconds 3 to 3600, --soak-minutes 0 to 1440")
        with tempfile.TemporaryDirectory() as folder:
            sound = self.audio or _voice(Path(folder) / "voice.wav")
            return run(self.prior, sound, seconds=self.seconds, soak_minutes=self.soak_minutes)

    def _cross(self) -> dict:
        from preprocess.studio.cross_bench import run

        return run(self.subjects.split(","), self._fitting(), seconds=self.seconds, keep=self.keep)

    def _fitting(self):
        from avatar.fitting import FitConfig

        check_pixels("--long-side", self.long_side, 64)
        return FitConfig(minutes=self.minutes, long_side=self.long_side)

    def _fields(self) -> dict:
        from avatar.fields.presets import PRESETS
        from preprocess.studio.field_bench import run

        fields = [name for name in self.fields.split(",") if name] or list(PRESETS)
        return run(
            self.subjects.split(","), fields, self._fitting(), seconds=self.seconds, keep=self.keep
        )  # fmt: skip

    def _studio(self) -> dict:
        from preprocess.studio.bench import run

        return run(self._seeds(), self.seconds, keep=self.keep)

    def _seeds(self) -> list[int]:
        seeds = parse_numbers("--seeds", self.seeds)
        if not seeds or any(seed != int(seed) for seed in seeds):
            raise BadInput("--seeds is no list of whole numbers", expected="--seeds 0,1,2", got=self.seeds)
        return [int(seed) for seed in seeds]

    def _kernels(self) -> dict:
        import os

        from avatar.evaluation.bench_kernels import CASES, run

        unknown = [name for name in self.case if name not in CASES]
        if unknown:
            raise BadInput(f"no case is called {unknown[0]!r}", expected=f"one of: {', '.join(CASES)}")
        threads = [self.threads] if self.threads else sorted({1, os.cpu_count() or 1})
        return run(threads, names=list(self.case), busy=self.busy)


def _voice(path: Path) -> Path:
    """Half a minute of a synthetic voice as a file."""
    import numpy as np
    from scipy.io import wavfile

    from preprocess.studio.voice import nonsense, synthesise

    samples = synthesise(nonsense(30, 0), 30, 0)
    wavfile.write(path, 16_000, np.round(32767 * samples).astype(np.int16))
    return path
