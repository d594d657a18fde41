"""Commands that make things: preprocess, fit, eval, studio."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from avatar.cli.common import Computing, Input, Output, check_pixels, parse_numbers
from avatar.errors import BadInput

LONG_SIDE, FINE_LONG_SIDE, FINE_MINUTES = 256, 512, 15
"""What is fitted in pixels, with how many minutes."""


@dataclass(frozen=True)
class Preprocess(Computing):
    """Track a head in a video and write a capture folder.

    Stopped or killed, it goes on when the command is repeated. With --overwrite it takes over from the capture that is
    there what the changed options do not concern.

    Example: visavis preprocess me.mp4 -o me.capture
    Example: visavis preprocess me.mp4 -o me.capture --overwrite --head flame:generic_model.pkl
    """

    threads: Annotated[int, tyro.conf.arg(aliases=["--jobs"])] = 0
    """Processors to work on; 0 takes all that this process may use. The tracks do not depend on it."""

    video: Input = field(kw_only=True)
    output: Output = field(kw_only=True)
    """Folder of the capture."""
    overwrite: bool = False
    """Replace an older capture of that name."""
    head: str = "anny"
    """Head model: anny, flame:/path/to/model.pkl or gnm:/path/to/model.npz."""
    long_side: int = 512
    """Longer side of the stored frames, pixels; never enlarged."""
    start_seconds: float = 0.0
    """Leave out what comes before this time."""
    max_seconds: float | None = None
    """Use no more than this much of the video."""
    overlay: bool = True
    """Draw overlay.mp4, which shows what the tracker saw."""
    fix_sync: bool = False
    """Shift sound that is out of step with the lips (visavis check)."""
    photometric: bool = True
    """Refine every frame's pose and expression on its pixels; otherwise the landmarks alone decide, which is faster."""

    def run(self) -> dict:
        from preprocess.pipeline import PreprocessConfig, summary, track
        from preprocess.tracking import PhotometricConfig, TrackConfig

        tracking = TrackConfig() if self.photometric else TrackConfig(photometric=PhotometricConfig(rounds=0))
        config = PreprocessConfig(
            head=self.head,
            long_side=self.long_side,
            start_seconds=self.start_seconds,
            max_seconds=self.max_seconds,
            overlay=self.overlay,
            fix_sync=self.fix_sync,
            tracking=tracking,
        )
        capture = track(self.video, self.output, config=config, overwrite=self.overwrite, jobs=self.threads)
        return summary(capture) | {"capture": str(self.output)}


@dataclass(frozen=True)
class Fit(Computing):
    """Fit an avatar to a capture, within a time budget; run it again after an interruption to go on.

    Example: visavis fit me.capture -o me.avatar --minutes 1
    """

    capture: Input = field(kw_only=True)
    output: Output = field(kw_only=True)
    """Folder of the avatar."""
    overwrite: bool = False
    """Replace an older avatar of that name."""
    minutes: float = 5.0
    """Time budget; 15 or more fit at 512 pixels. It ends sooner after ten passes over the clip, and says so."""
    steps: int | None = None
    """Fixed number of steps instead of a time budget: reproducible."""
    long_side: int | None = None
    """Resolution that is fitted, pixels; if not given 256, and 512 from 15 minutes on. Fit at the size that the avatar
    will be shown in."""
    field: Literal[
        "visavis", "visavis_speech", "linear", "gaussian_avatars", "embedding", "hash_triplane", "talking_gaussian",
        "egstalker",
    ] = "visavis"  # fmt: skip
    """What makes the Gaussians move with expression and speech; the published designs are there to compare with."""
    precision: Literal["int8", "half", "float32"] = "int8"
    """How the avatar is stored: int8 takes a quarter of the place of float32; avatar.json says what that lost."""
    seed: int = 0

    def start(self) -> None:
        super().start()
        if self.long_side is not None:
            check_pixels("--long-side", self.long_side, 64)

    @property
    def _long_side(self) -> int:
        """Detail takes time, and shows only in pictures of its size."""
        if self.long_side is not None:
            return self.long_side
        return FINE_LONG_SIDE if self.steps is None and self.minutes >= FINE_MINUTES else LONG_SIDE

    def run(self) -> dict:
        from avatar.fitting import FitConfig, fit
        from preprocess.capture import CaptureFolder

        config = FitConfig(
            minutes=self.minutes, steps=self.steps, long_side=self._long_side, seed=self.seed, field=self.field,
            precision=self.precision,
        )  # fmt: skip
        avatar = fit(CaptureFolder.load(self.capture), self.output, config, overwrite=self.overwrite)
        return avatar.info["fit"] | {"avatar": str(self.output)}


