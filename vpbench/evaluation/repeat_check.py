"""Check that a clip's prediction depends on the clip and its generators only.

Every process predicts one early clip a second time: in a batch of another size, after other calls, and with other
global random states. Both predictions must agree, or the predictor is refused by name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from vpbench.clips.batch import Batch, join
from vpbench.errors import PredictorError
from vpbench.evaluation.prediction import Caller
from vpbench.plugin.clip import Modality, Prediction
from vpbench.plugin.process_state import other_randomness
from vpbench.protocol.sampling import ClipRef


@dataclass(frozen=True)
class Tolerance:
    """How far two predictions of one clip may differ, as the mean over a frame; the worst frame counts."""

    exact: float
    """In float32 on the CPU, where deep recurrent models stay below it, and in batches of one size on any device."""
    rounded: float
    """On a GPU or in half precision, where batches of another size are rounded otherwise (TF32, bfloat16)."""
    unit: str


TOLERANCES: Mapping[Modality, Tolerance] = {
    "frames": Tolerance(0.1 / 255, 1 / 255, "of the range [0,1]"),
    "semantics": Tolerance(0.001, 0.01, "of the labels"),
    "flow": Tolerance(0.001, 0.01, "pixels (of the flow's mean length, if that is over one pixel)"),
    "disocclusion": Tolerance(0.001, 0.01, "of the pixels"),
}

_SEEDS = (0x5EED, 0xFACE)
_BATCH = (
    "the other clips of the batch decide about it (batch normalisation in training mode, statistics over the batch): "
    "treat each clip separately"
)
_RANDOM = (
    "it draws from a global random state (torch.rand, numpy.random, random, dropout in training mode): draw from "
    "`generators`, one per clip"
)
_STATE = (
    "it keeps state from earlier calls, or draws random numbers outside `generators`: let each call start from the "
    "context alone"
)
_SINGLE_CLIP = "it cannot predict one clip alone, or "


@dataclass(frozen=True)
class _Trial:
    """A clip in two batches, of which the first is predicted."""

    first: Batch
    prediction: Prediction
    """Prediction of the first batch."""
    place: int
    """The clip's place in the first batch."""
    second: Batch
    second_place: int


