"""The command that judges a clip before anything is fitted: check."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from avatar.cli.common import Computing, Input
from avatar.errors import BadInput


@dataclass(frozen=True)
class Check(Computing):
    """Say whether a video or a capture will make a good avatar, and what to record better; with a page to look at.

    Example: visavis check me.mp4 -o me_check
    """

    clip: Input = field(kw_only=True)
    """A video, or the folder of a capture."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Folder for index.html and quality.json; a capture gets quality.json and quality.html inside if not given."""
    overwrite: bool = False
    """Replace an older page; a capture's own always is."""
    fix_sync: bool = False
    """Shift a capture's sound by the measured offset, and record that in the capture."""

    @property
    def _is_capture(self) -> bool:
        return self.clip.is_dir()

    @property
    def _page(self) -> Path | None:
        if self.output is not None:
            return self.output / "index.html"
        return self.clip / "quality.html" if self._is_capture else None

    def start(self) -> None:
        super().start()
        if self.output is not None and self.output.is_file():
            raise BadInput(f"{self.output} is a file", expected="a folder", fix="choose another -o/--output")
        if self.output is not None and (self.output / "index.html").exists() and not self.overwrite:
            fix = "add --overwrite to replace it, or choose another -o/--output"
            raise BadInput(f"{self.output / 'index.html'} exists", fix=fix)
        if self.fix_sync and not self._is_capture:
            raise BadInput(
                "--fix-sync works on captures",
                got=str(self.clip),
                fix=f"visavis preprocess {self.clip} -o CAPTURE --fix-sync",
            )

    def run(self) -> dict:
        from avatar.files import write_json
        from preprocess.checking.page import write_page
        from preprocess.checking.run import QUALITY_FILE, check_capture, check_video, fix_sync, summary

        checked = check_capture(self.clip) if self._is_capture else check_video(self.clip)
        shifted = 0.0
        if self.fix_sync and fix_sync(self.clip, checked.quality.sync):
            shifted = -checked.quality.sync.offset_seconds
            checked = check_capture(self.clip)
        result = summary(checked)
        if self.fix_sync:
            result["sound_shifted_seconds"] = shifted
        if self._page is not None:
            overlay = self.clip / "overlay.mp4"
            link = os.path.relpath(overlay, self._page.parent) if self._is_capture and overlay.is_file() else None
            write_page(self._page, checked, link)
            write_json(self._page.parent / QUALITY_FILE, checked.quality.as_json())
            result["page"] = str(self._page)
        return result
