"""The command that shows the whole line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from avatar.cli.build import Eval, Fit, Preprocess
from avatar.cli.common import Computing, Output
from avatar.cli.show import Render
from avatar.errors import VisavisError
from avatar.progress import note


@dataclass(frozen=True)
class Demo(Computing):
    """The whole line on a sample clip or on your own: preprocess, fit, report, an orbit and a self-reenactment clip.

    Repeated, it goes on where it was stopped, and does not do again what is there.

    Example: visavis demo --video me.mp4 -o out/me --minutes 1
    """

    video: Path | None = None
    """Your video; a sample clip (Pexels) if not given."""
    output: Output = Path("out/demo")
    minutes: float = 5.0
    """Time budget of the fit."""
    seed: int = 0

    def run(self) -> dict:
        from avatar.assets import find_asset

        video = self.video or find_asset("pexels.mp4")
        capture, avatar = self.output / "capture", self.output / "avatar"
        shared = {"quiet": self.quiet, "threads": self.threads}
        if not is_capture_of(video, capture):
            note(f"1/4 preprocess {video.name}")
            Preprocess(video=video, output=capture, overwrite=True, **shared).run()
        if not self._is_fitted(capture, avatar):
            note(f"2/4 fit for at most {self.minutes:g} minutes")
            Fit(capture=capture, output=avatar, minutes=self.minutes, seed=self.seed, overwrite=True, **shared).run()
        note("3/4 evaluate on held-out frames")
        scores = Eval(avatar=avatar, **shared).run()
        note("4/4 render")
        clip, orbit = self.output / "self.mp4", self.output / "orbit.mp4"
        Render(avatar=avatar, output=clip, overwrite=True, **shared).run()
        Render(avatar=avatar, output=orbit, camera="orbit", overwrite=True, **shared).run()
        result = {"clip": str(clip), "orbit": str(orbit), "report": scores["report"]}
        return result | {"psnr": scores["full"]["psnr"], "view": f"visavis view {avatar}"}

    def _is_fitted(self, capture: Path, avatar: Path) -> bool:
        """Whether an avatar of this very capture, budget and seed is there: a second run only shows it again."""
        from avatar.model import load
        from preprocess.capture import CaptureFolder

        try:
            info = load(avatar).info
        except VisavisError:
            return False
        same_capture = info["capture"]["content_hash"] == CaptureFolder.load(capture).content_hash
        return same_capture and (info["config"]["minutes"], info["seed"]) == (self.minutes, self.seed)


def is_capture_of(video: Path, capture: Path) -> bool:
    """Whether a folder holds a whole capture of this very video."""
    from avatar.assets import sha256_file
    from preprocess.capture import CaptureFolder

    try:
        source = CaptureFolder.load(capture).info["source"]
    except VisavisError:
        return False
    return video.is_file() and source["sha256"] == sha256_file(video)
