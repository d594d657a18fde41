"""The house shows its rooms: imports go one way, packages stay light, nothing unsafe is loaded."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("cuda_ext", "avatar", "preprocess", "viewer")
"""From the ground up: a room may import itself and the rooms before it."""
INSIDE = ROOT / "preprocess"
ORDER = (
    "video", "capture", "sound", "detection", "parts", "tracking", "checking", "stages", "pipeline", "formats", "studio"
)  # fmt: skip
"""The rooms inside of preprocess, in the same order."""


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add((node.module or "").split(".")[0])
    return names


def for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def loaded(tree: ast.AST) -> Iterator[str]:
    """What a module imports when it is loaded: not inside of a function, and not for the types alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif not isinstance(node, ast.FunctionDef) and not for_types(node):
            yield from loaded(node)


def modules() -> list[Path]:
    return [p for room in ROOMS for p in sorted((ROOT / room).rglob("*.py"))]


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_one_way(path: Path):
    room = path.relative_to(ROOT).parts[0]
    if path.is_relative_to(ROOT / "avatar/cli"):
        return  # the roof may import every room ...
    allowed = set(ROOMS[: ROOMS.index(room) + 1])
    assert imports(path) & set(ROOMS) <= allowed
    assert "avatar.cli" not in path.read_text(encoding="utf-8")  # ... and nothing imports the roof


@pytest.mark.parametrize("path", sorted(INSIDE.rglob("*.py")), ids=lambda p: str(p.relative_to(INSIDE)))
def test_rooms_of_preprocess_import_one_way(path: Path):
    room = path.relative_to(INSIDE).parts[0].removesuffix(".py")
    if room == "__init__":
        return  # a roof of its own: what it names is loaded when it is asked for
    assert room in ORDER
    assert ast.get_docstring(tree := ast.parse(path.read_text(encoding="utf-8")))
    inside = {name.split(".")[1] for name in loaded(tree) if name.startswith("preprocess.")}
    assert inside <= set(ORDER[: ORDER.index(room) + 1])


def test_imports_are_light_silent_and_offline():
    code = """
import socket, sys
def refuse(*a, **k): raise AssertionError("network at import")
socket.socket.connect = refuse
import avatar, avatar.cli, cuda_ext, preprocess, viewer
heavy = {"torch", "mediapipe", "cv2", "anny", "viser", "scipy", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "" and done.stderr == ""


def test_no_module_is_overgrown():
    long = {str(p.relative_to(ROOT)): n for p in modules() if (n := len(p.read_text().splitlines())) > 500}
    assert not long


def test_public_names_resolve():
    import avatar

    for name in avatar._HOMES:
        assert getattr(avatar, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = avatar.nonsense
