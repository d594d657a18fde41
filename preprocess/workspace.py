"""Where a capture is made: a sibling folder `.NAME.partial` that becomes NAME in one rename, or can be resumed."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from pathlib import Path
from types import TracebackType

import numpy as np

from avatar.errors import BadInput, Interrupted, VisavisError
from avatar.files import cannot_write, check_output_folder, is_disk_error, partial_folder, publish_folder
from avatar.progress import note
from preprocess.capture_files import SCHEMA

_KEY_FILE = "in_progress.json"
_NEED = "about 60 KB per frame"


class Workspace:
    """Context manager around the partial folder of one run.

    An unfinished folder of the same key is taken up; one of another key is thrown away. When the block ends in an error
    that the user must act on, the folder is removed; after Ctrl-C it stays, and `Interrupted` is raised.

    Args:
        output: the capture to be.
        key: identifies source and settings; only an equal key may resume.
    """

    def __init__(self, output: Path, key: str, overwrite: bool) -> None:
        # The name is made absolute first: "." and ".." have no name of their own.
        self.output = output.expanduser().absolute()
        check_output_folder(self.output, "capture.json", SCHEMA, overwrite)
        self.path = partial_folder(self.output)
        self._key = key
        self._lock: int | None = None

    def __enter__(self) -> Workspace:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._take_lock()
            if self._unfinished_key() != self._key:
                _empty(self.path)
                (self.path / _KEY_FILE).write_text(json.dumps({"key": self._key}))
            for name in ("frames", "masks", "detections"):
                (self.path / name).mkdir(exist_ok=True)
        except OSError as error:
            raise cannot_write(self.output, error, _NEED) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if isinstance(error, KeyboardInterrupt):
                raise Interrupted(
                    f"stopped; {len(self.load_chunks())} blocks of frames are kept",
                    fix="the same command goes on from there",
                ) from error
            if isinstance(error, OSError) and is_disk_error(error):
                shutil.rmtree(self.path, ignore_errors=True)
                raise cannot_write(self.output, error, _NEED) from error
            if isinstance(error, VisavisError) and not isinstance(error, Interrupted):
                shutil.rmtree(self.path, ignore_errors=True)
        finally:
            if self._lock is not None:
                os.close(self._lock)

    def load_chunks(self) -> list[dict[str, np.ndarray]]:
        """Detections of all complete blocks so far, in order."""
        chunks = []
        while (file := self._chunk(len(chunks))).is_file():
            with np.load(file, allow_pickle=False) as z:
                chunks.append({name: z[name] for name in z.files})
        return chunks

    def save_chunk(self, index: int, arrays: dict[str, np.ndarray]) -> None:
        """Store block `index`; it appears whole or not at all."""
        # np.savez needs the suffix to be .npz.
        partial = self.path / "detections" / "writing.npz"
        np.savez(partial, **arrays)  # pyright: ignore[reportArgumentType]  (its stub mixes up keywords)
        os.replace(partial, self._chunk(index))

    def mark_complete(self) -> None:
        """All frames of the source have been seen."""
        (self.path / "detections" / "complete").touch()

    @property
    def complete(self) -> bool:
        """Whether an earlier run saw all frames."""
        return (self.path / "detections" / "complete").is_file()

    def keep_frames(self, start: int, stop: int) -> None:
        """Drop the pictures outside [start, stop) and renumber the rest from 0. From here on there is no resuming."""
        (self.path / _KEY_FILE).unlink()
        for folder in (self.path / "frames", self.path / "masks"):
            for file in sorted(folder.iterdir()):
                index = int(file.stem)
                if start <= index < stop:
                    file.rename(folder / f"{index - start:06d}{file.suffix}")
                else:
                    file.unlink()

    def publish(self) -> Path:
        """Give the finished capture its name, replacing an older capture."""
        shutil.rmtree(self.path / "detections")
        (self.path / _KEY_FILE).unlink(missing_ok=True)
        publish_folder(self.output)
        return self.output

    def _chunk(self, index: int) -> Path:
        return self.path / "detections" / f"{index:06d}.npz"

    def _take_lock(self) -> None:
        self._lock = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            raise BadInput(f"another run is making {self.output}", fix="wait for it, or choose another -o") from error

    def _unfinished_key(self) -> str | None:
        try:
            key = json.loads((self.path / _KEY_FILE).read_text())["key"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if key == self._key:
            note(f"going on with the unfinished {self.path.name}")
        return key


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()
