"""Read any kind of media file, as a reading process does: what a child of tests/fuzz/test_media.py serves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from vpbench.clips.blocks import load_block
from vpbench.errors import DataError
from vpbench.toolkit.flow_files import read_flow
from vpbench.toolkit.media import VideoReader, count_frames, read_image
from vpbench_bair.dataset import BAIR
from vpbench_baselines.saved import _load
from vpbench_kitti.seq import read_index, read_pictures
from vpbench_moving_mnist.files import open_test_clips, read_idx


def picture(path: Path) -> None:
    _check_frames(read_image(path)[None])


def video(path: Path) -> None:
    """Read every frame that the packets promise."""
    count = count_frames(path)
    assert len(_check_frames(VideoReader(path).read(range(count)))) == count


def flow(path: Path) -> None:
    array = read_flow(path)
    assert array.dtype == np.float32 and array.ndim == 3 and array.shape[2] == 2 and np.isfinite(array).all()


def seq(path: Path) -> None:
    _check_frames(read_pictures(path, range(len(read_index(path).pictures))))


def moving_digits(path: Path) -> None:
    _check_frames(np.asarray(open_test_clips(path))[:, 0, :, :, None].repeat(3, axis=-1))


def idx(path: Path) -> None:
    assert read_idx(path, "").dtype == np.uint8


def records(path: Path) -> None:
    """Read both modalities of every clip of BAIR that its index promises."""
    dataset = BAIR(path.parents[2])
    for sequence in dataset.sequences("test"):
        if not sequence.problem:
            _check_frames(dataset.read(sequence.name, range(30), "frames"))
            assert dataset.read(sequence.name, range(30), "actions").shape == (30, 4)


def block(path: Path) -> None:
    """Read a block of the prepared store; a damaged one is prepared again."""
    array = load_block(path, 2, flow=True)
    if array is None:
        raise DataError(f"{path}: is prepared again")
    assert len(array) == 2


def saved(path: Path) -> None:
    assert isinstance(_load(path), np.ndarray)


def _check_frames(frames: np.ndarray) -> np.ndarray:
    assert frames.dtype == np.uint8 and frames.ndim == 4 and frames.shape[3] == 3 and 0 not in frames.shape
    return frames


def serve(readers: dict[str, str]) -> Callable[[tuple[str, Path]], None]:
    """Return what reads a file of a kind; ``readers`` names the function of each kind."""
    return lambda request: globals()[readers[request[0]]](request[1])
