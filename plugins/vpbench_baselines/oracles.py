"""Ceilings: predictors that read the truth. They are listed with the others and never ranked."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Shaped
from torch import Tensor

from vpbench.plugin.clip import Context, Future, Prediction
from vpbench.plugin.predictor import PredictorInfo
from vpbench.toolkit.warp import grid, sample, sample_nearest


class Oracle:
    """Predicts the truth: every modality that the dataset has."""

    info = PredictorInfo(
        outputs=("frames", "semantics", "flow", "disocclusion"), uses=("semantics", "flow", "disocclusion"), oracle=True
    )

    def predict(self, context: Context, horizon: int, generators: Sequence[torch.Generator]) -> Prediction:
        """Return the truth. A step that is not scored gets the truth of the last scored step."""
        future = _future(context)
        return Prediction(
            frames=_every_step(future.frames, future, horizon),
            semantics=None if future.semantics is None else _every_step(future.semantics, future, horizon),
            flow=None if future.flow is None else _every_step(future.flow, future, horizon),
            disocclusion=None if future.disocclusion is None else _every_step(future.disocclusion, future, horizon),
            label_space=future.label_space,
        )


class OracleFlow:
    """Warps the last context frame and its labels along the true flow: the ceiling of perfect motion alone.

    Each step's flow leads straight to the last context frame, which is sampled once. Dis-occluded pixels are not filled
    in; they show the ghost to which the flow leads.
    """

    info = PredictorInfo(
        requires=("frames", "flow"),
        outputs=("frames", "semantics", "flow", "disocclusion"),
        uses=("semantics", "disocclusion"),
        oracle=True,
    )

    def predict(self, context: Context, horizon: int, generators: Sequence[torch.Generator]) -> Prediction:
        """Follow the true flow. A step that is not scored gets the prediction of the last scored step."""
        future = _future(context)
        assert future.flow_to_last is not None  # the harness reads it for an oracle that requires flow
        last, labels = context.frames[:, -1], context.semantics
        sources = [grid(flow) + flow for flow in future.flow_to_last.unbind(dim=1)]
        frames = torch.stack([sample(last, source).clamp(0.0, 1.0) for source in sources], dim=1)
        if labels is not None:
            labels = torch.cat([sample_nearest(labels[:, -1:], source) for source in sources], dim=1)
        return Prediction(
            frames=_every_step(frames, future, horizon),
            semantics=None if labels is None else _every_step(labels, future, horizon),
            flow=None if future.flow is None else _every_step(future.flow, future, horizon),
            disocclusion=None if future.disocclusion is None else _every_step(future.disocclusion, future, horizon),
            label_space=context.label_space,
        )


def _future(context: Context) -> Future:
    assert context.future is not None  # the harness gives it to oracles
    return context.future


def _every_step(truth: Shaped[Tensor, "b s *rest"], future: Future, horizon: int) -> Shaped[Tensor, "b k *rest"]:
    indices = {step: i for i, step in enumerate(future.steps)}
    return truth[:, [indices.get(step, len(indices) - 1) for step in range(1, horizon + 1)]]
