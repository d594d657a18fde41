"""One rendering thread per connected browser: small pictures while something moves, a sharp one when it rests."""

from __future__ import annotations

import threading
import time

import numpy as np
import viser
from scipy.spatial.transform import Rotation

from avatar.driving import motion_params
from avatar.limits import Limits
from avatar.types import Camera
from viewer.stage import Shot, Stage

SETTLE_SECONDS = 0.15
"""Nothing has moved for this long: render sharp."""
MOVING_JPEG_QUALITY, SHARP_JPEG_QUALITY = 75, 92
_READOUT_SECONDS = 0.5


class MovingSize:
    """Longer side of pictures in motion, steered so that a picture takes about `target_seconds`."""

    def __init__(self, low: int = 160, high: int = 960, target_seconds: float = 1 / 25) -> None:
        self.low, self.high, self.target_seconds = low, high, target_seconds
        self._size = 384.0

    @property
    def pixels(self) -> int:
        """Multiple of 16, so that small changes of load don't make the picture breathe."""
        return int(np.clip(round(self._size / 16) * 16, self.low, self.high))

    def measured(self, pixels: int, seconds: float) -> None:
        """Learn from a picture of `pixels` that took `seconds`: time grows with the area at most."""
        ideal = pixels * np.clip(np.sqrt(self.target_seconds / max(seconds, 1e-4)), 0.5, 1.5)
        self._size = float(np.clip(0.7 * self._size + 0.3 * ideal, self.low, self.high))


def to_camera(wxyz: np.ndarray, position: np.ndarray, fov_y_radians: float, width: int, height: int) -> Camera:
    """Our camera from viser's: both have OpenCV axes; viser gives the pose of the camera in the world."""
    T_world_camera = np.eye(4)
    T_world_camera[:3, :3] = Rotation.from_quat(wxyz, scalar_first=True).as_matrix()
    T_world_camera[:3, 3] = position
    focal = height / 2 / np.tan(fov_y_radians / 2)
    pose = np.linalg.inv(T_world_camera).astype(np.float32)
    return Camera(width, height, focal, focal, width / 2, height / 2, pose)


class ClientLoop:
    """Keeps one browser's picture up to date."""

    def __init__(self, client: viser.ClientHandle, stage: Stage, sharp_side: int = 960) -> None:
        self.client, self.stage, self.sharp_side = client, stage, sharp_side
        self.size = MovingSize(high=sharp_side)
        self._readout = client.gui.add_markdown("waiting for the first picture", order=-1)
        self._readout_at, self._pictures, self._latency = 0.0, 0, 0.0
        self._wake, self._stopping = threading.Event(), False
        self._asked_at = time.monotonic()
        self._forget = stage.on_change(self.wake)
        client.camera.on_update(lambda _: self.wake())
        self._thread = threading.Thread(target=self._run, name=f"render-{client.client_id}", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Something may have changed."""
        if not self._wake.is_set():
            self._asked_at = time.monotonic()
        self._wake.set()

    def stop(self) -> None:
        """End the thread; returns when it has ended."""
        self._stopping = True
        self._forget()
        self._wake.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        shown, sharp, changed_at = None, False, 0.0
        while not self._stopping:
            self._wake.clear()
            shot, view = self.stage.shot(), self._view()
            now = time.monotonic()
            if (shot.key, view) != shown:
                # The first picture and lone clicks come sharp at once if the machine is quick enough for it.
                changed_at, shown = now, (shot.key, view)
                sharp = self._render(shot, view, self.size.pixels, MOVING_JPEG_QUALITY) >= self._sharp(view)
            elif not sharp and not shot.playing and now - changed_at >= SETTLE_SECONDS:
                self._render(shot, view, self._sharp(view), SHARP_JPEG_QUALITY)
                sharp = True
            else:
                self._wake.wait(self._pause(shot, sharp))

    def _pause(self, shot: Shot, sharp: bool) -> float | None:
        """How long nothing can happen unasked."""
        if shot.playing:
            return 0.25 / self.stage.fps
        return None if sharp else SETTLE_SECONDS / 4

    def _view(self) -> tuple:
        """The browser's camera, comparable: orientation, position, field of view, canvas."""
        camera = self.client.camera
        pose = (*np.round(camera.wxyz, 5).tolist(), *np.round(camera.position, 5).tolist())
        return (*pose, round(camera.fov, 5), camera.image_width, camera.image_height)

    def _sharp(self, view: tuple) -> int:
        return int(min(self.sharp_side, max(view[-2:])))

    def _render(self, shot: Shot, view: tuple, long_side: int, quality: int) -> int:
        start = time.monotonic()
        long_side = min(long_side, self._sharp(view))
        full = to_camera(np.array(view[:4]), np.array(view[4:7]), view[7], max(view[8], 1), max(view[9], 1))
        camera = full.with_long_side(long_side)
        image = self.stage.avatar.frame(shot.prepared, shot.index, camera, background=shot.background)
        seconds = time.monotonic() - start
        self.client.scene.set_background_image(image, format="jpeg", jpeg_quality=quality)
        self.client.flush()
        if quality == MOVING_JPEG_QUALITY:
            self.size.measured(long_side, time.monotonic() - start)
        self._count(shot, camera, seconds, sharp=quality == SHARP_JPEG_QUALITY)
        return long_side

    def _count(self, shot: Shot, camera: Camera, seconds: float, sharp: bool) -> None:
        """Bring the readout up to date, twice a second at most: it shares its wire with the pictures."""
        now = time.monotonic()
        self._pictures += 1
        self._latency = self._latency if sharp else now - self._asked_at
        if now - self._readout_at < _READOUT_SECONDS and not sharp:
            return
        rate = self._pictures / (now - self._readout_at)
        self._readout_at, self._pictures = now, 0
        pace = (
            f"{rate:.0f} pictures a second" if self.stage.playing else f"{1000 * self._latency:.0f} ms after the change"
        )
        pictures = f"{camera.width} x {camera.height} px, rendered in {1000 * seconds:.0f} ms, {pace}"
        guessed = beyond_limits(self.stage.avatar.limits, shot, camera)
        self._readout.content = "\n\n".join(filter(None, (pictures, supported(shot), guessed)))


def beyond_limits(limits: Limits, shot: Shot, camera: Camera) -> str:
    """A note on views that were not filmed; empty for others."""
    head = motion_params(shot.prepared.motion, shot.index)
    beyond = limits.beyond(head.rotation.numpy(), head.translation.numpy(), camera)
    return f"*a guess: seen {beyond}*" if beyond else ""


def supported(shot: Shot) -> str:
    """How far what is shown lies inside of what the avatar was fitted on, and if it does not, why."""
    support = shot.prepared.support
    share = f"{support.lowest[shot.index]:.0%} supported by the training"
    reasons = support.reasons(shot.index)
    return f"**{share}: {', '.join(reasons)}**" if reasons else share
