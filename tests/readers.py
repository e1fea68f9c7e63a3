"""Datasets whose reading ends the process that reads, for tests of reading processes."""

from __future__ import annotations

import ctypes
import os
import threading
from pathlib import Path

import torch
import toys

from vpbench.toolkit.media import read_image


class Crashing(toys.Toy):
    """Reads a picture of each sequence, and crashes at sequence 2 as a codec would."""

    def __init__(self, root, options):
        super().__init__(root, options)
        self.root = Path(root)

    def read(self, sequence, frames, modality):
        read_image(self.root / f"{sequence[-1]}.png")
        if sequence.endswith("2"):
            ctypes.string_at(0)
        return super().read(sequence, frames, modality)


class Exiting(toys.Toy):
    def read(self, sequence, frames, modality):
        if sequence.endswith("1"):
            ctypes.CDLL(None)._exit(4)
        return super().read(sequence, frames, modality)


class Whereabouts(toys.Toy):
    """Shows in its pixels the process that read them, and the number of its threads."""

    def read(self, sequence, frames, modality):
        array = super().read(sequence, frames, modality)
        if modality == "frames":
            array[:, 0, 0] = (os.getpid() % 251, threading.active_count(), 0)
        return array


class _MadeByTorch:
    """Becomes a tensor where it is unpickled, in a second of torch's operations."""

    def __reduce__(self):
        return _add_for_long, ()


def _add_for_long():
    values = torch.zeros(200_000)
    for _ in range(8000):
        values.add_(1)
    return values


def assemble_by_torch(clips):
    return _MadeByTorch()
