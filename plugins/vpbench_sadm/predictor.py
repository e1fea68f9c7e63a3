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
from vpbench.plugin.clip import Context, LabelSpace, Prediction
from vpbench.plugin.padding import tell_padding
from vpbench.plugin.predictor import PredictorInfo
from vpbench.plugin.warp import grid, sample
from vpbench_sadm.dynamics import SADMDynamics
from vpbench_sadm.inpainter import Inpainter
from vpbench_sadm.labels import exchanged, into_model, model_space
from vpbench_sadm.options import PRESETS, TRAINING_ONLY, Options
from vpbench_sadm.posterior import prior
from vpbench_sadm.rollout import Rendered, render

__all__ = ["SADM", "flow_complaint"]


class SADM(nn.Module):
    """Semantic-aware dynamics (Bei, Yang, Soatto: Learning Semantic-Aware Dynamics for Video Prediction, CVPR 2021).

    The dynamics predicts labels and flow from past ones, the last frame is warped along the flow, and what is newly
    visible is inpainted. Labels and flow of the context come from the dataset or from annotators. The classes are those
    of ``space``, into which the context's are mapped where they declare how; the prediction names its label space.
    """

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
        self.inpainter = Inpainter(options)

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
        labels = exchanged(labels, self.space(context.label_space), self.options.swap_classes)
        with torch.no_grad():
            noise = None
            if self.options.mode == "stochastic":
                noise = prior(self.dynamics.noise_shape(*labels.shape[-2:]), generators).to(past)
            log, flow = self.dynamics(labels, past, horizon, noise)
        frame = context.frames[:, -1]
        return render(self.inpainter, self.options, frame, labels[:, -1], past[:, -1], log.exp(), flow), log, flow

    def space(self, given: LabelSpace | None) -> LabelSpace:
        """Return the space of the model's classes, for a context labelled in ``given`` (raises PredictorError)."""
        return model_space(given, self.options.space, self.options.classes)

    def labels(self, labels: Int64[Tensor, "b t h w"], given: LabelSpace | None) -> Int64[Tensor, "b t h w"]:
        """Return labels of the space ``given`` as the model's; 255 stays (raises PredictorError)."""
        space = self.space(given)
        assert given is not None  # `space` raises where it is
        return into_model(labels, given, space)

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
        return self.labels(context.semantics, context.label_space), context.flow

    def inference_parts(self) -> dict[str, nn.Module]:
        """Return the dynamics and the inpainter: the posterior and the discriminators are the training's."""
        return {"dynamics": self.dynamics, "inpainter": self.inpainter}

    def training_stages(self, protocol: Any) -> Sequence[Any]:
        """Return the two stages of section 4: the dynamics; then, with these kept, the rendering."""
        from vpbench_sadm.dynamics_training import Dynamics
        from vpbench_sadm.rendering_training import Rendering

        return [Dynamics(self), Rendering(self)]


def flow_complaint(frames: Float[Tensor, "b t 3 h w"], flow: Float[Tensor, "b t-1 2 h w"]) -> str:
    """Say what is wrong with a flow's direction or scale, judged by warping the last but one context frame; or ``""``.

    Wrong is a flow that explains the last frame worse than the same flow turned round, halved or doubled does, and
    worse than no flow at all.
    """
    before, after, last = frames[:, -2], frames[:, -1], flow[:, -1]
    own = grid(last)

    def error(factor: float) -> float:
        return float((sample(before, own + factor * last) - after).abs().mean())

    given, still = error(1.0), error(0.0)
    if given <= 1.05 * still:
        return ""
    best = min((-1.0, 0.5, 2.0, 0.1, 10.0), key=error)
    what = f"warping with the context's flow is worse than not warping ({given:.4f} against {still:.4f})"
    if error(best) > 0.9 * given:
        return f"{what}: the flow must be backward, from each frame to the one before, in pixels of these frames"
    hint = "it seems to be forward" if best < 0 else f"it seems to want a factor of {best:g}"
    return f"{what}: {hint}; it must be backward, from each frame to the one before, in pixels of these frames"
