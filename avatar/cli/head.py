"""The `head` command: what a head model is, how well it reaches the ARKit actions, and its export to FLAME's layout."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from avatar.cli.common import Computing
from avatar.errors import BadInput


@dataclass(frozen=True)
class Head(Computing):
    """Look at a head model, compare it with the open one, or write the open head in FLAME's file layout.

    Example: visavis head info --head flame:generic_model.pkl

    Example: visavis head actions --head flame:generic_model.pkl

    Example: visavis head export --format flame -o open_head.npz
    """

    what: tyro.conf.Positional[Literal["info", "actions", "export"]] = field(kw_only=True)
    """info: sizes, regions, licence; actions: how far each of the 52 ARKit actions stays from the open head's, in
    millimetres; export: FLAME's file layout."""
    head: str = "anny"
    """Head model: anny, flame:/path/to/model.pkl (or .npz) or gnm:/path/to/model.npz."""
    format: Literal["flame", "flame-pkl"] = "flame"
    """For export: flame writes an .npz of plain arrays; flame-pkl a pickle, for tools that read nothing else."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """The model file to export; landmark files are written beside it."""
    overwrite: bool = False
    """Replace existing files."""

    def start(self) -> None:
        super().start()
        if (self.what == "export") != (self.output is not None):
            raise BadInput("-o/--output belongs to export", expected="visavis head export -o open_head.npz")
        suffix = ".pkl" if self.format == "flame-pkl" else ".npz"
        if self.output and self.output.suffix != suffix:
            raise BadInput(f"--format {self.format} writes {suffix} files", got=str(self.output))

    def run(self) -> dict:
        if self.output:
            from avatar.head.flame_file import export_flame, files_of

            there = [str(path) for path in files_of(self.output).values() if path.exists()]
            if there and not self.overwrite:
                raise BadInput(
                    f"{', '.join(there)} exists", fix="add --overwrite to replace it, or choose another folder for -o"
                )
            return export_flame(self.head, self.output)
        if self.what == "actions":
            from avatar.head.residuals import action_residuals, share

            rows = action_residuals(self.head)
            return {"head": self.head, "residual_share": share(rows), "rows": rows}
        from avatar.head import load_head
        from avatar.info import describe_head

        return describe_head(load_head(self.head))
