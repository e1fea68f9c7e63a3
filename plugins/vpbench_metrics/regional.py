"""MSE, MAE, PSNR and LPIPS of a region of the frame, and of each semantic class of the truth."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from vpbench.errors import MetricError
from vpbench.plugin.clip import IGNORE, Comparison
from vpbench.plugin.metric import ClipMean, Measurements, MetricInfo, Setting, Statistic, Undefined, Value
from vpbench_metrics.frames import everywhere, too_small
from vpbench_metrics.perceptual import LPIPS
from vpbench_metrics.pixels import MAE, MSE, PSNR, decibels
from vpbench_metrics.regions import NEEDS, USES, region
from vpbench_metrics.semantic import checked_labels, over_classes

_EMPTY = Undefined("the region is empty")
_REGION_TEXTS = {
    "disoccluded": "pixels that show what the last context frame does not",
    "covisible": "pixels that show what the last context frame shows too",
    "moving": "pixels that move by themselves",
    "static": "pixels that do not move by themselves",
}


class _Regional(ClipMean):
    """A metric whose error has a value at each pixel, averaged over some of them."""

    whole: ClassVar[type[ClipMean]]
    """The metric of whole frames."""
    library = "torch"

    def __init__(self, device: str = "cpu") -> None:
        super().__init__(device)
        self._whole = self.whole(device)

    def why_not(self, setting: Setting) -> str:
        """Return what is lacking for the whole frame, or for telling where the region is."""
        lacking = [m for m in self._needed() if m not in setting.truth]
        return self._whole.why_not(setting) or (f"the dataset has no {lacking[0]}" if lacking else "")

    def obtain_weights(self) -> Sequence[Path]:
        """Return the files of the metric of whole frames (raises as it does)."""
        return self._whole.obtain_weights()

    def _needed(self) -> Sequence[str]:
        raise NotImplementedError

    def _maps(self, comparison: Comparison) -> Iterator[Float[Tensor, "h w"]] | Undefined:
        """Yield each pixel's error, frame by frame, clip by clip."""
        predicted, true = comparison.frames
        if isinstance(self._whole, LPIPS):
            reason = too_small((true.shape[-2], true.shape[-1]), LPIPS.smallest)
            return Undefined(reason) if reason else self._whole.spatial(comparison)
        pairs = zip(predicted.flatten(0, 1), true.flatten(0, 1), strict=True)
        differences = (p.double() - t.double() for p, t in pairs)
        absolute = issubclass(self.whole, MAE)
        return ((d.abs() if absolute else d.square()).mean(dim=0) for d in differences)

    def _score(self, mean: float) -> float | Value:
        return decibels(mean) if issubclass(self.whole, PSNR) else mean


class _InRegion(_Regional):
    region: ClassVar[str]

    def _needed(self) -> Sequence[str]:
        return NEEDS[self.region]

    def measure(self, comparison: Comparison) -> Measurements:
        """Return the region's mean error in each frame; undefined where the region is empty.

        Raises:
            MetricError: a true modality is not of the frames' size.
        """
        maps = self._maps(comparison)
        if isinstance(maps, Undefined):
            return everywhere(comparison, maps)
        masks = region(comparison.future, self.region, self.info.name)
        return [[self._of(next(maps), mask) for mask in clip] for clip in masks]

    def _of(self, error: Float[Tensor, "h w"], mask: Tensor | Undefined) -> float | Value | Undefined:
        if isinstance(mask, Undefined):
            return mask
        inside = error[mask.to(error.device)].double()
        return self._score(inside.mean().item()) if inside.numel() else _EMPTY


