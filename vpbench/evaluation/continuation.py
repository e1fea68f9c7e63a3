"""Predict the future of any video: its last frames are the context, and no targets are needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, InstanceOf

from vpbench.clips.annotations import annotators_for
from vpbench.clips.batch import Batch, stack
from vpbench.clips.source import ClipSource
from vpbench.clips.video import Video
from vpbench.errors import DataError, Remedy, UsageError
from vpbench.evaluation.launch import Shard, choose_device
from vpbench.evaluation.prediction import Caller, evaluation_mode
from vpbench.evaluation.returned import CLAMP
from vpbench.plugin.clip import Modality, Prediction
from vpbench.plugin.loader import Plugins, load_plugins
from vpbench.plugin.modality import BUILT_IN, merge_declarations
from vpbench.plugin.predictor import PredictorInfo
from vpbench.protocol.protocol import MAX_SAMPLES, Length, PixelOp, Protocol, Resize, Seed
from vpbench.protocol.sampling import ClipRef
from vpbench.protocol.transforms import transform
from vpbench.select.component import Component, choose_annotators, choose_predictor, wrap_predictor
from vpbench.select.modalities import check_uses
from vpbench.validation import checked_arguments

CONTEXT = 4
"""Default number of context frames."""
HORIZON = 10
"""Default number of predicted steps."""


@dataclass(frozen=True)
class Continuation:
    """A video, and a predictor's continuation of it."""

    batch: Batch
    """The clip: its context, and as ``future`` the steps that the video has beyond it, often none."""
    predictions: tuple[Prediction, ...]
    """One per sample, checked: frames in [0,1]."""
    predictor: Component
    annotators: Mapping[Modality, Component]
    """Annotators of the context, by modality."""
    frames: tuple[int, ...]
    """The numbers of the context's frames in the video."""
    notes: tuple[str, ...]
    """Remarks for the user."""


@checked_arguments
def predict_video(
    predictor: object,
    video: str | Path,
    *,
    context: Length | None = None,
    start: Annotated[int, Field(ge=0)] | None = None,
    step: Length | None = None,
    size: tuple[Length, Length] | None = None,
    horizon: Length | None = None,
    samples: Annotated[int, Field(ge=1, le=MAX_SAMPLES)] = 1,
    annotate: Mapping[str, str] | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    seed: Seed = 0,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    plugins: InstanceOf[Plugins] | None = None,
) -> Continuation:
    """Continue a video.

    Args:
        predictor: a name (``"NAME"``, ``"NAME:PRESET"``) or an object with ``info`` and ``predict``.
        video: a video file, a folder of pictures in the order of the numbers in their names, or one picture.
        context: T, the number of context frames; by default as in the training of the weights, or ``CONTEXT``.
        start: number of the first context frame, from 0; by default the context is the end of the video.
        step: raw frames from one context frame or predicted frame to the next; by default as in training, or 1.
        size: (H, W) to resize to (uint8, ``cv2.INTER_LINEAR``); by default frames are cropped and resized as in
            training, or keep their size.
        horizon: K, the number of steps to predict; by default ``HORIZON``, or the predictor's maximum.
        samples: number of predictions of a stochastic predictor.
        annotate: annotators by modality: ``{"flow": NAME}``.
        options: option values by the name of the predictor or annotator.
        seed: seed of the noise of a stochastic predictor.
        device: where to predict; ``"auto"`` is a GPU if there is one.
        plugins: loaded plugins; by default the installed ones.

    Raises:
        UsageError: an argument is unknown or does not fit.
        DataError: the video does not decode, is too short, or smaller than a crop of the weights' training.
        PredictorError: as :meth:`vpbench.evaluation.prediction.Caller.predict`.
    """
    plugins = plugins or load_plugins()
    options = options or {}
    chosen = choose_predictor(plugins, predictor, options) if isinstance(predictor, str) else wrap_predictor(predictor)
    info = chosen.info
    annotators = choose_annotators(plugins, annotate or {}, options)
    _check_fit(plugins, chosen.name, info, annotators)
    steps = _horizon(chosen.name, info, horizon)
    protocol = _training_protocol(chosen)
    notes = _of_training(chosen, protocol, steps)
    if protocol is not None:
        context, step = context or protocol.sampling.context, step or protocol.sampling.frame_step
    pixels: Sequence[PixelOp] = protocol.pixels if protocol is not None else ()
    if size is not None:
        pixels = (Resize(op="resize", size=size),)
    source = Video(Path(video).expanduser())
    ref = _window(source, info, context or CONTEXT, start, step or 1, steps)
    _check_pixels(source, ref, pixels)
    if source.claimed not in (0, source.length):
        notes.append(f"the header claims {source.claimed} frames; {source.length} decode")
    if samples > 1 and not info.stochastic:
        notes.append(f"{chosen.name} is not stochastic: one sample of {samples} is made")
        samples = 1
    torch_device = choose_device(device, Shard(0, 1))
    if isinstance(chosen.value, torch.nn.Module):
        chosen.value.to(torch_device)
    values = {modality: annotator.value for modality, annotator in annotators.items()}
    clips = ClipSource(source, source.name, pixels, frozenset(annotators), frozenset(), values, device=torch_device)
    (batch,) = stack([clips.read(ref)], torch_device, clips)
    height, width = batch.context.frames.shape[-2:]
    if reason := info.misfit(ref.context, (height, width)):
        raise UsageError(f"predictor {chosen.name!r} does not fit this video: {reason}; set the context or the size")
    outputs = info.expected({"frames", *annotators})
    caller = Caller(chosen.name, chosen.value, info, outputs, seed, lower="the size or the horizon")
    with evaluation_mode(chosen.name, chosen.value):
        checked = [caller.predict(batch, sample) for sample in range(samples)]
    if any(sample.clamped is not None and sample.clamped.any() for sample in checked):
        notes.append(f"{chosen.name} left [0,1] by up to {CLAMP:g}; clamped")
    predictions = tuple(sample.prediction for sample in checked)
    return Continuation(batch, predictions, chosen, annotators, ref.frames[: ref.context], tuple(notes))


