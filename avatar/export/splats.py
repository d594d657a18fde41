"""Splat files: the .ply of the 3D Gaussian splatting paper, which other viewers open.

Property names and activations follow `GaussianModel.save_ply` of Kerbl et al. 2023: opacity as a logit, scales as
logarithms, rotation wxyz, colour as the zeroth spherical-harmonics coefficient. Axes stay OpenCV's (+Y down), as in
files trained from COLMAP; viewers that expect +Y up show the head upside down until turned by 180 degrees about X.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from avatar.errors import BadInput, FormatMismatch
from avatar.export.provenance import Provenance, write_sidecar
from avatar.files import atomic_path
from avatar.types import Gaussians

SH_C0 = 0.28209479177387814
"""The constant spherical harmonic, 1 / (2 sqrt(pi))."""
PROPERTIES = (
    *("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"),
    *("scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
)
_MAX_HEADER = 64 * 1024


def write_ply(path: Path, gaussians: Gaussians, provenance: Provenance | None = None) -> None:
    """Write Gaussians as a binary little-endian 3DGS .ply, with its provenance inside and beside.

    Raises:
        BadInput: a value is not finite, or the file can't be written.
    """
    provenance = provenance or Provenance()
    table = _encode(gaussians)
    if not np.isfinite(table).all():
        raise BadInput(f"cannot write {path}: a Gaussian holds a value that is not finite")
    header = [
        "ply",
        "format binary_little_endian 1.0",
        f"comment {_ascii(provenance.mark)}",
        "comment axes OpenCV: +Y down",
    ]
    header += [f"element vertex {len(table)}", *(f"property float {name}" for name in PROPERTIES), "end_header"]
    with atomic_path(path) as partial:
        partial.write_bytes(("\n".join(header) + "\n").encode() + table.astype("<f4").tobytes())
    write_sidecar(path, provenance)


def read_ply(path: Path) -> Gaussians:
    """Read a 3DGS .ply of float properties; further properties (normals, higher harmonics) are skipped.

    Raises:
        BadInput: the file can't be read.
        FormatMismatch: it is no binary little-endian 3DGS .ply, or is cut short.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}") from error
    end = data.find(b"end_header\n", 0, _MAX_HEADER)
    if not data.startswith(b"ply\n") or end < 0:
        raise _no_splats(path, "no ply header")
    lines = [line.split() for line in data[:end].decode("utf-8", "replace").splitlines()]
    names = [words[2] for words in lines if words[:2] == ["property", "float"]]
    counts = [int(words[2]) for words in lines if words[:2] == ["element", "vertex"]]
    missing = sorted(set(PROPERTIES) - {"nx", "ny", "nz"} - set(names))
    others = [words for words in lines if words[:1] == ["property"] and words[1] != "float"]
    if ["format", "binary_little_endian", "1.0"] not in lines or len(counts) != 1 or missing or others:
        raise _no_splats(path, f"missing properties {missing}, other properties {others}")
    body = data[end + len(b"end_header\n") :]
    if len(body) < counts[0] * len(names) * 4:
        raise _no_splats(path, f"{len(body)} bytes for {counts[0]} Gaussians")
    table = np.frombuffer(body, "<f4", counts[0] * len(names)).reshape(counts[0], len(names))
    return _decode({name: table[:, i] for i, name in enumerate(names)})


def _encode(gaussians: Gaussians) -> np.ndarray:
    g = gaussians
    n = torch.nn.functional.normalize(g.quats_wxyz, dim=-1)
    columns = [
        g.means,
        torch.zeros_like(g.means),
        (g.colors - 0.5) / SH_C0,
        torch.logit(g.opacities.clamp(1e-6, 1 - 1e-6))[:, None],
        g.scales.clamp(min=1e-9).log(),
        n,
    ]
    return torch.cat(columns, 1).detach().cpu().numpy()


def _decode(columns: dict[str, np.ndarray]) -> Gaussians:
    def stack(*names: str) -> torch.Tensor:
        return torch.from_numpy(np.stack([columns[n] for n in names], -1).astype(np.float32))

    return Gaussians(
        means=stack("x", "y", "z"),
        quats_wxyz=stack("rot_0", "rot_1", "rot_2", "rot_3"),
        scales=stack("scale_0", "scale_1", "scale_2").exp(),
        opacities=torch.sigmoid(stack("opacity")[:, 0]),
        colors=stack("f_dc_0", "f_dc_1", "f_dc_2") * SH_C0 + 0.5,
    )


def _ascii(text: str) -> str:
    # Some readers decode the header as ASCII, and a line break would end the comment.
    return " ".join(text.encode("ascii", "replace").decode().split())


def _no_splats(path: Path, got: str) -> FormatMismatch:
    return FormatMismatch(
        f"{path} is not a readable splat file",
        expected="a binary little-endian .ply with the float properties " + " ".join(PROPERTIES),
        got=got,
        fix="export it again with `visavis export AVATAR --splats -o FILE.ply`",
    )
