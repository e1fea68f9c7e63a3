"""Labels of scores: the class with the highest score, as ``argmax`` finds it."""

from __future__ import annotations

import pytest
import torch

from vpbench.toolkit.labels import likeliest


@pytest.mark.parametrize("shape", [(19, 4, 6), (2, 5, 3, 4, 6), (2, 1, 4, 6)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_likeliest_class_is_that_of_argmax(shape, dtype):
    scores = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    labels = likeliest(scores)
    assert labels.dtype == torch.int64
    assert torch.equal(labels, scores.argmax(dim=-3))


def test_the_first_of_equal_scores_wins():
    scores = torch.tensor([0.0, 2.0, 1.0, 2.0, -torch.inf])[:, None, None].expand(5, 2, 3)
    assert torch.equal(likeliest(scores), torch.ones(2, 3, dtype=torch.int64))
    assert not likeliest(torch.full((3, 2, 2), -torch.inf)).any()


def test_other_devices_give_the_same_shape():
    labels = likeliest(torch.empty(2, 5, 3, 4, 6, device="meta"))
    assert labels.shape == (2, 5, 4, 6) and labels.dtype == torch.int64
