"""Frames of models with one channel."""

from __future__ import annotations

import warnings

import pytest
import torch

from vpbench.errors import PredictorError, VpbenchWarning
from vpbench.toolkit.channels import to_channels, to_rgb


def grey_clips(count=2):
    return torch.rand(count, 3, 1, 4, 5, generator=torch.Generator().manual_seed(0)).expand(-1, -1, 3, -1, -1).clone()


def test_grey_clips_become_one_channel_and_rgb_again():
    frames = grey_clips()
    grey = to_channels(frames, 1, "toy", ("a", "b"))
    assert grey.shape == (2, 3, 1, 4, 5)
    assert torch.equal(to_rgb(grey), frames)


def test_three_channels_stay_as_they_are():
    frames = torch.rand(1, 2, 3, 4, 5)
    assert to_channels(frames, 3, "toy", ("a",)) is frames
    assert torch.equal(to_rgb(frames), frames)


def test_colour_is_refused_with_the_clip_and_both_sides():
    frames = grey_clips()
    frames[1, 2, 0, 3, 4] += 0.5
    with pytest.raises(PredictorError, match=r"toy: .*channels 1.*clip b has colour \(channels 3\)"):
        to_channels(frames, 1, "toy", ("a", "b"))


def test_a_colour_model_warns_of_grey_clips_with_both_sides():
    frames = grey_clips()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for clips in (("a", "b"), ("c", "d")):
            assert to_channels(frames, 3, "toy", clips) is frames
    (warning,) = caught  # not once per batch
    assert warning.category is VpbenchWarning
    assert "toy: the model reads colour (channels 3), and clips are grey" in str(warning.message)
    frames[1, 2, 0, 3, 4] += 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        to_channels(frames, 3, "toy", ("a", "b"))
        to_channels(frames.to("meta"), 3, "toy", ("a", "b"))


def test_nan_is_no_colour():
    frames = grey_clips()
    frames[0, 0, :, 0, 0] = float("nan")
    assert to_channels(frames, 1, "toy", ("a", "b")).isnan().any()
