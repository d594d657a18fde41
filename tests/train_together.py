"""One of the processes of test_train_together.py: trains a small network by its share of every batch.

Run by torchrun: train_together.py OUTPUT [WORDS_OF_THE_SECOND]
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch
from small_prior import SMALL, geometry, speaking

from avatar.motion.prior.data import material_of
from avatar.motion.prior.processes import joined
from avatar.motion.prior.training import train
from avatar.motion.takes import Take


def takes(words: int) -> list[Take]:
    """One with a partner, one without: there are batches in which one process hears no partner and the other does."""
    first, second = speaking(8, 1), speaking(8, words)
    return [replace(first, partner_16k=second.samples_16k), second]


def main() -> None:
    output, words = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 2
    torch.set_num_threads(1)
    with joined("cpu") as processes:
        material = material_of(takes(words if processes.rank else 2), geometry())
        prior = train(material, replace(SMALL, steps=10, batch=5), processes=processes)
        prior.save(output.with_name(f"{output.name}.{processes.rank}"))


if __name__ == "__main__":
    main()
