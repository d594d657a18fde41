"""Options that say how a motion prior moves, for every command that plays one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from avatar.errors import BadInput
from avatar.progress import note

_FEW_SPEAKERS = 3


@dataclass(frozen=True)
class Manner:
    """Style, guidance and temperature of the flow network."""

    style: Path | None = None
    """Move in the manner of this clip's person (a capture): extent, speed and rest of lips, face and head, blinks and
    glances. With --prior, best one of several speakers."""
    style_amount: float = 1.0
    """0 is the prior's own style, 1 that of --style, above 1 overdoes it, up to 3."""
    guidance: str | None = None
    """How far the sound is obeyed, 0 to 5; 1 if not given. With --prior. One number, or head=1.5,upper=2."""
    temperature: str | None = None
    """How much chance there is in the motion, 0 to 2: lips 0.3, all else 1 if not given. With --prior. One number, or
    head=1.5,upper=0.5."""

    def check_manner(self, *, network: bool, fix: str) -> None:
        """Refuse what can't be meant before any work.

        Args:
            network: whether the flow network of a prior will move.
            fix: what makes it do so.

        Raises:
            BadInput: options without a network, an unknown group, a number out of range, no such capture.
        """
        from avatar.motion.prior.borrowed_style import check_amount

        if not network and (self.style or self.guidance is not None or self.temperature is not None):
            raise BadInput("--style, --guidance and --temperature belong to the flow network of a prior", fix=fix)
        if self.style is None and self.style_amount != 1:
            raise BadInput("--style-amount of what?", fix="name a clip with --style other.capture")
        check_amount(self.style_amount)
        self.sampling()
        if self.style is not None and not (self.style / "capture.json").is_file():
            raise BadInput(f"--style {self.style} is no capture", expected="a folder that `visavis preprocess` wrote")

    def sampling(self):
        """How motion is drawn."""
        from avatar.motion.prior.sampling import Sampling

        usual = Sampling()
        return Sampling(
            guidance=usual.guidance | by_group("--guidance", self.guidance),
            temperature=usual.temperature | by_group("--temperature", self.temperature),
        )

    def styled(self, prior):
        """The prior, moving in the style that is asked for.

        Raises:
            BadInput: too little of the clip was tracked.
            FormatMismatch: the capture can't be read.
        """
        if self.style is None:
            return prior
        from avatar.motion.prior.borrowed_style import ENOUGH_SECONDS, BorrowedStyle
        from preprocess.capture import CaptureFolder

        capture = CaptureFolder.load(self.style)
        if capture.head_hash != prior.about.get("head", {}).get("hash"):
            note(f"{self.style.name} was tracked on another head model than the prior's: its style is told roughly")
        style = BorrowedStyle.of_capture(prior, capture)
        if style.seconds < ENOUGH_SECONDS:
            note(f"warning: {style.seconds:.1f} s tell little of a style; {ENOUGH_SECONDS:g} s or more tell better")
        if len(prior.about.get("speakers", ())) < _FEW_SPEAKERS and not prior.about.get("personalised_from"):
            note("this prior knows few speakers: of the style it takes over blinks and glances, and hardly more")
        return style.onto(prior, self.style_amount)

    @property
    def manner(self) -> str:
        """What of it was asked for, for people and provenance; nothing if nothing was."""
        style = "" if self.style is None else f", in the style of {self.style.name} (amount {self.style_amount:g})"
        dials = {"guidance": self.guidance, "temperature": self.temperature}
        return style + "".join(f", {name} {value}" for name, value in dials.items() if value is not None)


def by_group(option: str, text: str | None) -> dict[str, float]:
    """A number for every group, or some groups with one each, such as head=1.5,upper=2; nothing gives none.

    Raises:
        BadInput: neither, or a group that is named twice.
    """
    from avatar.motion.groups import GROUP_NAMES

    if text is None:
        return {}
    found = dict[str, float]()
    for part in text.split(","):
        group, equals, number = (piece.strip() for piece in part.rpartition("="))
        try:
            value = float(number)
        except ValueError:
            value = None
        alone = not equals and "," not in text
        if value is None or group in found or not (alone or (equals and group)):
            raise BadInput(f"{option} can't be read", expected=f"{option} 1.5 or head=1.5,upper=2", got=text)
        found |= dict.fromkeys(GROUP_NAMES, value) if alone else {group: value}
    return found
