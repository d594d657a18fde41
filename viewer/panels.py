"""The controls: playback, sliders of the face, background, reset. One set, shared by all browsers."""

from __future__ import annotations

import threading
from functools import partial

import viser

from avatar.export.clip import Background
from viewer.face import (
    GAZE_RANGE_DEGREES,
    HEAD_RANGE_DEGREES,
    Face,
    action_groups,
    face_to_params,
    params_to_face,
)
from viewer.stage import Stage

BACKGROUNDS: dict[str, Background] = {
    "Room": "plate", "Black": "none", "Grey": (0.5, 0.5, 0.5), "White": (1.0, 1.0, 1.0), "Green": (0.0, 0.69, 0.25),
}  # fmt: skip
_GAZE = ("Gaze left-right", "Gaze down-up")
_HEAD = ("Turn", "Nod", "Tilt")
_TICK_SECONDS = 0.2


class Panels:
    """Builds the controls, applies what the user moves to the stage, and lets them follow the track."""

    def __init__(self, server: viser.ViserServer, stage: Stage) -> None:
        self.server, self.stage = server, stage
        self.sliders: dict[str, viser.GuiSliderHandle[float]] = {}
        self._loaded: dict[str, tuple[float, float]] = {}
        self._offset = (0.0, 0.0, 0.0)
        self._taking_over = threading.Lock()
        self._add_playback()
        self._add_face()
        self._show_rest()
        self._stopping = threading.Event()
        self._ticker = threading.Thread(target=self._tick, name="timeline", daemon=True)
        self._ticker.start()

    def stop(self) -> None:
        """End the timeline's thread."""
        self._stopping.set()
        self._ticker.join(timeout=5)

    def face(self) -> Face:
        """The face as the sliders stand; one that was not touched keeps what was loaded into it, unrounded."""
        value = {name: float(slider.value) for name, slider in self.sliders.items()}
        value = {name: exact if value[name] == shown else value[name] for name, (exact, shown) in self._loaded.items()}
        gaze, head = (value.pop(_GAZE[0]), value.pop(_GAZE[1])), tuple(value.pop(name) for name in _HEAD)
        return Face(value, gaze, (head[0], head[1], head[2]), self._offset)

    def set_face(self, face: Face, *, keep: str | None = None) -> None:
        """Move the sliders, without effect on the stage; `keep` names one that stays."""
        self._offset = face.offset
        with self.server.atomic():
            for name, exact in _values(face).items():
                slider = self.sliders[name]
                # Tracked actions reach a little beyond 0..1; the slider shows the nearest value it has.
                shown = round(min(max(exact, slider.min), slider.max), 3)
                self._loaded[name] = (exact, shown)
                if name != keep:
                    slider.value = shown

    def _add_playback(self) -> None:
        gui, last = self.server.gui, self.stage.duration_seconds
        with gui.add_folder("Playback"):
            self.play = gui.add_checkbox("Play", False, hint="The person's own track, as recorded")
            step = round(1 / self.stage.fps, 3)
            self.time = gui.add_slider("Time (s)", 0.0, max(round(last, 2), step), step, 0.0)
            self.background = gui.add_dropdown("Background", tuple(BACKGROUNDS), initial_value="Room")
            self.reset = gui.add_button("Reset face and view")
        self.play.on_update(self._on_play)
        self.time.on_update(self._on_time)
        self.background.on_update(lambda _: self.stage.set_background(BACKGROUNDS[self.background.value]))
        self.reset.on_click(self._on_reset)

    def _add_face(self) -> None:
        for title, names in action_groups().items():
            if title == "Jaw":  # after the common ones
                self._add_pose()
            with self.server.gui.add_folder(title, expand_by_default=title == "Common"):
                for name in names:
                    self._add_slider(name, 0.0, 1.0, 0.01)

    def _show_rest(self) -> None:
        self.set_face(params_to_face(self.stage.rest, self.stage.rest))
        # Through the sliders' terms, so that touching one changes nothing else.
        self.stage.show_face(face_to_params(self.face(), self.stage.rest))

    def _add_pose(self) -> None:
        with self.server.gui.add_folder("Gaze and head (degrees)"):
            for name in _GAZE:
                self._add_slider(name, -GAZE_RANGE_DEGREES, GAZE_RANGE_DEGREES, 0.5)
            for name in _HEAD:
                self._add_slider(name, -HEAD_RANGE_DEGREES, HEAD_RANGE_DEGREES, 0.5)

    def _add_slider(self, name: str, low: float, high: float, step: float) -> None:
        slider = self.server.gui.add_slider(name, low, high, step, 0.0)
        slider.on_update(partial(self._on_slider, name))
        self.sliders[name] = slider

    def _on_slider(self, name: str, event: viser.GuiEvent) -> None:
        if event.client is None:  # moved by us, not by the user
            return
        with self._taking_over:
            if self.stage.on_track:
                # The hand takes over from the track: every other slider starts from the frame on show.
                self.set_face(params_to_face(self.stage.params(), self.stage.rest), keep=name)
            self.stage.show_face(face_to_params(self.face(), self.stage.rest))
        self.play.value = False

    def _on_play(self, event: viser.GuiEvent) -> None:
        if event.client is not None:
            self.stage.play(self.play.value)

    def _on_time(self, event: viser.GuiEvent) -> None:
        if event.client is not None:
            self.stage.seek(self.time.value)

    def _on_reset(self, event: viser.GuiEvent) -> None:
        self.play.value = False
        self._show_rest()
        if event.client is not None:
            home = self.server.initial_camera
            with event.client.atomic():
                event.client.camera.position = home.position
                event.client.camera.look_at = home.look_at
                event.client.camera.up_direction = (0.0, -1.0, 0.0)
                event.client.camera.fov = home.fov

    def _tick(self) -> None:
        while not self._stopping.wait(_TICK_SECONDS):
            if self.stage.playing:
                self.time.value = round(self.stage.position(), 2)


def _values(face: Face) -> dict[str, float]:
    """A face as one number per slider."""
    return face.actions | dict(zip(_GAZE, face.gaze, strict=True)) | dict(zip(_HEAD, face.head, strict=True))
