"""SADM on real frames of KITTI: flow by DIS, masks by GrabCut, no weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vpbench.evaluation.continuation import predict_video
from vpbench.plugin.loader import load_plugins

MASKS = str(Path(__file__).parents[1] / "masks.py")


@pytest.mark.parametrize("size", [(64, 208), (60, 202)])
@pytest.mark.filterwarnings("ignore:sadm. frames of")
def test_untrained_it_carries_on_the_motion_that_it_was_given(shared, size):
    """`tiny` begins as each class's last flow and labels carried on: nearer to the real future than the last frame."""
    found = predict_video(
        "sadm:tiny",
        next((shared / "data" / "kitti_raw").glob("*/*/image_02/data")),
        start=0,
        context=4,
        horizon=3,
        size=size,
        annotate={"flow": "dis", "semantics": "grabcut"},
        options={"sadm": {"classes": 2}},
        plugins=load_plugins([MASKS]),
    )
    (made,), future = found.predictions, found.batch.future
    assert made.label_space.name == "foreground2"
    assert set(found.batch.context.semantics.unique().tolist()) == {0, 1}
    seen = ~made.disocclusion[:, :, None]
    error = ((made.frames - future.frames).square() * seen).flatten(2).sum(-1)
    still = ((found.batch.context.frames[:, -1:] - future.frames).square() * seen).flatten(2).sum(-1)
    assert error[0, 0] < 0.5 * still[0, 0]
    assert (error < 0.75 * still).all(), (error, still)
    assert torch.linalg.vector_norm(made.flow, dim=2).mean() > 0.3
