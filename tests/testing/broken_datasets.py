"""Datasets that break their contract, in one way each, and one that keeps it; without torch, which loads slowly.

``FAULTS`` names the check that must fail for each of them.
"""

from __future__ import annotations

import itertools
import os
import secrets
from typing import Annotated

import numpy as np
from pydantic import BaseModel, PlainSerializer

import vpbench

FAULTS: dict[tuple[str, str], str] = {}
"""The check that fails, by (kind, name)."""
CONFORMING = [("dataset", "good")]
CLASSES: dict[str, str] = {}


@vpbench.hookimpl
def register_datasets(register):
    for name, target in CLASSES.items():
        register(name, f"{__name__}:{target}")


def dataset(fault: str = "", name: str = ""):
    """Register a class; ``fault`` is the check that fails."""

    def add(cls):
        key = name or cls.__name__.lower()
        CLASSES[key] = cls.__name__
        if fault:
            FAULTS["dataset", key] = fault
        return cls

    return add


@dataset(name="good")
class Bars(vpbench.BaseDataset):
    """Bars that move to the right; class attributes are what broken ones change."""

    info = vpbench.DatasetInfo(needs_root=False, splits=("train", "test"))
    size = (8, 32)

    class Options(BaseModel):
        count: int = 5

    def __init__(self, root, options) -> None:
        self.root, self.options = root, options

    def names(self, split):
        return [f"{split}/bar{i:02d}" for i in range(self.options.count)]

    def sequences(self, split):
        return [vpbench.SequenceInfo(name, range(6)) for name in self.names(split)]

    def read(self, sequence, frames, modality):
        pictures = np.zeros((len(frames), *self.size, 3), np.uint8)
        for picture, frame in zip(pictures, frames, strict=True):
            picture[:, (int(sequence[-2:]) + 2 * frame) % self.size[1]] = 255
        return pictures


@dataset("builds")
class NoFrames(Bars):
    info = vpbench.DatasetInfo(modalities=("semantics",), needs_root=False)


@dataset("builds")
class SplitTwice(Bars):
    info = vpbench.DatasetInfo(needs_root=False, splits=("test", "test"))


@dataset("options", "lossyoptions")
class LossyOptions(Bars):
    class Options(BaseModel):
        count: Annotated[int, PlainSerializer(lambda value: value + 1)] = 3


@dataset("sequences")
class EmptySplit(Bars):
    def sequences(self, split):
        return super().sequences(split) if split == "test" else []


@dataset("sequences")
class Backwards(Bars):
    def sequences(self, split):
        return [vpbench.SequenceInfo(name, range(5, -1, -1)) for name in self.names(split)]


@dataset("sequences")
class SameFrame(Bars):
    def sequences(self, split):
        return [vpbench.SequenceInfo(name, [0, 1, 1, 2]) for name in self.names(split)]


@dataset("names")
class Twice(Bars):
    def names(self, split):
        return [f"{split}/bar00"] * 2


@dataset("names")
class Climbs(Bars):
    def names(self, split):
        return [f"../{split}00"]


@dataset("order")
class Unsorted(Bars):
    def names(self, split):
        return super().names(split)[::-1]


@dataset("stable index")
class UsedUp(Bars):
    """Gives its sequences once, as an iterator in the constructor would."""

    def sequences(self, split):
        spent = vars(self).setdefault("spent", set())
        count = len(self.names(split)) - (split in spent)
        spent.add(split)
        return super().sequences(split)[:count]


@dataset("stable index")
class Unstable(Bars):
    calls = itertools.count()

    def names(self, split):
        return [f"{split}/bar{next(self.calls):06d}"]


@dataset("fresh process")
class Hashed(Bars):
    def names(self, split):
        return sorted(f"{split}/{hash(name) % 10**6:06d}00" for name in super().names(split))


@dataset("decoding")
class Floats(Bars):
    def read(self, sequence, frames, modality):
        return super().read(sequence, frames, modality).astype(np.float32)


@dataset("decoding")
class CutShort(Bars):
    def read(self, sequence, frames, modality):
        if max(frames) == 5:
            raise IndexError("frame 5 of 5")
        return super().read(sequence, frames, modality)


@dataset("decoding")
class TwoSizes(Bars):
    info = vpbench.DatasetInfo(modalities=("frames", "semantics"), needs_root=False)

    def read(self, sequence, frames, modality):
        pictures = super().read(sequence, frames, "frames")
        return pictures if modality == "frames" else pictures[:, ::2, ::2, 0]


@dataset("purity")
class Noisy(Bars):
    def read(self, sequence, frames, modality):
        return super().read(sequence, frames, modality) ^ np.uint8(secrets.randbelow(255) + 1)


@dataset("purity")
class DependsOnWindow(Bars):
    def read(self, sequence, frames, modality):
        return super().read(sequence, frames, modality) // np.uint8(len(frames))


@dataset("own arrays")
class Caches(Bars):
    def __init__(self, root, options) -> None:
        super().__init__(root, options)
        self.cache = {}

    def read(self, sequence, frames, modality):
        key = sequence, tuple(frames)
        if key not in self.cache:
            self.cache[key] = super().read(sequence, frames, modality)
        return self.cache[key]


@dataset("pickling")
class OpenFile(Bars):
    def __init__(self, root, options) -> None:
        super().__init__(root, options)
        self.file = open(os.devnull)  # noqa: SIM115, PTH123


@dataset("root")
class WritesIndex(Bars):
    info = vpbench.DatasetInfo()

    def sequences(self, split):
        (self.root / f"index{len(list(self.root.iterdir()))}").touch()
        return super().sequences(split)


@dataset("state")
class SeedsEverything(Bars):
    def read(self, sequence, frames, modality):
        np.random.seed(7)
        return super().read(sequence, frames, modality)
