# bounce.py
import hashlib

import numpy as np

import vpbench


@vpbench.hookimpl
def register_datasets(register):
    register("bounce", "bounce:Bounce", summary="two discs that bounce")


class Bounce(vpbench.BaseDataset):
    """Two white discs that bounce inside a black frame."""

    info = vpbench.DatasetInfo(splits=("train", "test"), needs_root=False)
    size, radius, length = 48, 6, 20

    def __init__(self, root):
        self.root = root

    def sequences(self, split):
        count = {"train": 200, "test": 40}[split]
        return [vpbench.SequenceInfo(f"{split}/{number:03d}", range(self.length)) for number in range(count)]

    def read(self, sequence, frames, modality):
        seed = int.from_bytes(hashlib.sha256(sequence.encode()).digest()[:8], "big")
        random = np.random.default_rng(seed)  # the name decides: every read draws the same
        room = self.size - 2 * self.radius
        start, speed = random.uniform(0, room, (2, 2)), random.uniform(-4, 4, (2, 2))
        y, x = np.mgrid[: self.size, : self.size]
        pictures = np.zeros((len(frames), self.size, self.size, 3), np.uint8)
        for picture, frame in zip(pictures, frames, strict=True):
            travelled = (start + frame * speed) % (2 * room)
            for top, left in np.minimum(travelled, 2 * room - travelled) + self.radius:
                picture[(y - top) ** 2 + (x - left) ** 2 <= self.radius**2] = 255
        return pictures
