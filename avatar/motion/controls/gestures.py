"""The vocabulary of directions: what each one does to face, eyes and head at full strength."""

from __future__ import annotations

from dataclasses import dataclass, field

Angles = tuple[float, float, float]


@dataclass(frozen=True)
class Gesture:
    """One direction. Left and right are the subject's."""

    actions: dict[str, float] = field(default_factory=dict)
    """ARKit actions that it adds (a name without its side means both); below 0: the share that it takes away."""
    head: Angles = (0.0, 0.0, 0.0)
    """Yaw to the left, pitch down, roll to the right shoulder, degrees."""
    gaze: tuple[float, float] = (0.0, 0.0)
    """Where it looks, head and eyes together: to the left, up, degrees. The eyes get there first."""
    forward: float = 0.0
    """Metres towards whom one talks to."""
    swings: int = 0
    """How often the head goes there and back; 0: it goes there and stays until the end."""
    at_me: bool = False
    """The eyes go to whoever is talked to."""
    holds: bool = False
    """Head, gaze and brows stay as they are; lips and blinks go on."""
    seconds: float = 2.0
    """How long it lasts if only its beginning is given."""
    ramp: float = 0.35
    """Seconds in which it comes and goes."""
    strength: float = 1.0
    """If none is given."""
    needs: dict[str, int] = field(default_factory=dict)
    """What it can't share with a direction that wants another value of the same."""


def _look(left: float, up: float, head: float = 0.4) -> Gesture:
    needs = {axis: int(value > 0) - int(value < 0) for axis, value in (("side", left), ("height", up)) if value}
    return Gesture(gaze=(left, up), head=(head * left, -head * up, 0.0), needs=needs)


def _head(yaw: float, pitch: float, roll: float, axis: str) -> Gesture:
    return Gesture(head=(yaw, pitch, roll), ramp=0.45, needs={axis: 1 if yaw + pitch + roll > 0 else -1})


def _turn(yaw: float) -> Gesture:
    return Gesture(head=(yaw, 0.0, 0.0), gaze=(yaw, 0.0), ramp=0.45, needs={"side": 1 if yaw > 0 else -1})


def _wink(side: str) -> Gesture:
    face = {f"eyeBlink{side}": 1.0, f"cheekSquint{side}": 0.35, f"mouthSmile{side}": 0.15}
    return Gesture(face, seconds=0.5, ramp=0.14, needs={f"lid {side}": 1})


_BOTH_LIDS = {"lid Left": 2, "lid Right": 2}

GESTURES: dict[str, Gesture] = {
    "nod": Gesture(head=(0, 10, 0), swings=2, seconds=1.1, ramp=0.15, needs={"rhythm": 1}),
    "shake head": Gesture(head=(11, 0, 0), swings=2, seconds=1.4, ramp=0.25, needs={"rhythm": 2}),
    "tilt left": _head(0, 0, -10, "tilt"),
    "tilt right": _head(0, 0, 10, "tilt"),
    "turn left": _turn(20),
    "turn right": _turn(-20),
    "chin up": _head(0, -9, 0, "chin"),
    "chin down": _head(0, 9, 0, "chin"),
    "look left": _look(24, 0),
    "look right": _look(-24, 0),
    "look up": _look(0, 20),
    "look down": _look(0, -22),
    "look away": Gesture(gaze=(22, -8), head=(9, 3, 0), needs={"side": 2, "height": 2}),
    "look at me": Gesture(at_me=True, needs={"side": 0, "height": 0}),
    "smile": Gesture({"mouthSmile": 0.75, "cheekSquint": 0.4, "mouthFrown": -1.0}, strength=0.8, needs={"mood": 1}),
    "smirk": Gesture(
        {"mouthSmileLeft": 0.6, "mouthDimpleLeft": 0.3, "mouthFrown": -1.0}, strength=0.8, needs={"mood": 1}
    ),
    "frown": Gesture(
        {"mouthFrown": 0.6, "browDown": 0.5, "mouthShrugLower": 0.2, "mouthSmile": -1.0}, strength=0.8,
        needs={"mood": -1, "brow": -1},
    ),
    "raise brows": Gesture(
        {"browInnerUp": 0.7, "browOuterUp": 0.7, "eyeWide": 0.15, "browDown": -1.0}, seconds=1.2, ramp=0.2,
        needs={"brow": 1},
    ),
    "lower brows": Gesture(
        {"browDown": 0.8, "browInnerUp": -1.0, "browOuterUp": -1.0}, seconds=1.2, ramp=0.25, needs={"brow": -1}
    ),
    "squint": Gesture({"eyeSquint": 0.8, "cheekSquint": 0.3, "eyeWide": -1.0}, seconds=1.5, needs={"eyes": -1}),
    "widen eyes": Gesture({"eyeWide": 0.8, "eyeSquint": -1.0}, seconds=1.2, ramp=0.2, needs={"eyes": 1}),
    "wink left": _wink("Left"),
    "wink right": _wink("Right"),
    "blink": Gesture({"eyeBlink": 1.0}, seconds=0.3, ramp=0.12, needs=_BOTH_LIDS),
    "close eyes": Gesture({"eyeBlink": 1.0}, seconds=1.5, ramp=0.2, needs={**_BOTH_LIDS, "eyes": -1}),
    "open mouth": Gesture({"jawOpen": 0.5, "mouthLowerDown": 0.15}, seconds=1.0, ramp=0.25, needs={"jaw": 1}),
    "pout": Gesture({"mouthPucker": 0.4, "mouthShrugLower": 0.5, "mouthSmile": -1.0}, seconds=1.5),
    "kiss": Gesture({"mouthPucker": 0.9, "mouthFunnel": 0.1, "mouthSmile": -1.0}, seconds=0.8, ramp=0.25),
    "puff cheeks": Gesture({"cheekPuff": 0.8, "mouthPress": 0.2}, seconds=1.2),
    "sneer": Gesture({"noseSneer": 0.8, "mouthUpperUp": 0.25}, seconds=1.2),
    "lean in": Gesture(forward=0.05, head=(0, -3, 0), ramp=0.7, needs={"lean": 1}),
    "lean out": Gesture(forward=-0.05, head=(0, 2, 0), ramp=0.7, needs={"lean": -1}),
    "pause": Gesture(holds=True, needs={"still": 1}),
}  # fmt: skip
