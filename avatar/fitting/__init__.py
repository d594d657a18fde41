"""Fitting an avatar to a capture: stages, trainer, losses, relocation, checkpoints."""

from avatar.fitting.config import FitConfig as FitConfig
from avatar.fitting.run import fit as fit
