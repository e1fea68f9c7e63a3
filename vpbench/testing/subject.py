"""A predictor that is checked, and the synthetic clips that it is called on."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch

from vpbench.clips.batch import Batch
from vpbench.evaluation.prediction import Caller, evaluation_mode, generators
from vpbench.plugin.clip import Context, Prediction, arrays_of
from vpbench.plugin.loader import Plugins
from vpbench.plugin.modality import merge_declarations
from vpbench.plugin.predictor import PredictorInfo
from vpbench.select.component import Component, choose_predictor
from vpbench.select.options import Options
from vpbench.testing.material import Shape, draw_batch

SIDES = (32, 48)
"""Height and width of the clips, where the predictor accepts them."""


@dataclass(frozen=True)
class PredictorSubject:
    """A registered predictor, and what it is tried on."""

    plugins: Plugins
    text: str
    """``NAME[:PRESET]``"""
    options: Options = field(default_factory=dict)

    @cached_property
    def component(self) -> Component:
        """The predictor, built once."""
        return choose_predictor(self.plugins, self.text, self.options)

    @property
    def info(self) -> PredictorInfo:
        """Its description."""
        info: PredictorInfo = self.component.info
        return info

    @cached_property
    def shape(self) -> Shape:
        """The form of batches that it accepts."""
        low, high = context_limits(self.info)
        context = max(low, min(3, high or 3))
        horizon = 4 if self.info.horizon == "any" else min(4, self.info.horizon)
        return Shape(context=context, horizon=horizon, size=accepted_size(self.info, SIDES))

    def batch(self, shape: Shape | None = None, *, without: Collection[str] = (), device: str = "cpu") -> Batch:
        """Return a new batch of clips, with every modality that it may see but those in ``without``."""
        info = self.info
        specs = merge_declarations({"the predictor": info.declares})
        context = {m for m in (*info.requires, *info.uses) if m in specs} - {*without}
        future = {*info.outputs, "frames"} if info.oracle else {"frames"}
        last = info.oracle and "flow" in info.requires
        form = shape or self.shape
        return draw_batch(form, context, future, declares=info.declares, flow_to_last=last, device=device)

    def predict(self, batch: Batch, *, predictor: Any = None, seed: int = 0, sample: int = 0) -> Prediction:
        """Return a checked prediction (raises PredictorError)."""
        value = self.component.value if predictor is None else predictor
        outputs = self.info.expected({"frames", *arrays_of(batch.context)})
        caller = Caller(self.component.name, value, self.info, outputs, seed)
        with evaluation_mode(self.component.name, value):
            return caller.predict(batch, sample).prediction

    @cached_property
    def prediction(self) -> Prediction:
        """The first prediction of a batch."""
        return self.predict(self.batch())


def context_limits(info: PredictorInfo) -> tuple[int, int | None]:
    """Return the least and the most context frames; None is no limit."""
    return info.context if isinstance(info.context, tuple) else (info.context, info.context)


def accepted_size(info: PredictorInfo, sides: tuple[int, int]) -> tuple[int, int]:
    """Return the accepted size next to ``sides``, not smaller."""
    if isinstance(info.size, tuple):
        return info.size
    stride = 1 if info.size == "any" else info.size
    height, width = (-(-side // stride) * stride for side in sides)
    return height, width


class RawCall:
    """Gives the context and the generators of a call in eval and inference mode, without the harness's copies."""

    def __init__(self, subject: PredictorSubject) -> None:
        self.subject, self.managers = subject, ExitStack()

    def __enter__(self) -> tuple[Context, list[torch.Generator]]:
        batch, component = self.subject.batch(), self.subject.component
        self.managers.enter_context(evaluation_mode(component.name, component.value))
        self.managers.enter_context(torch.inference_mode())
        future = batch.future if self.subject.info.oracle else None
        return replace(batch.context, future=future), generators(batch.context.clips, 0, 0)

    def __exit__(self, *error: Any) -> None:
        self.managers.close()
