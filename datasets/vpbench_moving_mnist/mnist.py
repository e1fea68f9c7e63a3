"""Reader of Moving MNIST: ``mnist_test_seq.npy`` to test on, and training clips drawn from MNIST's digits."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from vpbench.errors import DataError
from vpbench.plugin.clip import Modality
from vpbench.plugin.dataset import DatasetInfo, Finding, SequenceInfo
from vpbench.toolkit.folders import data_file, file_stamp, walk_folders
from vpbench_moving_mnist.files import open_test_clips, read_idx
from vpbench_moving_mnist.motion import FRAMES, as_rgb, draw_clip

_TEST, _TRAIN = "mnist_test_seq.npy", "train-images-idx3-ubyte"
_DIGIT_FILE = re.compile(r"train-images[-.]idx3-ubyte(\.gz)?")
_TEST_CLIPS, _DIGITS = 10_000, 60_000
_TEST_NAME = re.compile(r"mnist_test_seq/(\d{5})")
_TRAIN_NAME = re.compile(r"drawn-(\d+)/(\d{5})")

INFO = DatasetInfo(
    modalities=("frames",),
    splits=("train", "test"),
    tree="""\
ROOT/                          either file in any folder
  mnist_test_seq.npy           uint8 [20,10000,64,64]: 20 frames of each of 10,000 test clips
  train-images-idx3-ubyte.gz   60,000 digits of MNIST, compressed or not, to draw training clips from
""",
    obtain="Download http://www.cs.toronto.edu/~nitish/unsupervised_video/mnist_test_seq.npy (819 MB), and for "
    "training train-images-idx3-ubyte.gz of MNIST (http://yann.lecun.com/exdb/mnist/), and pass the folder "
    "that holds them",
    homepage="http://www.cs.toronto.edu/~nitish/unsupervised_video/",
    licence="none stated for the clips; MNIST: CC BY-SA 3.0",
    citation="N. Srivastava, E. Mansimov, R. Salakhutdinov. Unsupervised Learning of Video Representations using "
    "LSTMs. ICML 2015",
)


class MovingMNIST:
    """Clips of 20 frames: ``mnist_test_seq/00042``, and for training ``drawn-<seed>/00042``; frames count from 0."""

    class Options(BaseModel):
        """Options of the dataset, fixed by a protocol."""

        model_config = ConfigDict(frozen=True, extra="forbid")

        seed: int = Field(default=0, ge=0, description="Seed of the training clips.")
        train_clips: int = Field(default=10_000, ge=1, le=100_000, description="Number of training clips.")

    info: ClassVar[DatasetInfo] = INFO

    def __init__(self, root: Path, options: MovingMNIST.Options | None = None) -> None:
        self._root = Path(root).resolve()
        self._options = options or self.Options()

    def sequences(self, split: str) -> Sequence[SequenceInfo]:
        """Return the clips of ``train`` or ``test``, sorted by name.

        A file that is missing or does not read is one sequence with a ``problem``.

        Raises:
            DataError: an unknown split, or neither file below the root.
        """
        if split not in self.info.splits:
            raise DataError(f"moving-mnist has no split {split!r}; it has {' and '.join(self.info.splits)}")
        if not self._files:
            raise DataError(f"{self._root}: holds no file of Moving MNIST, {_TEST} or {_TRAIN}.gz. {self.info.obtain}")
        file, folder = (_TEST, "mnist_test_seq") if split == "test" else (_TRAIN, f"drawn-{self._options.seed}")
        try:
            path = self._path(file)
            stamp = file_stamp(path)
            count = open_test_clips(path).shape[1] if split == "test" else self._options.train_clips
            if split == "train":
                read_idx(path, stamp)
        except DataError as error:
            return [SequenceInfo(file, range(0), str(error))]
        return [SequenceInfo(f"{folder}/{number:05d}", range(FRAMES), stamp=stamp) for number in range(count)]

    def read(self, sequence: str, frames: Sequence[int], modality: Modality) -> NDArray[Any]:
        """Read frames as uint8 [N,64,64,3], three equal channels.

        Raises:
            DataError: an unknown clip or frame, a file that does not read, or another modality than frames.
        """
        if modality != "frames":
            raise DataError(f"moving-mnist has no {modality}, only frames")
        if outside := [number for number in frames if not 0 <= number < FRAMES]:
            raise DataError(f"{sequence}: has no frame {outside[0]}, only 0 to {FRAMES - 1}")
        if match := _TEST_NAME.fullmatch(sequence):
            path = self._path(_TEST)
            clips = open_test_clips(path)
            if int(match[1]) >= clips.shape[1]:
                raise DataError(f"{path}: has no clip {int(match[1])}, only 0 to {clips.shape[1] - 1}")
            return as_rgb(np.asarray(clips[list(frames), int(match[1])]))
        if match := _TRAIN_NAME.fullmatch(sequence):
            path = self._path(_TRAIN)
            return as_rgb(draw_clip(read_idx(path, file_stamp(path)), int(match[1]), match[2])[list(frames)])
        raise DataError(f"{sequence!r} is no clip of Moving MNIST, mnist_test_seq/<number> or drawn-<seed>/<number>")

    def check(self) -> Sequence[Finding]:
        """Compare the numbers of test clips and of digits with the official ones."""
        test = sum(not s.problem for s in self.sequences("test"))
        trained = not self.sequences("train")[0].problem
        digits = len(read_idx(self._path(_TRAIN), file_stamp(self._path(_TRAIN)))) if trained else 0
        return [
            Finding("test: clips", str(test), str(_TEST_CLIPS), test == _TEST_CLIPS),
            Finding("train: digits", str(digits), str(_DIGITS), digits == _DIGITS),
        ]

    @cached_property
    def _files(self) -> dict[str, Path]:
        """The two files by their official names; of several, the first by path."""
        files: dict[str, Path] = {}
        for folder, listing in walk_folders(self._root):
            for name in (*listing.files, *listing.links):
                official = _TRAIN if _DIGIT_FILE.fullmatch(name) else name
                if official in (_TEST, _TRAIN):
                    files.setdefault(official, folder / name)
        return files

    def _path(self, file: str) -> Path:
        missing = "download it" + (": only training needs it" if file == _TRAIN else "")
        return data_file(self._files.get(file, self._root / file), self._root, missing)
