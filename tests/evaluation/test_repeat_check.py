"""How far a clip predicted again may differ: just inside each tolerance passes, just outside is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import vpbench
from vpbench.clips.batch import Batch
from vpbench.evaluation.prediction import Caller
from vpbench.evaluation.repeat_check import TOLERANCES, RepeatCheck, differences
from vpbench.plugin.clip import Context, Future
from vpbench.protocol.sampling import ClipRef

HEIGHT, WIDTH, STEPS = 20, 50, 2  # 1000 pixels


def batch(count: int = 4, first: int = 0, width: int = WIDTH) -> Batch:
    generator = torch.Generator().manual_seed(first)
    frames = 0.25 + 0.5 * torch.rand(count, 3, 3, HEIGHT, width, generator=generator)
    refs = tuple(ClipRef(f"clip{first + i}", range(5), 3, (1, 2)) for i in range(count))
    clips = tuple(ref.id for ref in refs)
    future = Future(frames[:, :STEPS], (1, 2), clips, frames[:, -1])
    return Batch(refs, Context(frames, clips), future, STEPS, tuple({} for _ in refs))


def still(context: Context, horizon: int) -> vpbench.Prediction:
    b = len(context.clips)
    frames = context.frames[:, -1:].repeat(1, horizon, 1, 1, 1)
    size = (b, horizon, HEIGHT, WIDTH)
    flow = torch.zeros(b, horizon, 2, HEIGHT, WIDTH)
    return vpbench.Prediction(frames, torch.zeros(size, dtype=torch.int64), flow, torch.zeros(size, dtype=torch.bool))


class Differs(torch.nn.Module):
    """Predicts otherwise by ``amount`` where ``trigger(batch size, number of the call)``; in the last step only."""

    info = vpbench.PredictorInfo()

    def __init__(self, modality, amount, trigger, dtype=torch.float32):
        super().__init__()
        self.modality, self.amount, self.trigger, self.calls = modality, amount, trigger, 0
        self.weight = torch.nn.Parameter(torch.zeros(1, dtype=dtype))

    def predict(self, context, horizon, generators):
        self.calls += 1
        prediction = still(context, horizon)
        if not self.trigger(len(context.clips), self.calls):
            return prediction
        changed = getattr(prediction, self.modality).clone()
        if changed.is_floating_point():
            changed[:, -1] += self.amount
        else:
            flat = changed[:, -1].flatten(1).clone()
            flat[:, : round(self.amount * flat.shape[1])] = 1
            changed[:, -1] = flat.view(changed[:, -1].shape)
        return replace(prediction, **{self.modality: changed})


def check(predictor, *batches: Batch) -> int:
    """Predict, check, and return the number of calls."""
    repeat = RepeatCheck(Caller("net", predictor, predictor.info, ("frames",), 0))
    for clips in batches:
        repeat.add(clips, repeat.caller.predict(clips, 0).prediction)
    repeat.finish()
    assert repeat.finished
    return predictor.calls


def single_clip(size: int, call: int) -> bool:
    return size == 1


@pytest.mark.parametrize("modality", TOLERANCES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_size_of_a_batch_may_change_a_prediction_within_the_tolerance(modality, dtype):
    """Rounding, as TF32 or bfloat16 kernels of another shape make it; in float32 on the CPU there is hardly any."""
    tolerance = TOLERANCES[modality]
    limit = tolerance.exact if dtype is torch.float32 else tolerance.rounded
    check(Differs(modality, 0.97 * limit, single_clip, dtype), batch())
    with pytest.raises(vpbench.PredictorError, match="the other clips of the batch decide about it") as caught:
        check(Differs(modality, 1.6 * limit, single_clip, dtype), batch())
    assert f"its {modality} differ by" in str(caught.value)
    assert "'clip2@0' predicted a second time" in str(caught.value)


@pytest.mark.parametrize("modality", TOLERANCES)
def test_calls_of_one_size_agree_exactly_even_in_half_precision(modality):
    tolerance = TOLERANCES[modality]
    wandering = lambda size, call: call == 2  # noqa: E731
    check(Differs(modality, 0.97 * tolerance.exact, wandering, torch.bfloat16), batch())
    with pytest.raises(vpbench.PredictorError, match="it keeps state from earlier calls"):
        check(Differs(modality, 1.6 * tolerance.exact, wandering, torch.bfloat16), batch())


def test_a_flow_of_many_pixels_may_differ_in_proportion():
    flow = torch.full((1, 1, 2, 4, 4), 30.0)
    a, b = vpbench.Prediction(flow=flow), vpbench.Prediction(flow=flow + 0.3)
    assert differences(a, b)["flow"] == pytest.approx(0.3 / (30 * 2**0.5), rel=1e-3)


def test_scores_are_compared_by_the_label_they_give():
    scores = torch.rand(1, 2, 3, 4, 5)
    assert differences(vpbench.Prediction(semantics=scores), vpbench.Prediction(semantics=2 * scores)) == {
        "semantics": 0
    }
    flipped = scores.flip(2)
    assert differences(vpbench.Prediction(semantics=scores), vpbench.Prediction(semantics=flipped))["semantics"] > 0.3


def test_a_modality_that_one_prediction_lacks_differs():
    a = vpbench.Prediction(frames=torch.zeros(1, 1, 3, 2, 2))
    assert differences(a, replace(a, flow=torch.zeros(1, 1, 2, 2, 2)))["flow"] == float("inf")


def test_the_check_costs_one_clip():
    never = lambda size, call: False  # noqa: E731
    assert check(Differs("frames", 0, never), batch(4), batch(4, first=4)) == 3, "two batches, and one clip again"
    assert check(Differs("frames", 0, never), batch(1), batch(1, first=4), batch(1, first=8)) == 4, "and a batch of two"
    assert check(Differs("frames", 0, never), batch(1)) == 2


def test_clips_of_several_sizes_are_predicted_again_alone():
    class WidthDependent(Differs):
        def predict(self, context, horizon, generators):
            self.calls += 1
            return vpbench.Prediction(context.frames[:, -1:].repeat(1, horizon, 1, 1, 1))

    assert check(WidthDependent("frames", 0, single_clip), batch(1), batch(1, first=4, width=30)) == 3


def test_a_pair_that_does_not_fit_into_memory_is_no_error():
    class Small(Differs):
        def predict(self, context, horizon, generators):
            if len(context.clips) > 1:
                raise torch.OutOfMemoryError
            return super().predict(context, horizon, generators)

    check(Small("frames", 0, single_clip), batch(1), batch(1, first=4))
    with pytest.raises(vpbench.PredictorError, match="it keeps state"):
        check(Small("frames", 0.1, lambda size, call: call > 1), batch(1), batch(1, first=4))
    small = Small("frames", 2 * TOLERANCES["frames"].exact, lambda size, call: call > 1, torch.bfloat16)
    with pytest.raises(vpbench.PredictorError, match="it keeps state"):
        check(small, batch(1), batch(1, first=4))
