"""Which synthesisers are installed, and which of them reads."""

from __future__ import annotations

import shutil
from pathlib import Path

from avatar.errors import BadInput, MissingAsset
from avatar.motion.voices.base import Manner, Voice
from avatar.motion.voices.espeak import Espeak, library
from avatar.motion.voices.flite import Flite, pick, settings
from avatar.motion.voices.piper import GET_A_VOICE, Piper, find_voice, has_piper, voices_folder

INSTALL = {
    "piper": f"pip install 'piper-tts[alignment]' && {GET_A_VOICE} {{folder}}",
    "flite": "apt-get install flite",
    "espeak-ng": "apt-get install espeak-ng, or pip install espeakng-loader",
}


def installed(language: str = "en") -> list[str]:
    """Synthesisers that can read a language, the best first."""
    here = {
        "piper": has_piper() and find_voice(language) is not None,
        "flite": _is_english(language) and shutil.which("flite") is not None,
        "espeak-ng": library() is not None,
    }
    return [name for name, found in here.items() if found]


def choose(voice: str, manner: Manner) -> Voice:
    """A voice by name: `auto`, `espeak-ng`, `flite`, `piper`, or one with its own voice behind a colon, such as
    `flite:awb`, `espeak-ng:de+f3`, `piper:/path/to/voice.onnx`.

    Raises:
        BadInput: there is no such voice.
        MissingAsset: it is not installed.
    """
    name, _, variant = voice.partition(":")
    if name == "auto":
        name = next(iter(installed(manner.language)), "espeak-ng" if not _is_english(manner.language) else "flite")
    if name not in INSTALL:
        raise BadInput(f"unknown voice {voice!r}", expected="auto, " + ", ".join(INSTALL))
    if name == "piper":
        model = Path(variant) if variant else find_voice(manner.language)
        if model is not None and has_piper():
            return Piper(manner, model)
    elif name == "flite":
        if not _is_english(manner.language):
            raise BadInput("flite reads English only", got=f"--language {manner.language}", fix="--voice espeak-ng")
        if program := shutil.which("flite"):
            return Flite(program, pick(program, variant), settings(manner))
    elif found := library():
        return Espeak(manner, found, variant)
    raise MissingAsset(
        f"no voice to read with: {name} is not installed" + (" with a voice" if name == "piper" else ""),
        expected=f"one of {', '.join(INSTALL)}",
        got=", ".join(installed(manner.language)) or "none of them",
        fix=INSTALL[name].format(folder=voices_folder()),
    )


def _is_english(language: str) -> bool:
    return language.lower().replace("_", "-").split("-")[0] in ("en", "eng", "english")
