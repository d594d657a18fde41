"""Which part of the person, or the room, every pixel of a capture shows."""

from preprocess.parts.labels import PARTS as PARTS