def _check_fit(plugins: Plugins, name: str, info: PredictorInfo, annotators: Mapping[Modality, Component]) -> None:
    """Check that frames and annotators give what a predictor requires, and that it uses every annotation."""
    declarations = {f"annotator {a.name!r}": a.info.declares for a in annotators.values()}
    specs = merge_declarations(declarations | {f"predictor {name!r}": info.declares})
    check_uses(plugins, name, info, specs)
    if info.oracle:
        raise UsageError(f"predictor {name!r} is shown the truth, which a video to be continued does not have")
    if without := [modality for modality in info.requires if modality not in {"frames", *annotators}]:
        raise UsageError(
            f"predictor {name!r} requires {' and '.join(without)}, which a video lacks: add {annotators_for(without)}",
            Remedy.ANNOTATE,
        )
    for modality, annotator in annotators.items():
        if lacks := [need for need in annotator.info.needs if need != "frames"]:
            raise UsageError(
                f"annotator {modality}={annotator.name}: it needs the true {lacks[0]}, which a video lacks"
            )
        if modality not in {*info.requires, *info.uses}:
            raise UsageError(f"annotator {modality}={annotator.name}: predictor {name!r} does not look at {modality}")


def _horizon(name: str, info: PredictorInfo, horizon: int | None) -> int:
    if info.horizon == "any":
        return horizon or HORIZON
    if horizon is not None and horizon > info.horizon:
        raise UsageError(f"predictor {name!r} predicts at most {info.horizon} steps, not {horizon}")
    return horizon or min(HORIZON, info.horizon)


def _check_pixels(video: Video, ref: ClipRef, pixels: Sequence[PixelOp]) -> None:
    """Check that these frames can be cropped and resized as in the training of the weights."""
    frame = video.read(video.name, ref.frames[:1], "frames")
    try:
        transform(frame[:0], pixels, BUILT_IN["frames"])
    except DataError as error:
        raise DataError(
            f"{video.path}: {error}; the weights were trained on frames cropped so: set a size to resize to instead"
        ) from error


def _training_protocol(chosen: Component) -> Protocol | None:
    """Return the protocol that the weights were trained on; None if it is not recorded."""
    trained = chosen.trained
    if trained is None or trained.record is None or trained.record.protocol is None:
        return None
    return Protocol.parse(trained.record.protocol.to_json(), str(trained.path))


def _of_training(chosen: Component, protocol: Protocol | None, horizon: int) -> list[str]:
    """Return remarks on the training of a predictor, for this horizon."""
    if chosen.trained is None and chosen.trainable:
        return [f"{chosen.name} was given no weights: it is untrained"]
    if protocol is not None and horizon > (trained := protocol.sampling.horizon):
        return [f"{chosen.name} was trained to predict {trained} steps ({protocol.name}); this run predicts {horizon}"]
    return []


def _window(video: Video, info: PredictorInfo, context: int, start: int | None, step: int, horizon: int) -> ClipRef:
    """Return the context frames and the frames to predict; the steps that the video has are the scored ones.

    Raises:
        DataError: the video is too short; the message gives the frames found and needed.
    """
    needed = (context - 1) * step + 1
    first = max(0, video.length - needed) if start is None else start
    if first + needed > video.length:
        request = f"{context} context frames" + (f" at step {step}" if step > 1 else "")
        request += f" from frame {start}" if start else ""
        remedies = _remedies(info, context, start or 0, step, video.length)
        raise DataError(
            f"{video.path}: too short: {video.length} frames found, {first + needed} needed for {request}; "
            f"take {' or '.join(remedies)}"
        )
    frames = tuple(range(first, first + (context + horizon) * step, step))
    scored = tuple(k for k in range(1, horizon + 1) if frames[context + k - 1] < video.length)
    return ClipRef(video.name, frames, context, scored)


def _remedies(info: PredictorInfo, context: int, start: int, step: int, length: int) -> list[str]:
    """Return what makes a context fit a video of ``length`` frames, with a predictor that may need this context."""
    left = length - start
    remedies = []
    if any(not info.misfit(count, None) for count in range(1, (left - 1) // step + 2)):
        remedies.append("fewer context frames")
    if context <= left:
        remedies.append("a smaller step")
    if start and (context - 1) * step < length:
        remedies.append("an earlier start")
    return remedies or ["a longer video"]
