"""The interactive page: a viser server on this machine that shows an avatar."""

from __future__ import annotations

import contextlib
import io
import socket
import threading
import warnings

import numpy as np
import viser

from avatar.errors import BadInput
from avatar.model import Avatar
from avatar.progress import note
from viewer.panels import Panels
from viewer.render_loop import ClientLoop
from viewer.stage import Stage


class Viewer:
    """A running page. `stop()` ends it; use as a context manager to be sure of it.

    Args:
        avatar: what to show.
        host: address to listen on; the default is reachable from this machine only.
        port: the first port to try; a busy one is passed over.
        sharp_side: longer side of pictures at rest, pixels.

    Raises:
        BadInput: the address is not one of this machine's.
    """

    def __init__(self, avatar: Avatar, *, host: str = "127.0.0.1", port: int = 8080, sharp_side: int = 960) -> None:
        self.host = host
        self.stage = Stage(avatar)
        self._server = _quiet_server(host, port)
        self._loops: dict[int, ClientLoop] = {}
        self._lock = threading.Lock()
        self._aim(avatar)
        self.panels = Panels(self._server, self.stage)

        @self._server.on_client_connect
        def _(client: viser.ClientHandle) -> None:
            loop = ClientLoop(client, self.stage, sharp_side)
            with self._lock:
                self._loops[client.client_id] = loop

        @self._server.on_client_disconnect
        def _(client: viser.ClientHandle) -> None:
            with self._lock:
                loop = self._loops.pop(client.client_id, None)
            if loop:
                loop.stop()

    @property
    def port(self) -> int:
        """The port it really listens on."""
        return self._server.get_port()

    @property
    def url(self) -> str:
        return f"http://{'localhost' if self.host in ('127.0.0.1', '0.0.0.0') else self.host}:{self.port}"

    def stop(self) -> None:
        """Close the page and end all threads."""
        with self._lock:
            loops, self._loops = list(self._loops.values()), {}
        for loop in loops:
            loop.stop()
        self.panels.stop()
        with contextlib.redirect_stdout(io.StringIO()):
            self._server.stop()

    def __enter__(self) -> Viewer:
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def _aim(self, avatar: Avatar) -> None:
        """Start at the capturing camera, looking at the head; +Y is down in our world."""
        camera = avatar.camera
        self._server.scene.set_up_direction("-y")
        self._server.gui.configure_theme(dark_mode=True, show_share_button=False, show_logo=False)
        self._server.gui.set_panel_label("visavis")
        self._server.gui.main_panel.dock_right()
        start = self._server.initial_camera
        start.position = np.linalg.inv(camera.T_camera_world.astype(np.float64))[:3, 3]
        start.look_at = np.asarray(avatar.head_center, dtype=np.float64)
        start.fov = float(2 * np.arctan(camera.height / 2 / camera.fy))
        start.near = 0.01


def serve(avatar: Avatar, *, host: str = "127.0.0.1", port: int = 8080, sharp_side: int = 960) -> None:
    """Show an avatar in the browser until Ctrl-C; see `Viewer` for the arguments.

    Raises:
        BadInput: the address is not one of this machine's.
    """
    with Viewer(avatar, host=host, port=port, sharp_side=sharp_side) as viewer, contextlib.suppress(KeyboardInterrupt):
        note(f"the viewer runs at {viewer.url} (Ctrl-C ends it)")
        note(
            f"from another computer: ssh -N -L {viewer.port}:localhost:{viewer.port} {socket.gethostname()}"
            f"   and open http://localhost:{viewer.port} there"
        )
        threading.Event().wait()
    note("the viewer is closed")


def _quiet_server(host: str, port: int) -> viser.ViserServer:
    """A viser server that leaves stdout alone: there our commands print their results."""
    with contextlib.closing(socket.socket()) as probe:
        try:
            probe.bind((host, 0))
        except OSError as error:
            raise BadInput(
                f"cannot listen on {host}", got=error.strerror or str(error), fix="leave --host away"
            ) from error
    # A browser may leave while its last picture is on the way; viser warns about each such picture.
    warnings.filterwarnings("ignore", message="Queued a .* on a closed connection")
    with contextlib.redirect_stdout(io.StringIO()):
        return viser.ViserServer(host=host, port=port, verbose=False)
