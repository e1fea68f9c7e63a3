"""One predictor on one batch: predict, check, put into the protocol's value range, compare, measure."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from vpbench.engine.digest import combine
from vpbench.engine.loading import Batch
from vpbench.errors import MetricError, PredictorError, VpbenchError
from vpbench.plugin.clip import Comparison, Context, Modality, Prediction
from vpbench.plugin.metric import Metric, Undefined, Value
from vpbench.plugin.predictor import Predictor
from vpbench.results.estimates import finalise
from vpbench.results.store import Row

__all__ = ["CLAMP", "Checked", "InPlaceError", "data_fields", "generators", "measure", "no_memory", "predict"]

CLAMP = 1e-4
"""How far a prediction may leave [0,1]: clamped and counted up to here, an error beyond."""


class InPlaceError(VpbenchError):
    """A plugin wrote into tensors that it shares with others: its task fails, and the batch must be read again."""


@dataclass(frozen=True)
class Checked:
    """A prediction that keeps the contract."""

    raw: Prediction
    """As it was returned."""
    prediction: Prediction
    """With frames clamped to [0,1]."""
    clamped: Tensor | None
    """[B,K] bool: frames that had values beyond [0,1]."""


def no_memory(error: BaseException) -> bool:
    """Return whether this is what a GPU, numpy or torch's CPU allocator raises where memory does not suffice."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "DefaultCPUAllocator" in str(error)


def generators(clips: Sequence[str], seed: int, sample: int) -> list[torch.Generator]:
    """Return one CPU generator per clip, seeded from (run seed, clip id, sample) and nothing else."""
    made = []
    for clip in clips:
        digest = hashlib.sha256(f"{seed}/{sample}/{clip}".encode()).digest()
        made.append(torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1))
    return made


def predict(
    name: str,
    predictor: Predictor,
    batch: Batch,
    *,
    outputs: Sequence[Modality],
    seed: int,
    sample: int,
    lower: str = "--batch-size",
) -> Checked:
    """Predict one batch and check what comes back; ``outputs`` must be among it.

    ``lower`` names what its user can lower where memory does not suffice.

    Raises:
        PredictorError: an exception, a wrong type, shape or dtype, NaN, values out of range; names predictor, clip.
    """
    context = _shown(predictor, batch)
    before = _versions(batch)
    try:
        with torch.inference_mode():
            prediction = predictor.predict(context, batch.horizon, generators(context.clips, seed, sample))
    except VpbenchError as error:
        raise PredictorError(f"predictor {name!r}: {error}") from error
    except Exception as error:
        if no_memory(error):
            count = len(context.clips)
            what = f"{count} clip{'s' if count > 1 else ''} of {'x'.join(map(str, context.frames.shape[-2:]))}"
            raise PredictorError(f"predictor {name!r} ran out of memory on {what}: lower {lower}") from error
        raise PredictorError(
            f"predictor {name!r} failed on clip {context.clips[0]!r}: {type(error).__name__}: {error}"
        ) from error
    if _versions(batch) != before:
        raise InPlaceError(
            f"predictor {name!r} changes the context in place, which others see, too: clone what it writes to"
        )
    return _check(name, outputs, prediction, batch)


def _shown(predictor: Predictor, batch: Batch) -> Context:
    """Return the context cut to what the predictor declared; with the truth for an oracle."""
    info = predictor.info
    seen = {*info.requires, *info.uses}
    context = batch.context
    return replace(
        context,
        semantics=context.semantics if "semantics" in seen else None,
        flow=context.flow if "flow" in seen else None,
        future=batch.future if info.oracle else None,
    )


