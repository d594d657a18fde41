"""Encoded speech on disk: one .npz per encoder and sound, kept in the capture that the sound belongs to."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from jaxtyping import Float

from avatar.errors import BadInput
from avatar.files import save_arrays
from avatar.motion.encoders.base import Encoding, SpeechEncoder

FOLDER = "encodings"


def encode_cached(
    encoder: SpeechEncoder, samples: Float[np.ndarray, " n"], capture: Path, *, keep: bool = True
) -> tuple[Encoding, Path]:
    """The encoding of a capture's sound, computed if the capture does not have it, and its file.

    The file's name holds a hash of encoder and samples: another model or other sound is another file.

    Args:
        keep: write what was computed into the capture; without it nothing in the capture is touched.
    """
    file = cache_path(encoder, samples, capture)
    if file.is_file():
        try:
            return load_encoding(file), file
        except BadInput:
            pass  # half a file of a full disk: computed anew
    encoding = Encoding.of(encoder, samples)
    if keep:
        save_encoding(file, encoding)
    return encoding, file


def cache_path(encoder: SpeechEncoder, samples: Float[np.ndarray, " n"], capture: Path) -> Path:
    """Where that encoding lies in a capture."""
    digest = hashlib.sha256(encoder.key.encode())
    digest.update(np.ascontiguousarray(samples, np.float32).tobytes())
    return capture / FOLDER / f"{encoder.name}-{digest.hexdigest()[:16]}.npz"


def save_encoding(file: Path, encoding: Encoding) -> None:
    """Write an encoding atomically.

    Raises:
        BadInput: the disk is full or read-only.
    """
    facts = {"name": encoding.name, "rate_hz": encoding.rate_hz, "first_seconds": encoding.first_seconds}
    arrays = {"rows": encoding.rows, "timestamps_seconds": encoding.timestamps_seconds}
    labels = np.array(encoding.labels, dtype=np.str_)
    save_arrays(file, {name: np.array(fact) for name, fact in facts.items()} | arrays | {"labels": labels})


def load_encoding(file: Path) -> Encoding:
    """Read what `save_encoding` wrote.

    Raises:
        BadInput: the file is not that.
    """
    try:
        with np.load(file, allow_pickle=False) as z:
            rows, labels = z["rows"], tuple(str(label) for label in z["labels"])
            encoding = Encoding(str(z["name"]), float(z["rate_hz"]), float(z["first_seconds"]), rows, labels)
    except Exception as error:  # zip, zlib, header and pickle refusals all come as different types
        raise BadInput(f"{file} can't be read", got=str(error), fix="make it again with visavis features") from error
    if rows.ndim != 2 or rows.dtype.kind != "f" or not len(rows) or not encoding.rate_hz > 0:
        raise BadInput(f"{file} holds no encoded speech", expected="rows of numbers", got=str(rows.shape))
    return encoding
