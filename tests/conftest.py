"""Fixtures that several suites share: a synthetic person and a quickly fitted avatar of her."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import jaxtyping
import pytest

# Several workers share the cores; before torch is there.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# The shapes in our signatures are checked in tests only.
jaxtyping.install_import_hook(["avatar", "cuda_ext", "preprocess"], "shapes.checked")

# Shells start background jobs deaf to Ctrl-C, and programs that the tests start would inherit it.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests go first, so that no worker is left alone with one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture
def unchecked_shapes():
    """For tests of our own messages about wrong shapes, which the checker would forestall."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(autouse=True)
def _loud_again():
    """A command that was told to be quiet (`-q`) was so for its test alone."""
    from avatar.progress import set_quiet

    yield
    set_quiet(False)


@pytest.fixture(autouse=True)
def _kernel_settings():
    """What a test does to the width of vectors and the number of threads ends with it."""
    from cuda_ext.backends import native

    module = native()
    lanes, threads = module.get_lanes(), module.get_threads()
    yield
    module.set_lanes(lanes)
    module.set_threads(threads)


@pytest.fixture(scope="session")
def capture():
    from synthetic import SyntheticCapture

    return SyntheticCapture()


@pytest.fixture(scope="session")
def motion():
    """What a person does who talks."""
    from synthetic import talking_motion

    return talking_motion(200)


@pytest.fixture(scope="session")
def space(motion):
    from avatar.driving import DrivingSpace

    return DrivingSpace.of(motion, rank=6)


@pytest.fixture(scope="session")
def small_config():
    from avatar.fitting import FitConfig

    return FitConfig(
        steps=250,
        long_side=128,
        head_gaussians=3000,
        core_gaussians=300,
        hair_gaussians=300,
        torso_gaussians=600,
        checkpoint_seconds=2,
        precision="float32",
    )


@pytest.fixture(scope="session")
def tiny_avatar(capture, small_config, tmp_path_factory):
    """An avatar fitted for a few seconds; what follows it (viewer, exporters, evaluation) is real."""
    from avatar.fitting import fit

    return fit(capture, Path(tmp_path_factory.mktemp("avatars")) / "tiny", small_config)


@pytest.fixture(scope="session")
def small_prior(tmp_path_factory):
    """A motion prior trained for a few seconds; it moves, if not well."""
    import torch
    from small_prior import SMALL, geometry, speaking

    from avatar.motion.prior.data import material_of
    from avatar.motion.prior.training import train

    torch.set_num_threads(1)
    return train(material_of([speaking(14, 1)], geometry()), SMALL, tmp_path_factory.mktemp("prior") / "state", "test")
