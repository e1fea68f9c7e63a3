"""Losses on frames: their sum; SSIM as the metric defines it, in reduced precision, of small frames."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vpbench.errors import PredictorError
from vpbench.plugin.clip import Comparison, Future, Prediction
from vpbench.toolkit.losses import frame_loss, ssim
from vpbench_metrics.structure import SSIM


def noise(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def compare(predicted, true):
    future = Future(frames=true, steps=tuple(range(1, true.shape[1] + 1)), clips=("clip@0",), last=true[:, 0])
    return Comparison(Prediction(frames=predicted), future)


@given(seed=st.integers(0, 10**6), contrast=st.sampled_from([1.0, 0.1, 0.0]), noisy=st.sampled_from([0.0, 0.3]))
def test_is_the_metric(seed, contrast, noisy):
    x = 0.5 + contrast * (noise(1, 2, 3, 13, 17, seed=seed) - 0.5)
    y = (x + noisy * (noise(1, 2, 3, 13, 17, seed=seed + 1) - 0.5)).clamp(0, 1)
    assert ssim(x, y).item() == pytest.approx(np.mean(SSIM("cpu").measure(compare(x, y))), abs=1e-4)


def test_is_float32_under_bfloat16():
    x, y = noise(1, 1, 3, 12, 12), noise(1, 1, 3, 12, 12, seed=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(ssim(x, y), ssim(x, y).float())
        reduced = ssim(x.bfloat16(), y.bfloat16())
    assert reduced.dtype == torch.float32
    assert torch.equal(reduced, ssim(x.bfloat16().float(), y.bfloat16().float()))


def test_frames_smaller_than_its_window_are_an_error():
    frames = noise(1, 1, 3, 10, 12)
    with pytest.raises(PredictorError, match="11 pixels a side; these are 10x12: set the option ssim to 0"):
        ssim(frames, frames)


def test_the_loss_is_the_weighted_sum_and_small_frames_matter_to_ssim_alone():
    x, y = noise(1, 2, 3, 12, 12), noise(1, 2, 3, 12, 12, seed=1)
    expected = 0.5 * (x - y).abs().mean() + 2.0 * (x - y).square().mean() + 0.25 * (1.0 - ssim(x, y))
    torch.testing.assert_close(frame_loss(x, y, l1=0.5, l2=2.0, ssim_weight=0.25), expected)
    assert torch.equal(frame_loss(x[..., :4], y[..., :4]), (x - y)[..., :4].square().mean())
