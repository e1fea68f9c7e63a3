"""SADM as a predictor: frames, semantic maps, flow and dis-occlusion, at any size and horizon."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from vpbench.errors import PredictorError, VpbenchWarning
from vpbench.plugin.clip import IGNORE, Context, LabelSpace, Prediction, arrays_of, with_arrays
from vpbench.plugin.predictor import PredictorInfo
from vpbench.toolkit.padding import tell_padding
from vpbench.toolkit.warp import grid, sample
from vpbench_sadm.dynamics import SADMDynamics, prior
from vpbench_sadm.inpainter import Inpainter
from vpbench_sadm.labels import exchange, into_model, model_space
from vpbench_sadm.options import PRESETS, TRAINING_ONLY, Options
from vpbench_sadm.rendering import Rendered, render
from vpbench_sadm.sizes import resized_flow, resized_labels, resized_log

_FACTORS = (-1.0, 0.5, 2.0, 0.1, 10.0)
"""Multiples of the context's flow that :func:`flow_complaint` compares with it."""
_BETTER, _CHANGE = 0.85, 2 / 255
"""Share of the error below which a multiple is clearly better; frame difference below which nothing is judged."""
_PIECE = 100_000
"""Pixels that are predicted at once on a CPU (``benchmarks/allocator.py``)."""
_NAME = 64
"""Bytes of a label space's name that are kept with the weights."""


