"""Options of commands that let an avatar talk with somebody, and what comes of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avatar.cli.common import Common
from avatar.errors import BadInput
from avatar.motion.attitudes import AttitudeName
from avatar.progress import note

if TYPE_CHECKING:
    from avatar.motion.turns import Turns

_RATE = 16_000
_LENGTHS_DIFFER_SECONDS = 1.0


@dataclass(frozen=True)
class Exchange:
    """Two sounds on one clock, and who answers the other's: a prior that has learned to, or rules."""

    name: str
    own_16k: np.ndarray
    partner_16k: np.ndarray
    attitude: AttitudeName
    by_rule: bool

    @cached_property
    def turns(self) -> Turns:
        """Who has the word when."""
        from avatar.motion.turns import Turns

        return Turns.of(self.own_16k, self.partner_16k)

    @property
    def for_the_network(self) -> np.ndarray | None:
        """The other one's sound, if a network shall answer it."""
        return None if self.by_rule else self.partner_16k

    def react(self, avatar, motion, seed: int, direct: str | None):
        """A motion in the avatar's terms with rule-based back-channels, if rules shall answer.

        Args:
            direct: directions that will be acted later, which go first.
        """
        if not self.by_rule:
            return motion
        from avatar.motion.backchannels import with_back_channels
        from avatar.motion.controls.direction_text import read_directions
        from avatar.motion.controls.rest import Rest

        rest, asked = Rest.of_avatar(avatar), () if direct is None else read_directions(direct)
        camera = rest.camera_at(avatar.camera.T_camera_world)
        return with_back_channels(motion, self.turns, self.attitude, seed=seed, rest=rest, listener=camera, asked=asked)

    @property
    def source(self) -> str:
        """For provenance."""
        answers = f"rule-based back-channels ({self.attitude})" if self.by_rule else "back-channels by the prior"
        return f"listening to {self.name}, {answers}"

    @property
    def told(self) -> dict:
        """For `--json`."""
        answers = {"by": "rules", "attitude": self.attitude} if self.by_rule else {"by": "prior", "attitude": None}
        return {"partner": self.name, "turns": self.turns.shares, "back_channels": answers}


@dataclass(frozen=True)
class Conversing(Common):
    """Somebody else speaks, too."""

    partner: Path | None = None
    """What the other one says meanwhile, from the same moment on (any audio or video file): the avatar listens. The
    clip's sound is that of --audio alone."""
    attitude: AttitudeName | None = None
    """How it takes what the other one says: nods, shakes, smile, brows and gaze by rule; neutral if not given, or as a
    prior has learned it that was trained with a partner."""

    def start(self) -> None:
        super().start()
        if self.attitude is not None and self.partner is None:
            raise BadInput("--attitude is how the other one's words are taken", fix="give their sound with --partner")

    def exchange(self, samples, listens: bool | None) -> Exchange | None:
        """The other one's sound beside our own, and who answers it; see `Talking.exchange`."""
        if self.partner is None:
            return None
        from avatar.motion.audio import load_audio

        heard = load_audio(self.partner)
        beyond = (len(heard) - len(samples)) / _RATE
        if abs(beyond) > _LENGTHS_DIFFER_SECONDS:
            what = "its end is not heard" if beyond > 0 else "from there on it is silent"
            note(f"{self.partner.name} is {abs(beyond):.1f} s {'longer' if beyond > 0 else 'shorter'}: {what}")
        partner = np.pad(heard[: len(samples)], (0, max(0, len(samples) - len(heard))))
        if listens is False and self.attitude is None:
            note("this prior was not trained with a partner: back-channels come by rule")
        by_rule = not listens or self.attitude is not None
        return Exchange(self.partner.name, samples, partner, self.attitude or "neutral", by_rule)
