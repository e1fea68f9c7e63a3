"""Blocks of a store: every form gives back the bits, and a file that was cut off is no block."""

from __future__ import annotations

import os

import numpy as np
import pytest

from vpbench.clips.blocks import COMPRESSED, MAPPED, encode_block, load_block

RNG = np.random.default_rng(0)
STEPS = RNG.integers(-(2**15), 2**15, (3, 17, 29, 2)).astype(np.float32)
FLOW = STEPS / 64
"""Every value that int16 holds, wildly varying, so that differences along a row overflow."""
BEYOND = FLOW.copy()
BEYOND[1, 2, 3] = 512
BELOW = FLOW.copy()
BELOW[1, 2, 3] = -513
UNROUNDED = FLOW + np.float32(1 / 256)
NAN = FLOW.copy()
NAN[0, 0, 0] = np.nan
LABELS = RNG.integers(0, 19, (3, 17, 29), np.uint8)
INT16 = RNG.integers(-9, 9, (3, 17, 29, 2)).astype(np.int16)
WORDS = np.array(["left", "straight on", ""])


@pytest.mark.parametrize("suffix", [MAPPED, COMPRESSED])
@pytest.mark.parametrize(
    ("array", "flow"),
    [
        (FLOW, True),
        (BEYOND, True),
        (BELOW, True),
        (UNROUNDED, True),
        (NAN, True),
        (LABELS, False),
        (INT16, False),
        (WORDS, False),
    ],
)
def test_a_block_gives_back_the_bits(tmp_path, array, flow, suffix):
    path = tmp_path / f"block{suffix}"
    path.write_bytes(encode_block(array, suffix, flow=flow))
    block = load_block(path, len(array), flow=flow)
    assert (block.dtype, block.shape, block.tobytes()) == (array.dtype, array.shape, array.tobytes())
    assert block.flags.c_contiguous, "its checksum reads its memory"


def test_flow_is_stored_in_steps_of_two_bytes():
    sizes = [len(encode_block(array, COMPRESSED, flow=True)) for array in (FLOW, BEYOND, BELOW)]
    assert sizes[0] < 0.55 * FLOW.nbytes
    assert min(sizes[1:]) > 0.6 * FLOW.nbytes


@pytest.mark.parametrize("suffix", [MAPPED, COMPRESSED])
def test_a_file_that_was_cut_off_is_no_block(tmp_path, suffix):
    path = tmp_path / f"block{suffix}"
    assert load_block(path, 3, flow=True) is None
    path.write_bytes(encode_block(FLOW, suffix, flow=True))
    assert load_block(path, 4, flow=True) is None
    for size in (len(path.read_bytes()) - 1, 20, 0):
        os.truncate(path, size)
        assert load_block(path, 3, flow=True) is None