class SADM(nn.Module):
    """Semantic-aware dynamics (Bei, Yang, Soatto: Learning Semantic-Aware Dynamics for Video Prediction, CVPR 2021).

    The dynamics predicts labels and flow, the last frame is warped along the flow, and newly visible pixels are
    inpainted. The dataset or annotators provide the context's labels and flow. Labels are mapped into the label space
    ``space`` if theirs declares how. The prediction names its label space.
    """

    label_space: Tensor
    """The first bytes of the name of the label space that the model was trained with, in UTF-8; zeros before."""

    Options = Options
    presets: Final[Mapping[str, Mapping[str, Any]]] = PRESETS
    training_only: Final = TRAINING_ONLY
    shipped: Final = {"scenes": "scenes", "scenes-1k": "scenes"}
    info = PredictorInfo(
        outputs=("frames", "semantics", "flow", "disocclusion"),
        requires=("frames", "semantics", "flow"),
        context=(2, None),
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
        """False while stage 1 trains, when the inpainter is untrained."""

    @torch.no_grad()
    def predict(self, context: Context, horizon: int, generators: Sequence[torch.Generator]) -> Prediction:
        """Continue the clips; the semantics are log-probabilities in the model's label space.

        Raises:
            PredictorError: the context has one frame, no labels, no flow, labels that the model cannot use, or NaN.
        """
        pieces = [self.rendered(*piece) for piece in _pieces(context, horizon, generators)]
        assert context.flow is not None  # `rendered` raises if it is
        if complaint := flow_complaint(context.frames, context.flow):
            warnings.warn(f"sadm: {complaint}", VpbenchWarning, stacklevel=2)
        tell_padding("sadm", context.frames, max(self.options.latent_stride, self.inpainter.stride))
        rendered, log, flow = zip(*pieces, strict=True)
        frames = [piece.warped if self.options.emit == "warped" else piece.frames for piece in rendered]
        return Prediction(
            frames=torch.cat(frames),
            semantics=torch.cat(log),
            flow=torch.cat(flow),
            disocclusion=torch.cat([piece.disocclusion for piece in rendered]),
            label_space=self.space(context.label_space),
        )

    def rendered(
        self, context: Context, horizon: int, generators: Sequence[torch.Generator]
    ) -> tuple[Rendered, Float[Tensor, "b k c h w"], Float[Tensor, "b k 2 h w"]]:
        """Return the rendered frames, the log-probabilities of the classes, and the flow.

        Gradients reach the inpainter only.

        Raises:
            PredictorError: as :meth:`predict`.
        """
        labels, past_flow = self.inputs(context)
        full = (labels.shape[-2], labels.shape[-1])
        size = self.options.dynamics_size or full
        past = resized_labels(labels, size), resized_flow(past_flow, size)
        with torch.no_grad():
            log, flow = self._forecast(*past, context.label_space, horizon, generators)
        log, flow = resized_log(log, full), resized_flow(flow, full)
        inpaints = self.options.emit == "inpainted" or self.options.rollout == "iterative"
        inpainter = self.inpainter if self.completes and inpaints else None
        frame = context.frames[:, -1]
        return render(inpainter, self.options, frame, labels[:, -1], past_flow[:, -1], log.exp(), flow), log, flow

    def _forecast(
        self,
        labels: Int64[Tensor, "b t h w"],
        flow: Float[Tensor, "b t-1 2 h w"],
        space: LabelSpace | None,
        horizon: int,
        generators: Sequence[torch.Generator],
    ) -> tuple[Float[Tensor, "b k c h w"], Float[Tensor, "b k 2 h w"]]:
        """Run the dynamics, with noise in the stochastic mode and with exchanged classes for ``swap_classes``."""
        noise = None
        if self.options.mode == "stochastic":
            noise = prior(self.dynamics.noise_shape(*labels.shape[-2:]), generators).to(flow)
        if not self.options.swap_classes:
            return self.dynamics(labels, flow, horizon, noise)
        ids = exchange(self.space(space), self.options.swap_classes)
        table = torch.tensor([*ids, *range(len(ids), IGNORE + 1)], device=labels.device)
        log, predicted = self.dynamics(table[labels], flow, horizon, noise)
        return log[:, :, ids], predicted  # a class that another class's network moved keeps its name

    def space(self, source: LabelSpace | None) -> LabelSpace:
        """Return the label space of the model's classes for a context of this one (raises PredictorError)."""
        space = model_space(source, self.options.space, self.options.classes)
        trained = bytes(self.label_space.tolist()).rstrip(b"\0")
        if self.options.space == "context" and trained not in (b"", space.name.encode()[:_NAME]):
            raise PredictorError(
                f"sadm: the weights were trained with labels of {trained.decode(errors='replace')!r}, but these are of "
                f"{space.name!r}: provide labels of the former, or train on these"
            )
        return space

    def remember(self, source: LabelSpace | None) -> None:
        """Keep the name of the model's label space, for a context of this one, with the weights."""
        name = self.space(source).name.encode()[:_NAME]
        self.label_space.copy_(torch.tensor([*name, *[0] * (_NAME - len(name))], dtype=torch.uint8))

    def labels(
        self, labels: Int64[Tensor, "b t h w"], source: LabelSpace | None, clips: Sequence[str]
    ) -> Int64[Tensor, "b t h w"]:
        """Map labels of a label space to the model's classes; 255 stays (raises PredictorError)."""
        space = self.space(source)
        assert source is not None  # `space` raises if it is
        return into_model(labels, source, space, clips)

    def inputs(self, context: Context) -> tuple[Int64[Tensor, "b t h w"], Float[Tensor, "b t-1 2 h w"]]:
        """Return the context's labels as the model's classes, and its flow.

        Raises:
            PredictorError: as :meth:`predict`.
        """
        if context.frames.shape[1] < 2:
            raise PredictorError("sadm: a context of one frame has no flow; use a protocol with two context frames")
        if context.semantics is None or context.flow is None:
            modality, annotator = ("flow", "dis") if context.flow is None else ("semantics", "deeplabv3")
            raise PredictorError(
                f"sadm: the context has no {modality}; annotate it, for example {modality}={annotator}"
            )
        for modality, values in (("frames", context.frames), ("flow", context.flow)):
            finite = values.isfinite().flatten(1).all(dim=1)
            if not finite.all():
                clip = context.clips[int((~finite).nonzero()[0])]
                raise PredictorError(f"sadm: the {modality} of {clip} hold NaN or infinity: check that clip")
        return self.labels(context.semantics, context.label_space, context.clips), context.flow

    def inference_parts(self) -> dict[str, nn.Module]:
        """Return the dynamics and the inpainter; only training has a posterior and discriminators."""
        return {"dynamics": self.dynamics, "inpainter": self.inpainter}


def _pieces(
    context: Context, horizon: int, generators: Sequence[torch.Generator]
) -> Iterator[tuple[Context, int, Sequence[torch.Generator]]]:
    """Yield the clips in pieces: on a CPU, a few at once, because the system must provide every large temporary."""
    clips, _, _, height, width = context.frames.shape
    size = max(1, _PIECE // (height * width)) if context.frames.device.type == "cpu" else clips
    for start in range(0, clips, size):
        cut = slice(start, start + size)
        arrays = {name: array[cut] for name, array in arrays_of(context).items()}
        yield with_arrays(context, arrays, clips=context.clips[cut]), horizon, generators[cut]


def flow_complaint(frames: Float[Tensor, "b t 3 h w"], flow: Float[Tensor, "b t-1 2 h w"]) -> str:
    """Say what is wrong with the direction or scale of some clip's flow, judged by warping its context; or ``""``.

    Flow is wrong if a multiple of it warps the last frame clearly better, or if zero flow does. Clips that hardly
    change are not judged.
    """
    before, after, last = frames[:, -2], frames[:, -1], flow[:, -1]

    def errors(factor: float) -> Float[Tensor, " b"]:
        return (sample(before, grid(last) + factor * last) - after).abs().flatten(1).mean(dim=1)

    error, still = errors(1.0), errors(0.0)
    lowest, factors = torch.stack([errors(factor) for factor in _FACTORS]).min(dim=0)
    wrong = (still > _CHANGE) & ((lowest < _BETTER * error) | (error > 1.05 * still))
    if not wrong.any():
        return ""
    worst = int(torch.where(wrong, error / lowest.clamp(min=1e-6), 0.0).argmax())
    factor = _FACTORS[int(factors[worst])]
    hint = "it is worse than zero flow"
    if lowest[worst] < _BETTER * error[worst]:
        hint = "it seems to be forward" if factor < 0 else f"a factor of {factor:g} seems to be missing"
    return (
        f"the context's flow does not lead from each frame to the one before: {hint}; it must be backward, in pixels "
        "of these frames"
    )
