"""Spoiled truth: as bad as asked, the same for the same clip, and no worse."""

from __future__ import annotations

import numpy as np
import pytest

from vpbench_annotators.noise import FlowNoise, LabelNoise

FLOW = {"frames": np.zeros((8, 2, 64, 96, 3), np.uint8), "flow": np.ones((8, 1, 64, 96, 2), np.float32)}
TRUE = FLOW["flow"][:, 0]


def labels() -> dict[str, np.ndarray]:
    """Road (0) below, sky (10) above, and a car (13) in the middle of the border."""
    semantics = np.full((3, 64, 96), 10, np.uint8)
    semantics[:, 32:] = 0
    semantics[:, 24:40, 40:60] = 13
    return {"frames": np.zeros((3, 1, 64, 96, 3), np.uint8), "semantics": semantics[:, None]}


def true_labels() -> np.ndarray:
    return labels()["semantics"][:, 0]


def flow_noise(**options: object) -> np.ndarray:
    return FlowNoise(FlowNoise.Options(**options)).annotate(FLOW, [f"clip@{i}-{i + 1}" for i in range(8)], "cpu")


def label_noise(clip: str = "clip@0", **options: object) -> np.ndarray:
    return LabelNoise(LabelNoise.Options(**options)).annotate(labels(), [clip, "clip@1", "clip@2"], "cpu")


@pytest.mark.parametrize("sigma", [0.2, 1.0])
def test_the_errors_of_flow_have_the_standard_deviation_asked_for(sigma):
    at_nodes = (flow_noise(sigma=sigma) - TRUE)[:, ::8, ::8]
    assert at_nodes.std() == pytest.approx(sigma, rel=0.1)
    assert abs(at_nodes.mean()) < 0.1 * sigma


def test_they_are_smooth():
    errors = flow_noise(sigma=1.0) - TRUE
    assert np.abs(np.diff(errors, axis=2)).max() < 1.0
    assert np.abs(np.diff(errors, axis=1)).max() < 1.0


def test_zero_flow_and_no_noise():
    assert not flow_noise(zero=True).any()
    assert np.array_equal(flow_noise(sigma=0), TRUE)


@pytest.mark.parametrize("pixels", [1, 2, 4])
def test_labels_change_near_boundaries_of_static_classes_only(pixels):
    true, noisy = true_labels(), label_noise(jitter=pixels)
    changed = true != noisy
    assert changed.any()
    rows = np.nonzero(changed)[1]
    assert rows.min() >= 32 - pixels
    assert rows.max() < 32 + pixels
    assert np.array_equal(true == 13, noisy == 13), "what moves keeps its shape"


def test_no_jitter_and_no_swaps_change_nothing():
    assert np.array_equal(label_noise(jitter=0), true_labels())


def test_swaps_are_blocks_of_labels_that_occur():
    changed = label_noise(jitter=0, swap=0.5) != true_labels()
    assert set(np.unique(label_noise(jitter=0, swap=0.5))) <= {0, 10, 13}
    blocks = changed[0].reshape(8, 8, 12, 8).any(axis=(1, 3)).mean()
    assert 0.2 < blocks < 0.5  # of half the blocks, about a third draw the label they have


def test_noise_follows_from_the_clip_and_the_seed():
    assert np.array_equal(label_noise(jitter=2), label_noise(jitter=2))
    assert not np.array_equal(label_noise(jitter=2), label_noise("other@0", jitter=2))
    assert np.array_equal(label_noise(jitter=2)[1:], label_noise("other@0", jitter=2)[1:]), "and not from the batch"
    assert not np.array_equal(label_noise(jitter=2), label_noise(jitter=2, seed=1))
    assert np.array_equal(flow_noise(sigma=1), flow_noise(sigma=1))
    assert not np.array_equal(flow_noise(sigma=1), flow_noise(sigma=1, seed=1))
