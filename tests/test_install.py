"""Compiling the native code where something is missing: no compiler, or one that knows no wide vectors."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CMAKE = shutil.which("cmake") or str(Path(sys.executable).with_name("cmake"))
needs_cmake = pytest.mark.skipif(not os.access(CMAKE, os.X_OK), reason="no cmake here")


def configure(folder: Path, *settings: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [CMAKE, "-S", str(ROOT / "cuda_ext"), "-B", str(folder), f"-DPython_EXECUTABLE={sys.executable}"]
    return subprocess.run(
        [*command, *settings], env=os.environ | environment, capture_output=True, text=True, check=False
    )


@needs_cmake
def test_without_a_compiler_pip_says_what_to_install(tmp_path):
    done = configure(tmp_path, CXX=str(tmp_path / "no-such-compiler"))
    assert done.returncode != 0
    for words in ("found no C++ compiler", "expected: a C++17 compiler", "next: apt-get install g++"):
        assert words in done.stderr


def test_without_a_compiler_setup_says_what_to_install(tmp_path):
    for tool in ("bash", "dirname"):
        (tmp_path / tool).symlink_to(str(shutil.which(tool)))
    environment = {"PATH": str(tmp_path), "PYTHON": sys.executable}
    done = subprocess.run([ROOT / "scripts/setup"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        "setup: no C++ compiler found; the CPU kernels are compiled here\n  next: apt-get install g++\n"
    )


PLAYS_ON_FOUR_LANES = """
import sys
sys.path.insert(0, sys.argv[2])
from fuzz_kernels import load
load(sys.argv[1])
from cuda_ext import ops
from cuda_ext.backends import native
from raster_scenes import images_of, scene
assert native().available_lanes() == [4] and native().get_lanes() == 4
tensors, cameras = scene(2000)
images = [image.numpy() for image in images_of(ops.rasterize(*tensors, cameras))]
import numpy as np
np.savez(sys.argv[3], *images)
"""


@needs_cmake
@pytest.mark.slow
def test_a_build_for_old_processors_draws_the_same(tmp_path):
    """Without AVX2 and AVX-512: what is left where the compiler does not know them, as on a processor without."""
    done = configure(tmp_path, "-DVISAVIS_COMPILES_LANES8=OFF", "-DVISAVIS_COMPILES_LANES16=OFF")
    assert done.returncode == 0, done.stderr
    assert "no kernels with 16 lanes" in done.stderr
    subprocess.run([CMAKE, "--build", str(tmp_path), "--parallel", "2"], check=True, capture_output=True)
    module, result = next(tmp_path.glob("_native*.so")), tmp_path / "images.npz"
    command = [sys.executable, "-c", PLAYS_ON_FOUR_LANES, str(module), str(Path(__file__).parent), str(result)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

    import numpy as np
    from raster_scenes import images_of, scene

    from cuda_ext import ops

    tensors, cameras = scene(2000)
    with np.load(result) as images:
        for name, want in zip(images.files, images_of(ops.rasterize(*tensors, cameras)), strict=True):
            difference = np.linalg.norm(images[name].astype(np.float64) - want.numpy())
            assert difference < 2e-5 * np.linalg.norm(want.numpy())
