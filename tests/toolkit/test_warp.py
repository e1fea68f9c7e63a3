"""Sampling along backward flow: whole pixels, between pixels, beyond the border, labels."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from vpbench.toolkit.warp import grid, sample, sample_nearest


def noise(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def constant(x, y, height=12, width=16, batch=1):
    return torch.tensor([x, y], dtype=torch.float32).view(1, 2, 1, 1).expand(batch, 2, height, width).contiguous()


def test_a_pixel_comes_from_itself_plus_its_flow_and_x_is_channel_0():
    image = torch.arange(12.0).view(1, 1, 3, 4)
    moved = sample(image, grid(constant(1, 0, 3, 4)) + constant(1, 0, 3, 4))
    assert moved[0, 0].tolist() == [[1, 2, 3, 3], [5, 6, 7, 7], [9, 10, 11, 11]]
    moved = sample(image, grid(constant(0, 1, 3, 4)) + constant(0, 1, 3, 4))
    assert moved[0, 0].tolist() == [[4, 5, 6, 7], [8, 9, 10, 11], [8, 9, 10, 11]]


def test_between_pixels_it_is_bilinear():
    image = torch.tensor([[[[0.0, 1.0], [2.0, 4.0]]]])
    at = torch.tensor([0.25, 0.5]).view(1, 2, 1, 1).expand(1, 2, 2, 2)
    expected = 0.5 * (0.75 * 0 + 0.25 * 1) + 0.5 * (0.75 * 2 + 0.25 * 4)
    assert sample(image, at).flatten().tolist() == [expected] * 4


@given(x=st.floats(-9, 9), y=st.floats(-9, 9), seed=st.integers(0, 10**6))
def test_equals_torchs_sampler(x, y, seed):
    image, jitter = noise(2, 3, 7, 9, seed=seed), noise(2, 2, 7, 9, seed=seed + 1)
    at = grid(jitter) + constant(x, y, 7, 9) + jitter
    scaled = torch.stack([at[:, 0] * 2 / 8 - 1, at[:, 1] * 2 / 6 - 1], dim=-1)
    expected = torch.nn.functional.grid_sample(image, scaled, padding_mode="border", align_corners=True)
    torch.testing.assert_close(sample(image, at), expected, atol=1e-5, rtol=0)


def test_labels_are_never_blended():
    labels = torch.tensor([[[0, 7, 7, 255]]])
    at = torch.tensor([[-3.0, 0.4, 0.6, 2.5], [0.0, 0, 0, 0]]).view(1, 2, 1, 4)
    assert sample_nearest(labels[:, None], at).tolist() == [[[[0, 0, 7, 255]]]]