@dataclass
class RepeatCheck:
    """Predicts one clip again, once per process, before the process publishes anything."""

    caller: Caller
    finished: bool = False
    _batches: list[tuple[Batch, Prediction]] = field(default_factory=list)
    """The batches so far, while they hold only one clip."""

    def add(self, batch: Batch, prediction: Prediction) -> None:
        """Take the first sample of a batch; check as soon as a second clip is predicted.

        Raises:
            PredictorError: the predictions differ; says by how much and what the likely cause is.
        """
        if self.finished:
            return
        self._batches.append((batch, prediction))
        if sum(len(batches.refs) for batches, _ in self._batches) > 1:
            self.finish()

    def finish(self) -> None:
        """Check with the clips predicted so far (raises as :meth:`add`)."""
        if self.finished or not self._batches:
            return
        self.finished = True
        batches, self._batches = self._batches, []
        if len(batches) == 1 or not self._check_together(batches):
            self._check_alone(*max(batches, key=lambda pair: len(pair[0].refs)))

    def _check_alone(self, batch: Batch, prediction: Prediction) -> None:
        count = len(batch.refs)
        # The middle of a larger batch: a clip that another clip at either end of the batch could influence.
        for place in (0, 1) if count == 2 else (count // 2,):
            trial = _Trial(batch, prediction, place, batch.clip(place), 0)
            self._check(trial, self._predict(trial.second, _SEEDS[0]))

    def _check_together(self, batches: Sequence[tuple[Batch, Prediction]]) -> bool:
        """Predict clips together that were predicted separately; return whether the predictor takes such a batch."""
        joined = join([batch for batch, _ in batches])
        if joined is None:
            return False
        try:
            repeat = self._predict(joined, _SEEDS[0])
        except PredictorError:  # it has no memory for it, or is made for batches of one clip
            return False
        for place, (batch, prediction) in enumerate(batches):
            self._check(_Trial(batch, prediction, 0, joined, place), repeat)
        return True

    def _check(self, trial: _Trial, repeat: Prediction) -> None:
        """Compare both predictions; distinguish rounding, which depends on the batch size, from a broken promise."""
        first, second = _clip(trial.prediction, trial.place), _clip(repeat, trial.second_place)
        if not excess_of(first, second):
            return
        third = self._predict(trial.second, _SEEDS[1])
        if excess := excess_of(repeat, third):
            seeded = self._predict(trial.second, _SEEDS[0])
            raise self._refused(trial.second.refs, excess, _STATE if excess_of(repeat, seeded) else _RANDOM)
        resized = len(trial.first.refs) != len(trial.second.refs)
        if excess := excess_of(first, second, rounded=resized and self._rounds(trial.first)):
            repeated = self._predict(trial.first, _SEEDS[1])
            cause = _STATE if excess_of(trial.prediction, repeated) else _BATCH
            raise self._refused(trial.second.refs, excess, cause)

    def _predict(self, batch: Batch, seed: int) -> Prediction:
        try:
            with other_randomness(seed):
                return self.caller.predict(batch, 0).prediction
        except PredictorError as error:
            cause = f"{_SINGLE_CLIP if len(batch.refs) == 1 else ''}{_STATE}"
            raise self._refused(batch.refs, str(error), cause) from error.__cause__

    def _rounds(self, batch: Batch) -> bool:
        """Return whether the predictor runs on a GPU or holds weights in half precision."""
        return self.caller.half_precision or batch.context.frames.device.type != "cpu"

    def _refused(self, refs: Sequence[ClipRef], excess: str, cause: str) -> PredictorError:
        clips = " and ".join(repr(ref.id) for ref in refs)
        return PredictorError(
            f"predictor {self.caller.name!r} is refused: {clips} predicted a second time: {excess}. "
            f"Likely cause: {cause}"
        )


def differences(a: Prediction, b: Prediction) -> dict[Modality, float]:
    """Return the differences of two predictions of the same clips, in the units of ``TOLERANCES``.

    Each is a mean over a frame; the frame that differs most counts.
    """
    return {modality: _difference(modality, a, b) for modality in TOLERANCES if _is_predicted(modality, a, b)}


def _is_predicted(modality: Modality, a: Prediction, b: Prediction) -> bool:
    return modality in a.tensors() or modality in b.tensors()


def _difference(modality: Modality, a: Prediction, b: Prediction) -> float:
    x, y = a.tensors().get(modality), b.tensors().get(modality)
    if x is None or y is None or x.shape != y.shape:
        return math.inf
    if modality == "semantics" and x.ndim == 5:
        x, y = x.argmax(2), y.argmax(2)
    if modality not in ("frames", "flow"):
        return float((x != y).double().flatten(2).mean(2).max())
    distance = (x - y).abs().flatten(2).mean(2)
    if modality == "flow":
        distance = distance / x.norm(dim=2).flatten(2).mean(2).clamp(min=1)
    return float(distance.max())


def excess_of(a: Prediction, b: Prediction, *, rounded: bool = False) -> str:
    """Return by how much two predictions of the same clips differ, in words; "" within the tolerances."""
    for modality, difference in differences(a, b).items():
        tolerance = TOLERANCES[modality]
        limit = tolerance.rounded if rounded else tolerance.exact
        if difference > limit:
            return f"its {modality} differ by {difference:.2g} {tolerance.unit} on average; allowed are {limit:.2g}"
    return ""


def _clip(prediction: Prediction, place: int) -> Prediction:
    cut = {name: value[place : place + 1] for name, value in prediction.tensors().items()}
    return replace(prediction, **cut)  # type: ignore[arg-type]
