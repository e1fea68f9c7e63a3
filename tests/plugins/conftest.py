"""Shared fixtures of the tests of first-party plugins."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from vpbench.plugin.clip import Comparison, Future, LabelSpace, Prediction


@pytest.fixture(scope="session")
def compare() -> Callable[..., Comparison]:
    """Set predicted beside true frames [B,S,3,H,W], and labels or scores beside true labels [B,S,H,W]."""

    def make(
        predicted: torch.Tensor,
        true: torch.Tensor,
        labels: tuple[torch.Tensor, torch.Tensor] | None = None,
        spaces: tuple[LabelSpace | None, LabelSpace | None] = (None, None),
    ) -> Comparison:
        batch, steps = true.shape[:2]
        return Comparison(
            Prediction(frames=predicted, semantics=labels[0] if labels else None, label_space=spaces[0]),
            Future(
                frames=true,
                steps=tuple(range(1, steps + 1)),
                clips=tuple(f"clip{i}@0" for i in range(batch)),
                last=true[:, 0],
                semantics=labels[1] if labels else None,
                label_space=spaces[1],
            ),
        )

    return make
