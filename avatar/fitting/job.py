"""An unfinished fit on the disk: what it is made of, how far it is, and whether it may go on."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

from avatar import __version__
from avatar.errors import BadInput, FormatMismatch
from avatar.files import disk_errors, load_tensors, partial_folder, save_tensors, write_json
from avatar.fitting.checkpoint import restore, state_of
from avatar.fitting.config import FitConfig
from avatar.fitting.trainer import Trainer
from avatar.progress import note
from avatar.types import Capture

SCHEMA = "visavis.fit-job/1"


class Job:
    """The partial folder of one fit, with its description and its checkpoint."""

    def __init__(self, output: Path, capture: Capture, config: FitConfig, *, overwrite: bool) -> None:
        """Take up the unfinished fit that is there, or start one.

        Args:
            overwrite: discard what an unfinished fit with other options has done.

        Raises:
            BadInput: there is such a fit, and it may not be discarded; or the folder is in use for something else.
        """
        self.folder = partial_folder(output)
        self._files = self.folder / "job.json", self.folder / "checkpoint.safetensors"
        facts = {"schema": SCHEMA, "version": __version__, "capture": capture.content_hash}
        content = facts | {"config": asdict(config)}
        before = self._read()
        if before != content:
            if before and self._files[1].exists():
                self._discard(output, _differences(before, content), overwrite)
            self._begin(output, content)

    def _read(self) -> dict | None:
        try:
            content = json.loads(self._files[0].read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return content if isinstance(content, dict) else None

    def _discard(self, output: Path, differences: list[tuple[str, object, object]], overwrite: bool) -> None:
        before, now = (", ".join(f"{d[0]} {d[i]}" for d in differences) for i in (1, 2))
        if not overwrite:
            raise BadInput(
                f"an unfinished fit for {output} was started with other options",
                expected=before,
                got=now,
                fix="give the earlier options to go on with it, --overwrite to start afresh, or another -o/--output",
            )
        note(f"an unfinished fit for {output} with other options ({before}; now {now}) is discarded")

    def _begin(self, output: Path, content: dict) -> None:
        if (self.folder / "in_progress.json").exists():
            raise BadInput(
                f"{output} is being made by an unfinished `visavis preprocess`",
                fix="finish that first, or choose another -o/--output",
            )
        shutil.rmtree(self.folder, ignore_errors=True)
        with disk_errors(self.folder):
            self.folder.mkdir(parents=True)
        write_json(self._files[0], content)

    def resume(self, trainer: Trainer) -> bool:
        """Put a trainer where the fit was; False if a checkpoint is there that can't be read: the fit starts anew, and
        the trainer is of no more use."""
        checkpoint = self._files[1]
        if not checkpoint.exists():
            return True
        try:
            restore(trainer, *load_tensors(checkpoint, "the fit"))
        except (FormatMismatch, KeyError, TypeError, ValueError, RuntimeError) as error:
            note(f"the unfinished fit can't go on, {checkpoint} is damaged ({error}): it starts afresh")
            checkpoint.unlink()
            return False
        note(f"resuming at step {trainer.step}, {trainer.share:.0%} of the budget")
        return True

    def save(self, trainer: Trainer) -> None:
        """Write the checkpoint."""
        save_tensors(self._files[1], *state_of(trainer))

    def remove_files(self, folder: Path) -> None:
        """Of the job, from where the finished result is now."""
        for file in self._files:
            (folder / file.name).unlink()


def _differences(before: dict, now: dict) -> list[tuple[str, object, object]]:
    """(option, before, now) for all that differ, by its last name."""
    found = []
    for name in [*before, *(name for name in now if name not in before)]:
        a, b = before.get(name), now.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            found += _differences(a, b)
        elif a != b:
            found.append((name, a, b))
    return found