@dataclass(frozen=True)
class Eval(Computing):
    """Score an avatar on the held-out end of its clip and write an HTML report.

    Example: visavis eval me.avatar
    """

    avatar: Input = field(kw_only=True)
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """The report; AVATAR/report.html if not given."""
    overwrite: bool = False
    """Replace an existing file; an avatar's own report always is."""
    capture: Path | None = None
    """The capture it was fitted on, if it has moved."""
    long_side: int = 256
    """Resolution that is compared, pixels."""
    sync: bool = True
    """Let a small network learn this person's lips and sound, and say how well the render's lips fit the sound."""

    def start(self) -> None:
        super().start()
        check_pixels("--long-side", self.long_side, 64)
        foreign = self._report.resolve() != self._own_report.resolve()
        if foreign and self._report.exists() and not self.overwrite:
            raise BadInput(f"{self._report} exists", fix="add --overwrite to replace it, or choose another -o/--output")

    @property
    def _own_report(self) -> Path:
        return self.avatar / "report.html"

    @property
    def _report(self) -> Path:
        return self.output or self._own_report

    def run(self) -> dict:
        from avatar.evaluation.perceptual import perceptual_metric
        from avatar.evaluation.protocol import Evaluator, render_fps
        from avatar.evaluation.report import write_report
        from avatar.model import load
        from preprocess.capture import CaptureFolder
        from preprocess.detection.landmarks import Detector

        avatar = load(self.avatar)
        capture = CaptureFolder.load(self.capture or self._recorded_capture(avatar.info))
        with Detector() as detector:
            evaluator = Evaluator(avatar, capture, detector.landmarks, self.long_side, perceptual_metric())
            evaluation = evaluator.run()
        if self.sync and (scores := evaluator.lip_sync(evaluation)):
            evaluation.summary["sync"] = scores | {"meter": _metered(capture, evaluation)}
        evaluation.summary["render_fps_512"] = round(render_fps(avatar), 1)
        write_report(self._report, avatar, evaluation)
        return evaluation.summary | {"report": str(self._report)}

    def _recorded_capture(self, info: dict) -> Path:
        path = Path(info["capture"]["path"])
        if not path.exists():
            raise BadInput(
                f"the capture that {self.avatar} was fitted on is gone",
                expected=str(path),
                got="no such folder",
                fix="give its new place with --capture",
            )
        return path


def _metered(capture, evaluation) -> dict[str, dict]:
    """What the sync meter without weights says of the held-out frames."""
    from avatar.motion.audio import load_audio
    from preprocess.sound.sync import measure_sync

    samples = load_audio(capture.audio_path)
    faces = {"video": evaluation.true, "render": evaluation.shown}
    return {name: asdict(measure_sync(samples, face.seconds, face.points)) for name, face in faces.items()}


@dataclass(frozen=True)
class Studio(Computing):
    """Film a synthetic talking subject of whom everything is known: video with sound, and its truth per frame.

    Example: visavis studio -o subject --seconds 60 --seed 3
    Example: visavis studio -o subject --audio speech.wav --views=-60,-30,30,60
    """

    output: Output = field(kw_only=True)
    """Folder of the recording: video.mp4, motion.npz, vertices, labels, depth, landmarks, cameras."""
    overwrite: bool = False
    """Replace an older recording of that name."""
    seconds: float | None = None
    """Length; that of --audio, or 60, if not given."""
    seed: int = 0
    """Person, room, light, lens, and all movement but the lips'."""
    long_side: int = 512
    """Side of the square picture, pixels."""
    fps: float = 25.0
    audio: Path | None = None
    """Speech to say; nonsense with known phones if not given."""
    voice: Literal["formant", "flite"] = "formant"
    """Who speaks without --audio: our own small voice, or the program flite, which reads English sentences."""
    views: str = ""
    """Further cameras, degrees to the camera's right: --views=-60,-30,30,60."""
    wobble_mm: float = 0.0
    """Amplitude of a hand-held camera; fitting an avatar presumes a camera at rest."""

    def run(self) -> dict:
        from preprocess.studio import StudioConfig, record

        config = StudioConfig(
            seconds=self._length(), seed=self.seed, long_side=self.long_side, fps=self.fps, audio=self.audio,
            voice=self.voice, views=parse_numbers("--views", self.views), wobble_mm=self.wobble_mm,
        )  # fmt: skip
        studio = record(self.output, config, overwrite=self.overwrite)
        facts = {"studio": str(self.output), "video": str(studio.video_path), "frames": len(studio), "fps": studio.fps}
        return facts | {"yaw_degrees": studio.info["yaw_degrees"], "speech": studio.info["speech"]["source"]}

    def _length(self) -> float:
        from avatar.motion.audio import RATE, load_audio

        if self.seconds is not None or self.audio is None:
            return self.seconds or 60.0
        return len(load_audio(self.audio)) / RATE
