"""Ceilings: the oracle predicts the truth, and true motion fails only in dis-occluded pixels."""

from __future__ import annotations

import torch

from vpbench.plugin.clip import Context, Future
from vpbench_baselines.oracles import Oracle, OracleFlow

H, W, K = 8, 12, 3


def moving_right(steps: tuple[int, ...] = (1, 2, 3)) -> Context:
    """A random picture that moves one pixel to the right per frame; new columns enter at the left."""
    wide = torch.rand(2, 3, H, W + 8, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(0, 3, (2, H, W + 8), generator=torch.Generator().manual_seed(1))

    def view(image: torch.Tensor, frame: int) -> torch.Tensor:
        return image[..., 8 - frame : 8 - frame + W]

    flow = torch.zeros(2, len(steps), 2, H, W)
    flow[:, :, 0] = -1
    new = torch.zeros(2, len(steps), H, W, dtype=torch.bool)
    new[..., 0] = True
    future = Future(
        frames=torch.stack([view(wide, k) for k in steps], 1),
        steps=steps,
        clips=("a", "b"),
        last=view(wide, 0),
        semantics=torch.stack([view(labels, k) for k in steps], 1),
        flow=flow,
        flow_to_last=torch.stack([flow[:, 0] * k for k in steps], 1),
        disocclusion=new,
    )
    return Context(frames=view(wide, 0)[:, None], clips=("a", "b"), semantics=view(labels, 0)[:, None], future=future)


def test_the_oracle_predicts_the_truth_of_every_modality():
    context = moving_right()
    prediction = Oracle().predict(context, K, [])
    for modality in ("frames", "semantics", "flow", "disocclusion"):
        assert torch.equal(getattr(prediction, modality), getattr(context.future, modality))


def test_the_oracle_gives_the_scored_step_of_an_anchored_clip():
    context = moving_right((3,))
    assert torch.equal(Oracle().predict(context, K, []).frames[:, 2], context.future.frames[:, 0])


def test_true_motion_fails_only_in_dis_occluded_pixels():
    context = moving_right()
    prediction = OracleFlow().predict(context, K, [])
    for k in range(1, K + 1):
        visible = (slice(None), k - 1, ..., slice(k, None))  # k columns have entered since the last frame
        assert torch.equal(prediction.frames[visible], context.future.frames[visible])
        assert torch.equal(prediction.semantics[visible], context.future.semantics[visible])
        new = (slice(None), k - 1, ..., slice(None, k))
        assert not torch.allclose(prediction.frames[new], context.future.frames[new], atol=0.01)


def test_true_motion_reaches_the_scored_step_of_an_anchored_clip():
    context = moving_right((3,))
    prediction = OracleFlow().predict(context, K, [])
    assert torch.equal(prediction.frames[:, 2, ..., 3:], context.future.frames[:, 0, ..., 3:])
