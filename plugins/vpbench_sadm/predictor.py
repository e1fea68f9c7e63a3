"""SADM as a predictor: frames, semantic maps, flow and dis-occlusion, at any size and horizon."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from vpbench.errors import PredictorError, VpbenchWarning
from vpbench.plugin.clip import IGNORE, Context, LabelSpace, Prediction
from vpbench.plugin.predictor import PredictorInfo
from vpbench.toolkit.padding import tell_padding
from vpbench.toolkit.warp import grid, sample
from vpbench_sadm.dynamics import SADMDynamics
from vpbench_sadm.inpainter import Inpainter
from vpbench_sadm.labels import exchange, into_model, model_space
from vpbench_sadm.options import PRESETS, TRAINING_ONLY, Options
from vpbench_sadm.posterior import prior
from vpbench_sadm.rollout import Rendered, render

__all__ = ["SADM", "flow_complaint"]

_FACTORS = (-1.0, 0.5, 2.0, 0.1, 10.0)
_CLEARLY, _CHANGE = 0.85, 2 / 255
"""Part of the error that is left by what is clearly better; mean difference of frames below which nothing is judged."""
_NAME = 64
"""Bytes of a label space's name that are kept with the weights."""


class SADM(nn.Module):
    """Semantic-aware dynamics (Bei, Yang, Soatto: Learning Semantic-Aware Dynamics for Video Prediction, CVPR 2021).

    The dynamics predicts labels and flow from past ones, the last frame is warped along the flow, and what is newly
    visible is inpainted. Labels and flow of the context come from the dataset or from annotators. The classes are those
    of ``space``, into which the context's are mapped where they declare how; the prediction names its label space.
    """

    label_space: Tensor
    """The first bytes of the name of the label space that the model was trained with, in UTF-8; zeros before."""

    Options = Options
    presets: Final[Mapping[str, Mapping[str, Any]]] = PRESETS
    training_only: Final = TRAINING_ONLY
    info = PredictorInfo(
        outputs=("frames", "semantics", "flow", "disocclusion"),
        requires=("frames", "semantics", "flow"),
        paper="Bei, Yang, Soatto: Learning Semantic-Aware Dynamics for Video Prediction, CVPR 2021",
    )

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.options = options
        self.info = replace(type(self).info, stochastic=options.mode == "stochastic")
        self.dynamics = SADMDynamics(options)
        self.register_buffer("label_space", torch.zeros(_NAME, dtype=torch.uint8))
        self.inpainter = Inpainter(options)
        self.completes = True
        """Whether the inpainter is used: not while the first stage trains."""

    @torch.no_grad()
    def predict(self, context: Context, horizon: int, generators: Sequence[torch.Generator]) -> Prediction:
        """Continue the clips; the semantics are logarithms of probabilities in the model's label space.

        Raises:
            PredictorError: a context of one frame, without labels or flow, of labels that the model is not made for, or
                that holds NaN.
        """
        rendered, log, flow = self.rendered(context, horizon, generators)
        assert context.flow is not None  # `rendered` raises where it is
        if complaint := flow_complaint(context.frames, context.flow):
            warnings.warn(f"sadm: {complaint}", VpbenchWarning, stacklevel=2)
        tell_padding("sadm", context.frames, max(self.options.latent_stride, self.inpainter.stride))
        return Prediction(
            frames=rendered.warped if self.options.emit == "warped" else rendered.frames,
            semantics=log,
            flow=flow,
            disocclusion=rendered.disocclusion,
            label_space=self.space(context.label_space),
        )

    def rendered(
        self, context: Context, horizon: int, generators: Sequence[torch.Generator]
    ) -> tuple[Rendered, Float[Tensor, "b k c h w"], Float[Tensor, "b k 2 h w"]]:
        """Return the rendered frames, the logarithms of the classes' probabilities, and the flow.

        Gradients pass to the inpainter alone.

        Raises:
            PredictorError: as :meth:`predict`.
        """
        labels, past = self.inputs(context)
        read, ids = labels, []
        if self.options.swap_classes:
            ids = exchange(self.space(context.label_space), self.options.swap_classes)
            read = torch.tensor([*ids, *range(len(ids), IGNORE + 1)], device=labels.device)[labels]
        with torch.no_grad():
            noise = None
            if self.options.mode == "stochastic":
                noise = prior(self.dynamics.noise_shape(*labels.shape[-2:]), generators).to(past)
            log, flow = self.dynamics(read, past, horizon, noise)
            if ids:  # a class that another one's network moved is still itself
                log = log[:, :, ids]
        shown = self.options.emit == "inpainted" or self.options.rollout == "iterative"
        inpainter = self.inpainter if self.completes and shown else None
        frame = context.frames[:, -1]
        return render(inpainter, self.options, frame, labels[:, -1], past[:, -1], log.exp(), flow), log, flow

    def space(self, given: LabelSpace | None) -> LabelSpace:
        """Return the space of the model's classes, for a context labelled in ``given`` (raises PredictorError)."""
        space = model_space(given, self.options.space, self.options.classes)
        trained = bytes(self.label_space.tolist()).rstrip(b"\0")
        if self.options.space == "context" and trained not in (b"", space.name.encode()[:_NAME]):
            raise PredictorError(
                f"sadm: trained with labels of {trained.decode(errors='replace')!r}, and these are of {space.name!r}: "
                "give labels of the former, or train on these"
            )
        return space

    def remember(self, given: LabelSpace | None) -> None:
        """Keep the name of the model's label space, for a context labelled in ``given``, with the weights."""
        name = self.space(given).name.encode()[:_NAME]
        self.label_space.copy_(torch.tensor([*name, *[0] * (_NAME - len(name))], dtype=torch.uint8))

    def labels(
        self, labels: Int64[Tensor, "b t h w"], given: LabelSpace | None, clips: Sequence[str]
    ) -> Int64[Tensor, "b t h w"]:
        """Return labels of the space ``given`` as the model's; 255 stays (raises PredictorError)."""
        space = self.space(given)
        assert given is not None  # `space` raises where it is
        return into_model(labels, given, space, clips)

    def inputs(self, context: Context) -> tuple[Int64[Tensor, "b t h w"], Float[Tensor, "b t-1 2 h w"]]:
        """Return the context's labels, as the model's, and its flow.

        Raises:
            PredictorError: as :meth:`predict`.
        """
        if context.frames.shape[1] < 2:
            raise PredictorError(
                "sadm: a context of one frame has no flow; take a protocol of two context frames or more"
            )
        if context.semantics is None or context.flow is None:
            lacking, annotator = ("flow", "dis") if context.flow is None else ("semantics", "deeplabv3")
            raise PredictorError(f"sadm: the context has no {lacking}; add --annotate {lacking}={annotator}")
        for name, values in (("frames", context.frames), ("flow", context.flow)):
            if not values.isfinite().all():
                bad = next(c for c, each in zip(context.clips, values, strict=True) if not each.isfinite().all())
                raise PredictorError(f"sadm: the {name} of {bad} hold NaN or infinity: look at that clip")
        return self.labels(context.semantics, context.label_space, context.clips), context.flow

    def inference_parts(self) -> dict[str, nn.Module]:
        """Return the dynamics and the inpainter: the posterior and the discriminators are the training's."""
        return {"dynamics": self.dynamics, "inpainter": self.inpainter}


