"""The detection pass while it runs: pictures, masks and detections in blocks, from which a killed pass goes on."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np

from avatar.files import link_all, read_npz, write_json
from avatar.progress import note
from preprocess.capture.files import frame_path, mask_path

_STATE = "pass.json"


class Blocks:
    """The folder of one pass. What it holds of a pass with the same key is kept, anything else is thrown away."""

    def __init__(self, path: Path, key: str) -> None:
        self.path, self._key, self._began = path, key, time.monotonic()
        self.earlier_seconds = self._resume()
        """Time that earlier runs spent on it."""
        for name in ("frames", "masks"):
            (path / name).mkdir(parents=True, exist_ok=True)

    def load_chunks(self) -> list[dict[str, np.ndarray]]:
        """Detections of all complete blocks so far, in order."""
        chunks = []
        while (file := self._chunk(len(chunks))).is_file():
            chunks.append(read_npz(file))
        return chunks

    def save_chunk(self, index: int, arrays: dict[str, np.ndarray]) -> None:
        """Store block `index`; it appears whole or not at all."""
        # np.savez needs the suffix to be .npz.
        partial = self.path / "writing.npz"
        np.savez(partial, **arrays)  # pyright: ignore[reportArgumentType]  (its stub mixes up keywords)
        os.replace(partial, self._chunk(index))
        self._save_state()

    def mark_complete(self) -> None:
        """All frames of the source have been seen."""
        (self.path / "complete").touch()

    @property
    def complete(self) -> bool:
        """Whether all frames of the source have been seen."""
        return (self.path / "complete").is_file()

    def hand_over(self, folder: Path, start: int, stop: int) -> None:
        """Give the pictures and masks of [start, stop) their places in `folder`, from number 0; they stay here too."""
        for name in (frame_path, mask_path):
            link_all((name(self.path, index), name(folder, index - start)) for index in range(start, stop))

    def _resume(self) -> float:
        try:
            state = json.loads((self.path / _STATE).read_text())
            if state["key"] == self._key:
                if self._chunk(0).is_file():
                    note("the search for the face goes on where it was stopped")
                return float(state["seconds"])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # no pass was begun here
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True)
        self.earlier_seconds = 0.0
        self._save_state()
        return 0.0

    def _save_state(self) -> None:
        seconds = self.earlier_seconds + time.monotonic() - self._began
        write_json(self.path / _STATE, {"key": self._key, "seconds": round(seconds, 3)})

    def _chunk(self, index: int) -> Path:
        return self.path / f"{index:06d}.npz"
