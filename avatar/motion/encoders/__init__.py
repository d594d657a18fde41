"""Learned encoders of speech behind one protocol. Each needs a package or a file that visavis does not bring."""

from avatar.motion.encoders.base import Encoding, SpeechEncoder
from avatar.motion.encoders.load import NAMES, load_encoder

__all__ = ["NAMES", "Encoding", "SpeechEncoder", "load_encoder"]
