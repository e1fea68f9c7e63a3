"""Filling holes by push-pull: exactness, nearness, sizes, and pictures without a valid pixel."""

from __future__ import annotations

import pytest
import torch

from vpbench.toolkit.fill import push_pull


def noise(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_valid_pixels_keep_their_bits_and_holes_may_hold_anything():
    picture, valid = noise(2, 3, 9, 14), noise(2, 1, 9, 14, seed=1) < 0.3
    filled = push_pull(torch.where(valid, picture, torch.nan), valid, 0.0)
    assert torch.equal(filled, push_pull(picture, valid, 0.0))
    assert torch.equal(torch.where(valid, filled, 0.0), torch.where(valid, picture, 0.0))
    assert torch.equal(push_pull(picture, torch.ones_like(valid), 0.0), picture)


def test_a_hole_is_filled_from_the_nearest_segment():
    """The left segment holds 1, the right one 3; the border between their fillings lies in the middle."""
    picture, valid = torch.zeros(1, 1, 32, 64), torch.zeros(1, 1, 32, 64, dtype=torch.bool)
    picture[..., 12:20, 8:16], picture[..., 12:20, 48:56] = 1.0, 3.0
    valid[..., 12:20, 8:16] = valid[..., 12:20, 48:56] = True
    filled = push_pull(picture, valid, 0.0)[0, 0]
    assert ((filled >= 1) & (filled <= 3)).all()
    assert filled[12:20, 16:20].max() < 1.5 and filled[12:20, 44:48].min() > 2.5, "near a segment, its value"
    row = filled[16]
    assert (row.diff() >= -1e-6).all() and row[28] < 2 < row[35]


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 3), (6, 96), (33, 17)])
def test_one_valid_pixel_fills_a_picture_of_any_size(size):
    for place in (0, -1):
        valid = torch.zeros(1, 1, *size, dtype=torch.bool)
        valid.view(-1)[place] = True
        value = torch.tensor([0.3, -7.1]).view(1, 2, 1, 1)
        filled = push_pull(torch.where(valid, value, torch.nan), valid, 0.0)
        torch.testing.assert_close(filled, value.expand_as(filled))


def test_by_hand():
    """The block at the top left averages 1 and 3 into 2, the one at the right holds 6; 2x4 becomes 1x2, then 1x1."""
    picture = torch.tensor([[1.0, 3, 9, 9], [9, 9, 9, 6]]).view(1, 1, 2, 4)
    valid = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 1]]).bool().view(1, 1, 2, 4)
    expected = torch.tensor([[1.0, 3, 5, 6], [2, 3, 5, 6]]).view(1, 1, 2, 4)
    torch.testing.assert_close(push_pull(picture, valid, 0.0), expected)


def test_a_picture_without_a_valid_pixel_has_the_default():
    picture, valid = noise(2, 2, 5, 6), torch.zeros(2, 1, 5, 6, dtype=torch.bool)
    valid[0, 0, 2, 3] = True
    default = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).view(2, 2, 1, 1)
    filled = push_pull(picture, valid, default)
    torch.testing.assert_close(filled[0], picture[0, :, 2:3, 3:4].expand(2, 5, 6))
    torch.testing.assert_close(filled[1], default[1].expand(2, 5, 6))


def test_a_picture_is_filled_alike_in_any_batch():
    pictures, valid = noise(3, 2, 15, 22), noise(3, 1, 15, 22, seed=1) < 0.1
    whole = push_pull(pictures, valid, 0.0)
    assert torch.equal(whole[1:2], push_pull(pictures[1:2], valid[1:2], 0.0))
