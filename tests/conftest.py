"""Fixtures that several suites share: a synthetic person and a quickly fitted avatar of her."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

# Shells start background jobs deaf to Ctrl-C, and programs that the tests start would inherit it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def capture():
    from synthetic import SyntheticCapture

    return SyntheticCapture()


@pytest.fixture(scope="session")
def small_config():
    from avatar.fitting import FitConfig

    return FitConfig(
        steps=250, long_side=128, head_gaussians=3000, hair_gaussians=300, torso_gaussians=600, checkpoint_seconds=2
    )


@pytest.fixture(scope="session")
def tiny_avatar(capture, small_config, tmp_path_factory):
    """An avatar fitted for a few seconds; what follows it (viewer, exporters, evaluation) is real."""
    from avatar.fitting import fit

    return fit(capture, Path(tmp_path_factory.mktemp("avatars")) / "tiny", small_config)
