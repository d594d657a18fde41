"""Where a capture is made: a sibling folder `.NAME.partial` that becomes NAME in one rename, or can be resumed."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from avatar.errors import BadInput, Interrupted, VisavisError
from avatar.files import cannot_write, check_output_folder, is_disk_error, partial_folder, publish_folder
from avatar.memory import peak_rss_mb, restart_peak
from avatar.progress import note
from preprocess.capture.files import SCHEMA
from preprocess.detection.blocks import Blocks
from preprocess.stages.records import (
    FILES,
    FOLDER,
    StageRecord,
    content,
    read_records,
    remove_files,
    take_files,
    write_records,
)

_NEED = "about 70 KB per frame"
_PASS = f"{FOLDER}/pass"


class Workspace:
    """Context manager around the partial folder of one run, which makes the capture stage by stage.

    Stages that an unfinished run, or the capture that is to be replaced, has already made by the same key are taken
    over. When the block ends in an error that the user must act on, the folder is removed; after Ctrl-C it stays, and
    `Interrupted` is raised.

    Args:
        output: the capture to be.
    """

    def __init__(self, output: Path, overwrite: bool) -> None:
        # The name is made absolute first: "." and ".." have no name of their own.
        self.output = output.expanduser().absolute()
        check_output_folder(self.output, "capture.json", SCHEMA, overwrite)
        self.path = partial_folder(self.output)
        self.records: dict[str, StageRecord] = {}
        """Of the stages that this run has done or taken over."""
        self.reused: list[str] = []
        """Stages that it has taken over."""
        self._began, self._peak_rss_mb = time.monotonic(), 0.0
        self._lock: int | None = None

    def __enter__(self) -> Workspace:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._take_lock()
            unfinished = read_records(self.path)
            if unfinished is None:
                _empty(self.path)
                write_records(self.path, {})
            self._unfinished, self._older = unfinished or {}, read_records(self.output) or {}
        except OSError as error:
            raise cannot_write(self.output, error, _NEED) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if isinstance(error, KeyboardInterrupt):
                raise Interrupted(f"stopped; {self._kept()}", fix="the same command goes on from there") from error
            if isinstance(error, OSError) and is_disk_error(error):
                shutil.rmtree(self.path, ignore_errors=True)
                raise cannot_write(self.output, error, _NEED) from error
            if isinstance(error, VisavisError) and not isinstance(error, Interrupted):
                shutil.rmtree(self.path, ignore_errors=True)
        finally:
            if self._lock is not None:
                os.close(self._lock)

    def run(self, name: str, key: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The facts of stage `name`: from its record if it has been done by this `key`, else from `make`.

        Args:
            make: writes the stage's files into `path`, where none of them are, and returns its facts; time that
                earlier runs spent on it goes in as `earlier_seconds`.
        """
        record = self._taken_over(name, key)
        self.reused = [other for other in self.reused if other != name]  # the sound may be taken twice: unshifted first
        if record is None:
            note(f"{name} ...")
            record = self._made(name, key, make)
        else:
            note(f"{name}: as before")
            self.reused.append(name)
        self.records[name] = record
        return record.facts

    def blocks(self, key: str) -> Blocks:
        """Where the detection pass keeps what it has so far."""
        return Blocks(self.path / _PASS, key)

    @property
    def seconds(self) -> float:
        """Spent on this capture: by this run, and by others on what it took over."""
        reused = sum(self.records[name].seconds for name in self.reused)
        resumed = sum(r.facts.get("earlier_seconds", 0.0) for n, r in self.records.items() if n not in self.reused)
        return time.monotonic() - self._began + reused + resumed

    @property
    def peak_rss_mb(self) -> float:
        """Most memory that was held for this capture, by this run or for what it took over."""
        return max(self._peak_rss_mb, peak_rss_mb(), *(record.peak_rss_mb for record in self.records.values()))

    def publish(self) -> Path:
        """Give the finished capture its name, replacing an older capture."""
        shutil.rmtree(self.path / _PASS, ignore_errors=True)
        for name in FILES.keys() - self.records.keys():
            remove_files(self.path, name)
        for leftover in (self.path / FOLDER).glob("*.partial"):  # of a process that was killed while it wrote
            leftover.unlink()
        write_records(self.path, self.records)
        publish_folder(self.output)
        return self.output

    def _taken_over(self, name: str, key: str) -> StageRecord | None:
        for folder, records in ((self.path, self._unfinished), (self.output, self._older)):
            record = records.get(name)
            if record is None or record.key != key:
                continue
            if record.content != content(folder, name):
                note(f"{name}: its files in {folder.name} are not as it left them")
                continue
            if folder is not self.path:
                remove_files(self.path, name)
                take_files(folder, self.path, name)
                self._record(name, record)
            return record
        return None

    def _made(self, name: str, key: str, make: Callable[[], dict[str, Any]]) -> StageRecord:
        remove_files(self.path, name)
        self._peak_rss_mb = max(self._peak_rss_mb, peak_rss_mb())
        restart_peak()
        began = time.monotonic()
        facts = make()
        seconds = time.monotonic() - began + facts.get("earlier_seconds", 0.0)
        record = StageRecord(key, content(self.path, name), round(seconds, 3), round(peak_rss_mb(), 1), facts)
        self._record(name, record)
        return record

    def _record(self, name: str, record: StageRecord) -> None:
        self._unfinished[name] = record
        write_records(self.path, self._unfinished)

    def _kept(self) -> str:
        if self.records:
            return f"kept: {', '.join(self.records)}"
        blocks = len(list((self.path / _PASS).glob("[0-9]*.npz")))
        return f"kept: the detections of {blocks} blocks of frames" if blocks else "nothing was finished yet"

    def _take_lock(self) -> None:
        self._lock = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            raise BadInput(f"another run is making {self.output}", fix="wait for it, or choose another -o") from error


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()
