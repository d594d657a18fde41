"""Commands that let an avatar talk: drive (a recording), say (a text)."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import tyro

from avatar.cli.acting import Acting
from avatar.cli.common import Pictures, cut, prepare
from avatar.cli.conversing import Conversing, Exchange
from avatar.cli.manner import Manner
from avatar.errors import BadInput
from avatar.progress import note

_BEYOND_SECONDS = 1.0
"""Phones that end so much later than the sound belong to another one."""


@dataclass(frozen=True)
class Talking(Manner, Acting, Pictures):
    """Options of commands that turn speech into a clip."""

    seed: int = 0
    """Chooses blinks, gaze and head motion."""
    prior: Path | None = None
    """A motion prior (visavis train-prior) that moves the face; rules do if not given."""
    rung: Literal["flow", "l0"] | None = None
    """Which rung of the prior: its flow network, or l0; the best that was trained if not given."""
    stream: bool = False
    """Drive as if the sound came live: frame by frame, with little to look ahead."""

    def start(self) -> None:
        super().start()
        self.check_acting()
        if self.prior is None and (self.rung or self.stream):
            raise BadInput("--rung and --stream belong to a prior", fix="give one with --prior")
        if self.stream and self.rung == "l0":
            raise BadInput("only the flow network streams", got="--rung l0", fix="leave --rung or --stream out")
        network = self.prior is not None and self.rung != "l0"
        self.check_manner(network=network, fix="give a prior with --prior, and not --rung l0")

    def motion(self, avatar, samples, phones, prior, exchange: Exchange | None):
        """Speech, with its phones where they are known, as motion: here the driver is chosen."""
        neutral, fps = avatar.driving.rest_expression.numpy(), self.fps or 25
        if prior is None:
            from avatar.motion.rules import drive

            return drive(samples, seed=self.seed, fps=fps, neutral=neutral, phones=phones)
        from avatar.motion.prior.drive import drive

        partner = None if exchange is None else exchange.for_the_network
        return drive(
            prior, samples, seed=self.seed, fps=fps, neutral=neutral, rung=self.rung_of(prior), partner_16k=partner,
            sampling=self.sampling(),
        )  # fmt: skip

    def loaded_prior(self, avatar):
        """The prior in the style that is asked for, if one was named; says so if it was trained on another head."""
        if self.prior is None:
            return None
        from avatar.motion.prior.checkpoint import Prior

        prior = Prior.load(self.prior)
        trained_on = prior.about.get("head", {})
        if trained_on.get("hash") != avatar.head.content_hash:
            theirs, ours = trained_on.get("name"), avatar.head.name
            note(f"{self.prior.name} was trained on another head model ({theirs}) than the avatar's ({ours}):")
            note("its actions are played as they are, and may open or close the lips too far")
        if self.rung_of(prior) == "l0":
            self.check_manner(network=False, fix="train the prior with --preset quick or default")
        return self.styled(prior)

    def rung_of(self, prior) -> Literal["flow", "l0", "stream"]:
        """Which part of a prior drives."""
        return "stream" if self.stream else self.rung or ("flow" if prior.weights else "l0")

    def exchange(self, samples, listens: bool | None) -> Exchange | None:
        """The conversation that this sound is one side of; none, but for commands that are told the other one's.

        Args:
            listens: whether the prior was trained with a partner; None if there is no prior.
        """
        return None

    @property
    def driver(self) -> str:
        """What moves the face, for people and provenance."""
        return "rules" if self.prior is None else f"prior {self.prior.name}{self.manner}"

    def perform(self, avatar, audio: Path, phones, source: str) -> dict:
        """Render an avatar that says what a sound file says; `source` names that in the provenance."""
        from avatar.export.cameras import front
        from avatar.export.clip import render_clip
        from avatar.export.provenance import Provenance
        from avatar.motion.audio import load_audio

        samples = load_audio(audio)
        check_phones(phones, len(samples) / 16_000)
        prior = self.loaded_prior(avatar)
        listens = None if prior is None else prior.listens and self.rung_of(prior) != "l0"
        exchange = self.exchange(samples, listens)
        spoken = self.motion(avatar, samples, phones, prior, exchange)
        own = avatar.driving.retarget(spoken, expression_is_relative=False)
        if exchange is not None:
            own = exchange.react(avatar, own, self.seed, self.direct)
        motion = cut(self.act(avatar, own, self.seed), self.max_seconds)
        prepared = prepare(avatar, motion, audio)
        support = prepared.support.summary()
        source = source if self.prior is None else f"{source}, moved by {self.driver}"
        source = source if exchange is None else f"{source}, {exchange.source}"
        provenance = Provenance(avatar=avatar.content_hash, source=source, support=support, seed=self.seed)
        options, camera = self.options(audio), front(avatar.camera)
        frames = render_clip(avatar, prepared, camera, self.output, options=options, provenance=provenance)
        seconds = round(len(motion) / (self.fps or 25), 3)
        lips = "heard" if phones is None or self.prior is not None else "phones"
        told = {"seconds": seconds, "driver": self.driver, "lips": lips, "support": support}
        told |= {} if exchange is None else exchange.told
        return {"clip": str(self.output), "frames": frames} | told


@dataclass(frozen=True)
class Drive(Conversing, Talking):
    """Let an avatar speak a recording: rules turn speech into visemes, blinks and small head motion, or a prior does.

    Example: visavis drive me.avatar --audio speech.wav -o talk.mp4
    Example: visavis drive me.avatar --audio speech.wav --prior me.prior -o talk.mp4
    Example: visavis drive me.avatar --audio speech.wav --prior shared.prior --style other.capture -o talk.mp4
    Example: visavis drive me.avatar --audio speech.wav --phones speech.TextGrid -o talk.mp4
    Example: visavis drive me.avatar --audio speech.wav --direct "0.5 nod; 2-4 smile" --composed -o talk.mp4
    Example: visavis drive me.avatar --audio mine.wav --partner theirs.wav --attitude agreeing -o talk.mp4
    """

    audio: Path = field(kw_only=True)
    """Any audio or video file with speech."""
    phones: Path | None = None
    """What it says and when, from a forced aligner or a synthesiser: a Praat .TextGrid, or .lab (HTS, xwaves). Lips
    follow it instead of what is heard."""

    def run(self) -> dict:
        from avatar.model import load
        from avatar.motion.phone_files import read_phones

        phones = None if self.phones is None else read_phones(self.phones)
        return self.perform(load(self.avatar, gaussians=self.gaussians), self.audio, phones, self.audio.name)


@dataclass(frozen=True)
class Say(Talking):
    """Let an avatar say a text, with the voice of an installed synthesiser (piper, flite or espeak-ng).

    Example: visavis say me.avatar "Good morning to you all." -o talk.mp4
    Example: visavis say me.avatar --text-file notes.txt --language de --voice espeak-ng -o talk.mp4
    """

    text: tyro.conf.Positional[str] = ""
    """What to say; plain text, no markup."""
    text_file: Path | None = None
    """A text file (UTF-8) to read instead; - for standard input."""
    voice: str = "auto"
    """auto (the best that is installed), piper, flite or espeak-ng; with a voice of its own behind a colon:
    flite:awb, espeak-ng:en-us+f3, piper:/path/to/voice.onnx."""
    language: str = "en"
    """Language of the text, such as de or pt-br; flite reads English only."""
    pace: float = 1.0
    """Speed of the voice beside its own, 0.5 to 2."""
    pitch: float = 1.0
    """Height of the voice beside its own, 0.5 to 2; not with piper."""
    keep_audio: Path | None = None
    """Keep the voice's sound in this .wav, too."""

    def start(self) -> None:
        super().start()
        if bool(self.text) == (self.text_file is not None):
            raise BadInput(
                "there is nothing to say" if not self.text else "there are two texts to say",
                expected='one of "text" and --text-file',
            )
        if self.keep_audio is not None and self.keep_audio.exists() and not self.overwrite:
            raise BadInput(f"{self.keep_audio} exists", fix="add --overwrite to replace it, or choose another")

    def run(self) -> dict:
        from avatar.model import load
        from avatar.motion.voices.base import Manner
        from avatar.motion.voices.choice import choose
        from avatar.motion.voices.speaking import say

        text = self.text if self.text_file is None else read_text(self.text_file)
        avatar = load(self.avatar, gaussians=self.gaussians)
        voice = choose(self.voice, Manner(self.language, self.pace, self.pitch, self.seed))
        with self._sound() as wav:
            spoken = say(text, voice, wav, max_seconds=self.max_seconds)
            if spoken.phones is None:
                note(f"{voice.name} does not tell its phones: lips follow what is heard")
            result = self.perform(avatar, wav, spoken.phones, f"text read by {voice.name}")
        kept = {} if self.keep_audio is None else {"audio": str(self.keep_audio)}
        return result | {"voice": voice.name} | kept

    @contextmanager
    def _sound(self) -> Iterator[Path]:
        """Where the voice's sound goes."""
        from avatar.files import atomic_path

        if self.keep_audio is not None:
            with atomic_path(self.keep_audio) as wav:
                yield wav
        else:
            with tempfile.TemporaryDirectory() as folder:
                yield Path(folder) / "speech.wav"


def read_text(path: Path) -> str:
    """A text file, or standard input.

    Raises:
        BadInput: there is none, or it is not UTF-8.
    """
    try:
        raw = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        return raw.decode("utf-8-sig")
    except OSError as error:
        raise BadInput(f"can't read {path}", expected="a text file", got=error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise BadInput(
            f"{path} is not UTF-8", expected="text in UTF-8", got=str(error), fix="save it as UTF-8"
        ) from error


def check_phones(phones, sound_seconds: float) -> None:
    """Refuse phones of another recording.

    Raises:
        BadInput: they go on long after its end.
    """
    end = phones[-1].end_seconds if phones else 0.0
    if end > sound_seconds + _BEYOND_SECONDS:
        raise BadInput(
            "the phones belong to another recording", expected=f"phones within {sound_seconds:.1f} s of sound",
            got=f"phones up to {end:.1f} s", fix="give the labels of this --audio",
        )  # fmt: skip
    if phones and end < 0.5 * sound_seconds:
        note(f"warning: the phones end at {end:.1f} s of {sound_seconds:.1f} s; from there on the mouth rests")
