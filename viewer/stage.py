"""What is on show: the person's own track at some time, or a face set by sliders. Shared by all connected browsers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from avatar.driving import PreparedMotion, still_motion
from avatar.export.clip import Background, frames_at_rate
from avatar.model import Avatar
from avatar.types import HeadParams


@dataclass(frozen=True)
class Shot:
    """One moment to render. Equal keys give equal pictures from the same camera."""

    prepared: PreparedMotion
    index: int
    background: Background
    playing: bool
    key: tuple


class Stage:
    """Thread-safe holder of what is shown; calls `on_change` listeners after every change."""

    def __init__(self, avatar: Avatar) -> None:
        self.avatar = avatar
        self.rest = avatar.default_params()
        self.own = avatar.own
        self.fps = self.own.fps
        self._shown = frames_at_rate(self.own.timestamps_seconds, self.fps)
        self.duration_seconds = len(self._shown) / self.fps
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []
        self._face: PreparedMotion | None = avatar.prepare(still_motion(self.rest))
        self._version = 0
        self._background: Background = "plate"
        self._position, self._playing_since = 0.0, None

    def on_change(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` after every change; returns a function that ends this."""
        with self._lock:
            self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    @property
    def playing(self) -> bool:
        return self._playing_since is not None

    @property
    def on_track(self) -> bool:
        """Whether the own track is shown rather than a face set by hand."""
        return self._face is None

    def position(self) -> float:
        """Seconds into the own track; it loops while playing."""
        since = self._playing_since
        run = time.monotonic() - since if since is not None else 0.0
        return (self._position + run) % self.duration_seconds

    def shot(self) -> Shot:
        """What to render now."""
        with self._lock:
            if self._face is not None:
                key = ("face", self._version, self._background)
                return Shot(self._face, 0, self._background, False, key)
            index = int(self._shown[min(int(self.position() * self.fps), len(self._shown) - 1)])
            return Shot(self.own, index, self._background, self.playing, ("own", index, self._background))

    def params(self) -> HeadParams:
        """Head parameters on show."""
        shot = self.shot()
        return shot.prepared.frame(shot.index).params

    def show_face(self, params: HeadParams) -> None:
        """Stop playing and show a face set by hand."""
        prepared = self.avatar.prepare(still_motion(params))
        with self._lock:
            self._position, self._playing_since = self.position(), None
            self._face, self._version = prepared, self._version + 1
        self._changed()

    def seek(self, seconds: float) -> None:
        """Show the own track at a time; goes on playing if it was."""
        with self._lock:
            self._face = None
            self._position = min(max(seconds, 0.0), self.duration_seconds - 0.5 / self.fps)
            self._playing_since = time.monotonic() if self.playing else None
        self._changed()

    def play(self, on: bool) -> None:
        """Run or hold the own track."""
        with self._lock:
            self._face = None
            self._position, self._playing_since = self.position(), time.monotonic() if on else None
        self._changed()

    def set_background(self, background: Background) -> None:
        """What lies behind the head: the captured room, nothing, or a colour."""
        with self._lock:
            self._background = background
        self._changed()

    def _changed(self) -> None:
        for listener in tuple(self._listeners):
            listener()
