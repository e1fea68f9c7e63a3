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
def test_untrained_tiny_is_nearer_to_the_future_than_the_last_frame(shared, size):
    """It starts with each class's last flow and labels, carried on."""
    continuation = predict_video(
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
    (prediction,), context, future = continuation.predictions, continuation.batch.context, continuation.batch.future
    assert prediction.label_space.name == "foreground2"
    assert set(context.semantics.unique().tolist()) == {0, 1}
    visible = ~prediction.disocclusion[:, :, None]
    error, still = (
        ((frames - future.frames).square() * visible).flatten(2).sum(-1)
        for frames in (prediction.frames, context.frames[:, -1:])
    )
    assert error[0, 0] < 0.5 * still[0, 0]
    assert (error < 0.75 * still).all(), (error, still)
    assert torch.linalg.vector_norm(prediction.flow, dim=2).mean() > 0.3
