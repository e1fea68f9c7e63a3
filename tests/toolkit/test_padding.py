"""Padding of frames to what a network takes, and that it is said."""

from __future__ import annotations

import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vpbench.errors import VpbenchWarning
from vpbench.toolkit.padding import padded, tell_padding


@given(
    leading=st.lists(st.integers(1, 2), max_size=3),
    height=st.integers(1, 13),
    width=st.integers(1, 13),
    stride=st.integers(1, 9),
)
def test_the_lower_and_right_border_is_repeated_up_to_the_next_multiples(leading, height, width, stride):
    frames = torch.rand(*leading, height, width)
    whole = padded(frames, stride)
    assert whole.shape[:-2] == frames.shape[:-2]
    assert all(0 <= after - before < stride for after, before in zip(whole.shape, frames.shape, strict=True))
    assert whole.shape[-2] % stride == whole.shape[-1] % stride == 0
    rows = torch.arange(whole.shape[-2]).clamp(max=height - 1)
    columns = torch.arange(whole.shape[-1]).clamp(max=width - 1)
    assert torch.equal(whole, frames[..., rows[:, None], columns])


def test_fitting_sizes_are_left_alone():
    frames = torch.rand(1, 1, 3, 8, 4)
    assert padded(frames, 4) is frames
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tell_padding("some", frames, 4)


def test_a_size_that_does_not_fit_is_said_with_what_it_becomes():
    with pytest.warns(VpbenchWarning, match="some: frames of 62x85 are padded to 64x88, multiples of 8, and .* cut"):
        tell_padding("some", torch.rand(1, 1, 3, 62, 85), 8)
