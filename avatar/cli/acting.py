"""Options that say how a motion is acted, for every command that lets an avatar talk."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from avatar.cli.common import source_motion
from avatar.motion.controls.options import Dials

Sources = Annotated[
    tuple[str, ...], tyro.conf.arg(name="from", metavar="GROUP=MOTION"), tyro.conf.UseAppendAction
]  # fmt: skip


@dataclass(frozen=True)
class Acting:
    """Directions, a mood, other drivers, edits and dials, on top of whatever motion there is."""

    direct: str | None = None
    """Directions on a timeline, such as "0.5 nod; 2-4 smile 0.6; 3 look left", or a .txt or .json file with them."""
    emotion: str | None = None
    """happy, sad, angry, surprised, disgusted, afraid, contempt or calm."""
    intensity: float = 0.6
    """Of --emotion, 0 to 1."""
    sources: Sources = ()
    """Take lips, upper, lids, gaze, head (or eyes, face) from another motion, such as eyes=other.capture; audio is what
    is spoken, own the avatar's own track. Give it once per group."""
    edits: Path | None = None
    """Offsets, locks and keyframes (.edits.json) to lay over the motion."""
    dials: tyro.conf.OmitArgPrefixes[Dials] = field(default_factory=Dials)

    def check_acting(self) -> None:
        """Refuse what can't be meant before any work.

        Raises:
            BadInput: an unknown direction, mood or group, a dial out of range, edits that can't be read.
        """
        from avatar.motion.controls.direction_text import read_directions
        from avatar.motion.controls.drivers import parse_sources
        from avatar.motion.controls.edits_file import read_edits
        from avatar.motion.controls.emotion import Emotion

        self.dials.check()
        parse_sources(self.sources)
        if self.direct is not None:
            read_directions(self.direct)
        if self.emotion is not None:
            Emotion(self.emotion, self.intensity).check()
        if self.edits is not None:
            read_edits(self.edits)

    def act(self, avatar, motion, seed: int):
        """A motion in the avatar's own terms, acted: other drivers, dials, mood, directions, edits, in this order."""
        from avatar.motion.controls.dials import apply_dials
        from avatar.motion.controls.direction_text import read_directions
        from avatar.motion.controls.directions import apply_directions
        from avatar.motion.controls.drivers import combine, parse_sources
        from avatar.motion.controls.edits import apply_edits
        from avatar.motion.controls.edits_file import read_edits
        from avatar.motion.controls.emotion import Emotion, apply_emotion
        from avatar.motion.controls.rest import Rest

        rest = Rest.of_avatar(avatar)
        camera = rest.camera_at(avatar.camera.T_camera_world)
        others = {g: name for g, name in parse_sources(self.sources).items() if name != "audio"}
        loaded = {name: source_motion(avatar, name)[0] for name in set(others.values())}
        motion = combine(motion, {group: loaded[name] for group, name in others.items()})
        motion = apply_dials(motion, self.dials, seed=seed, rest=rest, listener=camera)
        if self.emotion is not None:
            motion = apply_emotion(motion, Emotion(self.emotion, self.intensity), rest)
        if self.direct is not None:
            motion = apply_directions(motion, read_directions(self.direct), rest, listener=camera)
        return motion if self.edits is None else apply_edits(motion, read_edits(self.edits), rest)
