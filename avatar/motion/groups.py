"""The groups of channels that motion is made of, edited and mixed by."""

from __future__ import annotations

from avatar.head.arkit import ARKIT_NAMES

_PREFIXES = {
    "lips": ("jaw", "mouth", "cheekPuff", "tongueOut", "noseSneer"),
    "upper": ("brow", "cheekSquint", "eyeSquint", "eyeWide"),
    "lids": ("eyeBlink",),
    "gaze": ("eyeLook",),
    "head": (),
}
GROUP_NAMES = tuple(_PREFIXES)
GROUPS: dict[str, tuple[int, ...]] = {
    group: tuple(i for i, name in enumerate(ARKIT_NAMES) if name.startswith(prefixes) and prefixes)
    for group, prefixes in _PREFIXES.items()
}
"""ARKit actions of each group; every action is in one. The head has none: it is rotation, translation and the neck."""
