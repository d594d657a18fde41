"""What a file or folder of ours is."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from avatar.errors import BadInput
from avatar.files import read_json
from avatar.head.linear import LinearHead
from avatar.head.model import REGIONS


def describe(path: Path) -> dict:
    """Facts about a capture, an avatar, a studio recording, a motion file or a splat file.

    Raises:
        BadInput: it is none of these.
        FormatMismatch: it is one, but damaged or of another version.
    """
    if (path / "avatar.json").is_file():
        return _avatar(path)
    if (path / "capture.json").is_file():
        from avatar.types import CAPTURE_SCHEMA

        content = read_json(path / "capture.json", CAPTURE_SCHEMA, "a capture")
        return {"kind": "capture"} | content
    if (path / "studio.json").is_file():
        content = read_json(path / "studio.json", "visavis.studio/1", "a studio folder")
        speech = content["speech"] | {"phones": len(content["speech"]["phones"] or ())}
        return {"kind": "studio"} | content | {"speech": speech}
    if path.suffix in (".npz", ".csv") and path.is_file():
        from avatar.motion.motion_io import load_motion

        motion = load_motion(path)
        return {"kind": "motion", "frames": len(motion), "fps": round(motion.fps, 3)}
    if path.suffix == ".ply" and path.is_file():
        from avatar.export.splats import read_ply

        return {"kind": "splats", "gaussians": len(read_ply(path))}
    raise BadInput(
        f"{path} is nothing that visavis made",
        expected="a capture, avatar or studio folder, a motion (.npz, .csv) or a splat .ply",
        got="no such file" if not path.exists() else ("a folder" if path.is_dir() else "another kind of file"),
    )


def _avatar(path: Path) -> dict:
    from avatar.model import load
    from avatar.stored import LAYERS_FILE, read_content

    content = read_content(path)
    avatar = load(path)
    layers = {"head": len(avatar.layers.head.means), "torso": len(avatar.layers.torso.means)}
    size = {"mb": round((path / LAYERS_FILE).stat().st_size / 1e6, 2)}
    return {"kind": "avatar", "gaussians": layers} | size | {"frames": len(avatar.own_motion)} | content


def describe_head(head: LinearHead) -> dict:
    """Facts about a head model."""
    regions = {name: int((head.regions == index).sum()) for index, name in enumerate(REGIONS)}
    sizes = {"vertices": len(head.template), "triangles": len(head.faces), "identity": len(head.identity_basis)}
    native = {} if head.arkit_to_native is None else {"native_parameters": head.arkit_to_native.shape[1]}
    facts = {k: v for k, v in head.metadata.items() if k != "native_names"}
    return (
        {"kind": "head", "name": head.name, "content_hash": head.content_hash}
        | sizes
        | native
        | facts
        | {"regions": regions}
    )


def machine() -> dict:
    """What a measurement was made on."""
    model = platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {"cpu": model, "cores": os.cpu_count(), "load": load, "python": platform.python_version()}
