"""espeak-ng: a hundred languages, and it tells when each phone begins. Through its library, in a process of its own."""

from __future__ import annotations

import ctypes.util
import importlib.util
import math
from collections.abc import Generator, Iterable
from dataclasses import dataclass

from avatar.motion.voices.base import Manner, Utterance
from avatar.motion.voices.child import ask


def library() -> tuple[str, str] | None:
    """File and data folder ("" for its own) of libespeak-ng: the system's, else that of the package espeakng-loader."""
    if found := ctypes.util.find_library("espeak-ng"):
        return found, ""
    if importlib.util.find_spec("espeakng_loader"):
        import espeakng_loader

        return espeakng_loader.get_library_path(), espeakng_loader.get_data_path()
    return None


@dataclass(frozen=True)
class Espeak:
    """A voice of espeak-ng, by its name or its language."""

    manner: Manner
    library: tuple[str, str]
    variant: str = ""
    """Voice as `espeak-ng --voices` names it, such as `en-us` or `de+f3`; that of the language if empty."""

    @property
    def name(self) -> str:
        return f"espeak-ng {self.variant or self.manner.language}"

    def read(self, pieces: Iterable[str]) -> Generator[Utterance, None, None]:
        rate = round(175 * self.manner.pace)
        # Its scale of 0 to 100 is about two octaves around 50.
        pitch = round(50 + 50 * math.log2(self.manner.pitch))
        arguments = [*self.library, self.variant or self.manner.language, str(rate), str(pitch)]
        return ask(self.name, "avatar.motion.voices.espeak_child", arguments, pieces)
