"""Commands that show an avatar: render, export, view."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from avatar.cli.common import Computing, Input, Pictures, resolve_motion
from avatar.errors import BadInput


@dataclass(frozen=True)
class Render(Pictures):
    """Render a motion on an avatar: its own track, another capture's, or a motion file.

    Example: visavis render me.avatar --camera orbit -o orbit.mp4
    """

    motion: str = "own"
    """own, a capture folder, an avatar folder, or a motion file (.npz; .csv, also a take of Live Link Face)."""
    camera: str = "front"
    """front, orbit, or a camera path (.json)."""
    yaw: float = 15.0
    """Amplitude of the orbit, degrees."""
    period: float = 6.0
    """Seconds of one swing of the orbit."""

    def run(self) -> dict:
        from avatar.export.cameras import front, orbit, read_path
        from avatar.export.clip import render_clip
        from avatar.export.provenance import Provenance
        from avatar.model import load

        avatar = load(self.avatar, gaussians=self.gaussians)
        prepared, audio = resolve_motion(avatar, self.motion, self.max_seconds)
        if self.camera == "front":
            camera_at = front(avatar.camera)
        elif self.camera == "orbit":
            camera_at = orbit(avatar.camera, avatar.head_center, seconds=self.period, yaw_degrees=self.yaw)
        else:
            camera_at = read_path(Path(self.camera))
        support = prepared.support.summary()
        provenance = Provenance(avatar=avatar.content_hash, source=self.motion, support=support)
        frames = render_clip(
            avatar, prepared, camera_at, self.output, options=self.options(audio), provenance=provenance
        )
        return {"clip": str(self.output), "frames": frames, "audio": audio is not None, "support": support}


@dataclass(frozen=True)
class Export(Pictures):
    """Export a stereo pair, a ring of synchronised views, or the splats of one frame.

    Example: visavis export me.avatar --stereo sbs -o me_sbs.mp4
    Example: visavis export me.avatar --multiview ring --views 8 -o ring
    Example: visavis export me.avatar --splats --gaussians 10000 -o me.ply
    """

    stereo: Literal["sbs"] | None = None
    """Side-by-side clip for headsets and 3D screens."""
    ipd_mm: float = 63.0
    """Distance of the eyes."""
    multiview: Literal["ring"] | None = None
    """A folder of clips from cameras around the head, with cameras.json."""
    views: int = 8
    span: float = 60.0
    """Arc that the ring covers, degrees; 360 closes it."""
    splats: bool = False
    """One frame as a standard 3DGS .ply."""
    frame: int = 0
    """Which frame --splats takes."""
    motion: str = "own"
    """As in `visavis render`."""

    def target(self) -> Path:
        from avatar.export.stereo import sbs_path

        return sbs_path(self.output) if self.stereo else self.output

    def run(self) -> dict:
        from avatar.export.cameras import front, ring
        from avatar.export.multiview import export_multiview
        from avatar.export.provenance import Provenance
        from avatar.export.splats import write_ply
        from avatar.export.stereo import export_stereo
        from avatar.model import load

        if sum(map(bool, (self.stereo, self.multiview, self.splats))) != 1:
            raise BadInput("say what to export", expected="one of --stereo sbs, --multiview ring, --splats")
        avatar = load(self.avatar, gaussians=self.gaussians)
        prepared, audio = resolve_motion(avatar, self.motion, self.max_seconds)
        support = prepared.support.summary()
        provenance = Provenance(avatar=avatar.content_hash, source=self.motion, support=support)
        options, center = self.options(audio), avatar.head_center
        if self.stereo:
            path = export_stereo(
                avatar, prepared, front(avatar.camera), center, self.output,
                ipd_mm=self.ipd_mm, options=options, provenance=provenance,
            )  # fmt: skip
            return {"clip": str(path), "support": support}
        if self.multiview:
            cameras = ring(avatar.camera, center, self.views, self.span)
            clips = export_multiview(avatar, prepared, cameras, self.output, options=options, provenance=provenance)
            cameras_file = str(self.output / "cameras.json")
            return {"clips": [str(c) for c in clips], "cameras": cameras_file, "support": support}
        if not 0 <= self.frame < len(prepared):
            raise BadInput("no such frame", expected=f"--frame 0 to {len(prepared) - 1}", got=str(self.frame))
        write_ply(self.output, avatar.gaussians(prepared, self.frame), provenance)
        return {"splats": str(self.output)}


@dataclass(frozen=True)
class View(Computing):
    """Open an avatar in an interactive web page on this machine.

    Example: visavis view me.avatar
    """

    avatar: Input = field(kw_only=True)
    port: int = 8080
    host: str = "127.0.0.1"
    """Who may connect; the default keeps your face on this machine."""
    gaussians: int | None = None
    """Show no more Gaussians than these, the most important ones; all if not given."""

    def run(self) -> dict:
        from avatar.model import load
        from viewer.app import serve

        serve(load(self.avatar, gaussians=self.gaussians), host=self.host, port=self.port)
        return {"avatar": str(self.avatar)}
