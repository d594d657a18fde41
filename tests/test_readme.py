"""What the README tells people to type is there."""

from __future__ import annotations

import ast
import re
import shlex
from importlib import import_module
from pathlib import Path

import tyro

from avatar.cli import COMMANDS

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, flags=re.DOTALL)


def test_every_command_line_parses():
    lines = [line.split("#")[0] for _, body in BLOCKS for line in body.splitlines() if line.startswith("visavis ")]
    assert len(lines) >= 9
    for line in lines:
        tyro.extras.subcommand_cli_from_dict(COMMANDS, args=shlex.split(line)[1:])


def test_every_name_of_the_python_example_exists():
    (code,) = [body for language, body in BLOCKS if language == "python"]
    used = {
        (node.value.id, node.attr)
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
    modules = {(m, a) for m, a in used if m in ("avatar", "preprocess")}
    assert {a for _, a in modules} >= {"track", "fit", "load"}
    for module, attribute in modules:
        assert getattr(import_module(module), attribute)
    from avatar import Avatar

    assert all(hasattr(Avatar, a) or a in Avatar.__dataclass_fields__ for m, a in used if m == "me")


def test_scripts_that_it_names_are_there():
    root = Path(__file__).parent.parent
    for name in re.findall(r"scripts/\w+", README):
        assert (root / name).stat().st_mode & 0o100, name