class _ByClass(_Regional):
    """The score is the mean over classes of each class's mean over the frames that show it.

    The statistic of a frame is 2*C numbers: of each of the C classes its mean error (0 where the frame does not show
    it), then of each whether the frame shows it (1 or 0). PSNR's has one more: 1 where some class's MSE was floored,
    which the details count as ``"floored"``.
    """

    def _needed(self) -> Sequence[str]:
        return ("semantics",)

    def why_not(self, setting: Setting) -> str:
        """Return what is lacking for the whole frame, or for telling the classes of its pixels apart."""
        if reason := super().why_not(setting):
            return reason
        if setting.label_size not in (None, setting.size):
            return f"the labels are {_by(setting.label_size)} and the frames {_by(setting.size)}"
        return "" if setting.label_space else "the dataset names no label space"

    def measure(self, comparison: Comparison) -> Measurements:
        """Return each class's mean error in each frame; undefined where no pixel is labelled.

        Raises:
            MetricError: a label is not in the label space, or labels have another size than the frames.
        """
        maps = self._maps(comparison)
        if isinstance(maps, Undefined):
            return everywhere(comparison, maps)
        future = comparison.future
        labels, space = checked_labels(future, self.info.name)
        if labels.shape[2:] != tuple(future.frames.shape[-2:]):
            raise MetricError(
                f"{self.info.name}: the true labels of clip {future.clips[0]!r} are {_by(labels.shape[2:])}, its "
                f"frames {_by(future.frames.shape[-2:])}"
            )
        return [[self._of(next(maps), frame, len(space)) for frame in clip] for clip in labels]

    def _of(self, error: Float[Tensor, "h w"], labels: NDArray[np.integer], classes: int) -> list[float] | Undefined:
        counted = labels != IGNORE
        if not counted.any():
            return Undefined("no pixel of the true frame is labelled")
        ids = labels[counted]
        sums = np.bincount(ids, weights=error.double().cpu().numpy()[counted], minlength=classes)
        counts = np.bincount(ids, minlength=classes)
        scores = [self._score(s / n) if n else 0.0 for s, n in zip(sums.tolist(), counts.tolist(), strict=True)]
        means = [score.value if isinstance(score, Value) else score for score in scores]
        floored = [float(any(isinstance(score, Value) for score in scores))] if issubclass(self.whole, PSNR) else []
        return [*means, *(counts > 0).astype(float).tolist(), *floored]

    def finalise(self, statistics: Sequence[Statistic]) -> dict[str, float]:  # type: ignore[override]
        """Return the mean over classes, and each class's under ``"class <id>"`` (NaN where no frame shows it)."""
        if not statistics:
            return {"score": math.nan}
        columns = [math.fsum(column) for column in zip(*statistics, strict=True)]  # type: ignore[arg-type]
        classes = len(columns) // 2
        sums, counts, floored = columns[:classes], columns[classes : 2 * classes], columns[2 * classes :]
        means = [s / n if n else math.nan for s, n in zip(sums, counts, strict=True)]
        return over_classes(means) | ({"floored": floored[0]} if floored else {})

    def resample(self, statistics: Sequence[Sequence[Statistic]], draws: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the mean over classes of each resample, [R]."""
        sums = np.array([np.sum(np.array(frames, np.float64), axis=0) for frames in statistics])
        out = np.empty(len(draws))
        for i, draw in enumerate(draws):
            total = sums[draw].sum(axis=0)
            classes = len(total) // 2
            means, frames = total[:classes], total[classes : 2 * classes]
            out[i] = (means[frames > 0] / frames[frames > 0]).mean()
        return out


def _by(size: Sequence[int] | None) -> str:
    return "of their own size" if size is None else "x".join(map(str, size))


def _in_region(whole: type[ClipMean], region: str) -> type[_InRegion]:
    info = replace(
        whole.info,
        name=f"{whole.info.name}/{region}",
        revision=1,
        summary=f"{_NAMES[whole]} over {_REGION_TEXTS[region]}",
        truth=(*NEEDS[region], *USES[region]),
    )
    members = {
        "info": info,
        "whole": whole,
        "region": region,
        "__doc__": f"{info.summary[:1].upper()}{info.summary[1:]}.",
    }
    return type(f"{whole.__name__}{region.capitalize()}", (_InRegion,), members)


def _by_class(whole: type[ClipMean]) -> type[_ByClass]:
    info: MetricInfo = replace(
        whole.info,
        name=f"{whole.info.name}/classes",
        revision=2 if whole is PSNR else 1,
        summary=f"{_NAMES[whole]} of each true semantic class, and the mean over classes",
        truth=("semantics",),
    )
    doc = f"{info.summary[:1].upper()}{info.summary[1:]}. {_ByClass.__doc__}"
    return type(f"{whole.__name__}ByClass", (_ByClass,), {"info": info, "whole": whole, "__doc__": doc})


_NAMES = {MSE: "MSE", MAE: "MAE", PSNR: "PSNR", LPIPS: "spatial LPIPS"}

MSEDisoccluded, MSECovisible, MSEMoving, MSEStatic = (_in_region(MSE, region) for region in _REGION_TEXTS)
MAEDisoccluded, MAECovisible, MAEMoving, MAEStatic = (_in_region(MAE, region) for region in _REGION_TEXTS)
PSNRDisoccluded, PSNRCovisible, PSNRMoving, PSNRStatic = (_in_region(PSNR, region) for region in _REGION_TEXTS)
LPIPSDisoccluded, LPIPSCovisible, LPIPSMoving, LPIPSStatic = (_in_region(LPIPS, region) for region in _REGION_TEXTS)
MSEByClass, MAEByClass, PSNRByClass, LPIPSByClass = (_by_class(whole) for whole in _NAMES)