def _check(name: str, outputs: Sequence[Modality], prediction: Prediction, batch: Batch) -> Checked:
    if not isinstance(prediction, Prediction):
        raise PredictorError(
            f"predictor {name!r} must return a vpbench.Prediction; it returned {type(prediction).__name__}"
        )
    given = prediction.given()
    if absent := [m for m in outputs if m not in given]:
        raise PredictorError(f"predictor {name!r} declares the output {absent[0]!r} and did not predict it")
    b, _, _, h, w = batch.context.frames.shape
    k = batch.horizon
    shapes = {"frames": (b, k, 3, h, w), "flow": (b, k, 2, h, w), "disocclusion": (b, k, h, w)}
    if "semantics" in given:
        labels, true = given["semantics"], batch.future.semantics
        classes = labels.shape[2:3] if labels.ndim == 5 else ()
        # An oracle's are of the truth's size already.
        own = true is not None and labels.shape[-2:] == true.shape[-2:]
        shapes["semantics"] = (b, k, *classes, *(labels.shape[-2:] if own else (h, w)))
    for modality, tensor in given.items():
        if isinstance(tensor, Tensor) and not _fits(modality, tensor):
            raise PredictorError(f"predictor {name!r}: {modality} must be {_DTYPES[modality]}; they are {tensor.dtype}")
        if not isinstance(tensor, Tensor) or tuple(tensor.shape) != shapes[modality]:
            shape = list(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
            raise PredictorError(f"predictor {name!r}: {modality} must be {list(shapes[modality])}; they are {shape}")
        if tensor.is_floating_point():
            _check_finite(name, modality, tensor, batch)
    raw = prediction
    prediction = replace(
        prediction,
        label_space=prediction.label_space or batch.context.label_space,
        flow=None if prediction.flow is None else prediction.flow.to(torch.float32),
    )
    if prediction.frames is None:
        return Checked(raw, prediction, None)
    frames = prediction.frames.to(torch.float32)
    low, high = frames.amin(dim=(2, 3, 4)), frames.amax(dim=(2, 3, 4))
    excess = torch.maximum(-low, high - 1)
    if (wrong := (excess > CLAMP).nonzero()).numel():
        i, step = (int(v) for v in wrong[0])
        raise PredictorError(
            f"predictor {name!r}: frames must lie in [0,1]; clip {batch.refs[i].id!r}, step {step + 1} spans "
            f"[{low[i, step]:.4g}, {high[i, step]:.4g}] (clamping is the predictor's job)"
        )
    clamped = excess > 0
    if clamped.any():
        frames = frames.clamp(0, 1)
    return Checked(raw, replace(prediction, frames=frames), clamped)


_DTYPES = {
    "frames": "floating point in [0,1]",
    "semantics": "floating-point scores [B,K,C,H,W] or int64 labels [B,K,H,W]",
    "flow": "floating point",
    "disocclusion": "bool",
}


def _fits(modality: str, tensor: Tensor) -> bool:
    if modality == "semantics":
        return tensor.dtype == torch.int64 if tensor.ndim == 4 else tensor.is_floating_point()
    return tensor.dtype == torch.bool if modality == "disocclusion" else tensor.is_floating_point()


def _versions(batch: Batch, prediction: Prediction | None = None) -> list[int]:
    """Return torch's counters of changes in place of everything that predictors and metrics share."""
    shared = [*vars(batch.context).values(), *vars(batch.future).values()]
    shared += [] if prediction is None else prediction.given().values()
    return [value._version for value in shared if isinstance(value, Tensor)]


def _check_finite(name: str, modality: str, tensor: Tensor, batch: Batch) -> None:
    finite = torch.isfinite(tensor).flatten(2).all(dim=2)
    if (wrong := (~finite).nonzero()).numel():
        i, step = (int(v) for v in wrong[0])
        raise PredictorError(
            f"predictor {name!r}: {modality} of clip {batch.refs[i].id!r}, step {step + 1} hold NaN or inf"
        )


def measure(
    name: str,
    checked: Checked,
    batch: Batch,
    metrics: Mapping[str, Metric],
    *,
    quantise: bool,
    sample: int | None,
    seen: Collection[Modality],
) -> list[Row]:
    """Measure a checked prediction and return its rows.

    Args:
        name: the predictor's name, for messages.
        checked: what :func:`predict` returned.
        batch: the batch it was predicted from.
        metrics: by name.
        quantise: round the predicted frames to 8 bits first.
        sample: the sample's number for a stochastic predictor, else None.
        seen: modalities of the context that the predictor was shown.

    Raises:
        PredictorError: scores of another number of classes than the label space has.
        MetricError: a metric failed or returned something else than finite statistics per clip and step.
    """
    steps = batch.future.steps
    prediction = _at(checked.prediction, steps, batch.horizon, quantise)
    if batch.future.semantics is not None:
        size = batch.future.semantics.shape[-2:]
        prediction = replace(prediction, semantics=_resized(name, prediction, (size[0], size[1])))
    # Copies made here count changes in place, which tensors made in inference mode do not.
    prediction = replace(prediction, **{m: t.clone() for m, t in prediction.given().items()})  # type: ignore[arg-type]
    comparison = Comparison(prediction, batch.future)
    rows: list[Row] = []
    for metric_name, metric in metrics.items():
        before = _versions(batch, prediction)
        try:
            with torch.inference_mode():
                table = [list(line) for line in metric.measure(comparison)]
        except VpbenchError as error:
            raise MetricError(f"metric {metric_name!r} on {name!r}: {error}") from error
        except Exception as error:
            raise MetricError(
                f"metric {metric_name!r} failed on {name!r}, clip {batch.refs[0].id!r}: {type(error).__name__}: {error}"
            ) from error
        if _versions(batch, prediction) != before:
            raise InPlaceError(f"metric {metric_name!r} changes what it measures in place: clone what it writes to")
        if len(table) != len(batch.refs) or any(len(line) != len(steps) for line in table):
            raise MetricError(
                f"metric {metric_name!r} must give {len(batch.refs)} x {len(steps)} statistics (clips x steps)"
            )
        first = len(rows)
        for i, ref in enumerate(batch.refs):
            data = data_fields(batch.digests[i], metric, seen)
            for j, step in enumerate(steps):
                row: Row = {"clip": ref.id, "step": step, "metric": metric_name, **_fields(metric_name, table[i][j])}
                row |= data
                if sample is not None:
                    row["sample"] = sample
                if checked.clamped is not None and bool(checked.clamped[i, step - 1]):
                    row["clamped"] = True
                rows.append(row)
        if defined := [row["value"] for row in rows[first:] if row["status"] == "ok"]:
            finalise(metric, defined)  # a metric that makes no score of them fails here, not after the last clip
    return rows


def data_fields(digests: Mapping[str, str], metric: Metric, seen: Collection[Modality]) -> Row:
    """Return the fields of a row that say which data it is of.

    ``data`` covers the frames of context and truth and the truth that the metric needs, so it is the same for every
    predictor; ``context`` covers what else of the context the predictor was shown, if anything.
    """
    truth = (f"future {modality}" for modality in (*metric.info.needs, *metric.info.truth))
    fields: Row = {"data": combine(digests, ["context frames", "future frames", *truth])}
    if others := [f"context {modality}" for modality in seen if modality != "frames"]:
        fields["context"] = combine(digests, others)
    return fields


def _resized(name: str, prediction: Prediction, size: tuple[int, int]) -> Tensor | None:
    """Return the predicted semantics at the true labels' size: of class scores, brought there bilinearly, the largest.

    Labels are taken from the nearest pixel. What has that size already is returned as it is.
    """
    semantics, space = prediction.semantics, prediction.label_space
    if semantics is None or tuple(semantics.shape[-2:]) == size:
        return semantics
    if semantics.ndim == 4:
        rows, columns = (
            torch.arange(new, device=semantics.device) * old // new
            for old, new in zip(semantics.shape[-2:], size, strict=True)
        )
        return semantics[..., rows[:, None], columns]
    if space is not None and semantics.shape[2] != len(space):
        raise PredictorError(
            f"predictor {name!r} gives scores of {semantics.shape[2]} classes; "
            f"the label space {space.name!r} has {len(space)}"
        )
    # A frame at a time: scores of many classes at the size of labels are large.
    labels = [
        interpolate(scores[None].float(), size, mode="bilinear", align_corners=False).argmax(1)
        for scores in semantics.flatten(0, 1)
    ]
    return torch.stack(labels).view(*semantics.shape[:2], *size)


def _fields(name: str, statistic: object) -> Row:
    if isinstance(statistic, Undefined):
        return {"status": "undefined", "reason": statistic.reason, "value": None}
    if isinstance(statistic, Value):
        return {"status": "ok", "value": _plain(name, statistic.value), "note": statistic.note}
    if isinstance(statistic, Sequence) and not isinstance(statistic, (str, bytes)):
        return {"status": "ok", "value": [_plain(name, v) for v in statistic]}
    return {"status": "ok", "value": _plain(name, statistic)}


def _plain(name: str, value: object) -> float | int:
    if isinstance(value, (str, bytes)):
        raise MetricError(f"metric {name!r} gave a {type(value).__name__}: a statistic is numbers")
    if isinstance(value, Integral) and not isinstance(value, bool):  # numpy's integers too
        return int(value)
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise MetricError(f"metric {name!r} gave a {type(value).__name__}: a statistic is numbers") from error
    if not math.isfinite(number):
        raise MetricError(f"metric {name!r} gave {number}: return Undefined(reason) where there is no value")
    return number


def _at(prediction: Prediction, steps: Sequence[int], horizon: int, quantise: bool) -> Prediction:
    """Return the prediction at the scored steps, its frames rounded to 8 bits where the protocol says so."""
    if tuple(steps) != tuple(range(1, horizon + 1)):
        index = torch.tensor([step - 1 for step in steps])
        cut = {m: t.index_select(1, index.to(t.device)) for m, t in prediction.given().items()}
        prediction = replace(prediction, **cut)  # type: ignore[arg-type]
    if quantise and prediction.frames is not None:
        prediction = replace(prediction, frames=(prediction.frames * 255).round().div(255))
    return prediction
