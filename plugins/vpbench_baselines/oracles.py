"""Ceilings: predictors that are shown the truth. They are listed beside the others and never ranked."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from vpbench.errors import PredictorError
from vpbench.plugin.clip import Context, Future, Prediction
from vpbench.plugin.predictor import PredictorInfo
from vpbench_baselines.warp import grid, sample, sample_nearest

__all__ = ["Oracle", "OracleFlow"]

_SAME_SURFACE = 0.5  # pixels by which the motion within one surface differs from that of its nearest pixel, at most


class Oracle:
    """Predicts the truth: every modality that the dataset has."""

    info = PredictorInfo(
        outputs=("frames", "semantics", "flow", "disocclusion"), uses=("semantics", "flow", "disocclusion"), oracle=True
    )

    def predict(self, context: Context, horizon: int, generators: Sequence[torch.Generator]) -> Prediction:
        """Return the truth; at a step that is not scored, that of the last scored one."""
        future = _future(context)
        return Prediction(
            frames=_every_step(future.frames, future, horizon),
            semantics=None if future.semantics is None else _every_step(future.semantics, future, horizon),
            flow=None if future.flow is None else _every_step(future.flow, future, horizon),
            disocclusion=None if future.disocclusion is None else _every_step(future.disocclusion, future, horizon),
            label_space=future.label_space,
        )


class OracleFlow:
    """Warps the last context frame, and its labels, along the true flow: what perfect motion alone can reach.

    The steps' flows are composed and the last real frame is sampled once. What was not visible then is not filled in:
    the warp shows the ghost that the flow leads to.
    """

    info = PredictorInfo(
        requires=("frames", "flow"),
        outputs=("frames", "semantics", "flow", "disocclusion"),
        uses=("semantics", "disocclusion"),
        oracle=True,
    )

    def predict(self, context: Context, horizon: int, generators: Sequence[torch.Generator]) -> Prediction:
        """Follow the true flow for ``horizon`` steps.

        Raises:
            PredictorError: the truth is known at some steps only (anchored sampling), so its flows do not chain.
        """
        future = _future(context)
        if future.flow is None or future.steps != tuple(range(1, horizon + 1)):
            raise PredictorError("the true flow of every step is needed; this protocol scores some steps only")
        last, own = context.frames[:, -1], grid(future.flow[:, 0])
        displacement = torch.zeros_like(future.flow[:, 0])
        frames, labels = [], []
        for flow in future.flow.unbind(dim=1):
            displacement = flow + _sample_motion(displacement, own + flow)
            frames.append(sample(last, own + displacement).clamp(0.0, 1.0))
            if context.semantics is not None:
                labels.append(sample_nearest(context.semantics[:, -1:], own + displacement)[:, 0])
        return Prediction(
            frames=torch.stack(frames, dim=1),
            semantics=torch.stack(labels, dim=1) if labels else None,
            flow=future.flow,
            disocclusion=future.disocclusion,
            label_space=context.label_space,
        )


def _sample_motion(motion: Float[Tensor, "b 2 h w"], at: Float[Tensor, "b 2 h w"]) -> Float[Tensor, "b 2 h w"]:
    """Sample bilinearly within a surface; the nearest pixel where two surfaces meet, whose mean is no one's motion."""
    mixed, own = sample(motion, at), sample_nearest(motion, at)
    return torch.where((mixed - own).abs().amax(dim=1, keepdim=True) > _SAME_SURFACE, own, mixed)


def _future(context: Context) -> Future:
    assert context.future is not None  # the harness shows it to what declares itself an oracle
    return context.future


def _every_step(truth: Shaped[Tensor, "b s *rest"], future: Future, horizon: int) -> Shaped[Tensor, "b k *rest"]:
    at = {step: i for i, step in enumerate(future.steps)}
    index = [at.get(step, len(at) - 1) for step in range(1, horizon + 1)]
    return truth[:, index]