def flow_complaint(frames: Float[Tensor, "b t 3 h w"], flow: Float[Tensor, "b t-1 2 h w"]) -> str:
    """Say what is wrong with the direction or scale of some clip's flow, judged by warping its context; or ``""``.

    Wrong is a flow of which another multiple explains the last frame much better than it does, or which explains it
    worse than no flow at all. Where next to nothing changes, nothing is judged.
    """
    before, after, last = frames[:, -2], frames[:, -1], flow[:, -1]
    own = grid(last)

    def errors(factor: float) -> Float[Tensor, " b"]:
        return (sample(before, own + factor * last) - after).abs().flatten(1).mean(dim=1)

    given, still = errors(1.0), errors(0.0)
    others = torch.stack([errors(factor) for factor in _FACTORS])
    best, which = others.min(dim=0)
    wrong = (still > _CHANGE) & ((best < _CLEARLY * given) | (given > 1.05 * still))
    if not wrong.any():
        return ""
    worst = int(torch.where(wrong, given / best.clamp(min=1e-6), 0.0).argmax())
    factor = _FACTORS[int(which[worst])]
    hint = "it is worse than none"
    if best[worst] < _CLEARLY * given[worst]:
        hint = "it seems to be forward" if factor < 0 else f"it seems to want a factor of {factor:g}"
    return (
        f"the context's flow does not lead from each frame to the one before: {hint}; it must be backward, in pixels "
        "of these frames"
    )
