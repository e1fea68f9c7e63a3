"""Plugins that break their contract, in one way each, and one of each kind that keeps it.

``FAULTS`` names the check that must fail for each of them.
"""

from __future__ import annotations

import itertools
import os
import secrets
import sys
from fractions import Fraction
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import BaseModel, Field, PlainSerializer

import vpbench

FAULTS: dict[tuple[str, str], str] = {}
"""The check that fails, by (kind, name)."""
CONFORMING = [("predictor", "good"), ("annotator", "good")]
CONFORMING += [("annotator", "partlyunknown"), ("metric", "longclips")]
CONFORMING += [("metric", name) for name in ("good", "goodset", "goodsample", "undefinedsteps", "undefined")]
CLASSES: dict[tuple[str, str], str] = {}


def _register(kind: str):
    def hook(register):
        for (entry_kind, name), target in CLASSES.items():
            if entry_kind == kind:
                register(name, f"{__name__}:{target}")

    return hook


@vpbench.hookimpl
def register_predictors(register):
    _register("predictor")(register)


@vpbench.hookimpl
def register_metrics(register):
    _register("metric")(register)


@vpbench.hookimpl
def register_annotators(register):
    _register("annotator")(register)


def plugin(kind: str, fault: str = "", name: str = ""):
    """Register a class; ``fault`` is the check that fails."""

    def add(cls):
        key = kind, name or cls.__name__.lower()
        CLASSES[key] = cls.__name__
        if fault:
            FAULTS[key] = fault
        return cls

    return add


# --- predictors ---


def last(context, horizon):
    return context.frames[:, -1:].repeat(1, horizon, 1, 1, 1)


@plugin("predictor", name="good")
class Good(torch.nn.Module):
    """Noise, an option, a preset, a buffer and weights: everything at once, and everything as it should be."""

    class Options(BaseModel):
        rate: float = Field(default=0.1, ge=0, le=1)

    presets = {"fast": {"rate": 0.5}}
    info = vpbench.PredictorInfo(stochastic=True, uses=("semantics",))

    def __init__(self, options) -> None:
        super().__init__()
        self.rate = options.rate
        self.layer = torch.nn.Conv2d(3, 3, 1)
        self.register_buffer("grey", torch.full((3, 1, 1), 0.5))

    def predict(self, context, horizon, generators):
        noise = torch.stack([torch.rand(3, 1, 1, generator=g) for g in generators])
        frame, frames = context.frames[:, -1], []
        for _ in range(horizon):
            frame = (frame + self.rate * (torch.tanh(self.layer(frame)) + noise.to(frame.device) - self.grey)).clamp(
                0, 1
            )
            frames.append(frame)
        return vpbench.Prediction(frames=torch.stack(frames, dim=1))


def predictor(fault, **info):
    """Register a predictor of one function (context, horizon, generators) -> frames."""

    def add(function):
        def predict(self, context, horizon, generators):
            return vpbench.Prediction(frames=function(context, horizon, generators))

        name = f"P{function.__name__}"
        cls = type(name, (), {"predict": predict, "info": vpbench.PredictorInfo(**info), "__module__": __name__})
        globals()[name] = cls
        return plugin("predictor", fault, function.__name__)(cls)

    return add


@plugin("predictor", "builds")
class Unbuildable:
    info = vpbench.PredictorInfo()

    def __init__(self) -> None:
        raise RuntimeError("no licence")

    def predict(self, context, horizon, generators): ...


@plugin("predictor", "presets")
class BadPreset(Good):
    presets = {"fast": {"rate": 7}}


@plugin("predictor", "presets")
class PresetWithoutOptions:
    info = vpbench.PredictorInfo()
    presets = {"fast": {"rate": 0.5}}

    def predict(self, context, horizon, generators):
        return vpbench.Prediction(frames=last(context, horizon))


@plugin("predictor", "options")
class LossyOption(Good):
    class Options(BaseModel):
        rate: float = 0.1
        extra: Annotated[int, PlainSerializer(lambda value: value + 1)] = 1


@plugin("predictor", "identity")
class RandomWeights(Good):
    def __init__(self, options) -> None:
        super().__init__(options)
        self.layer.bias.data.fill_(secrets.randbelow(2**20) / 2**20)


@predictor("output")
def one_step_too_many(context, horizon, generators):
    return last(context, horizon + 1)


@predictor("output")
def too_bright(context, horizon, generators):
    return last(context, horizon) + 1


@predictor("uses", uses=("semantics",))
def needs_labels(context, horizon, generators):
    return last(context, horizon) * (context.semantics[:, :1, None] > 0)


@predictor("context")
def three_frames(context, horizon, generators):
    return (context.frames[:, 2:3] + 0 * context.frames[:, 0:1]).repeat(1, horizon, 1, 1, 1)


@predictor("context", context=(2, None))
def not_five_frames(context, horizon, generators):
    assert context.frames.shape[1] != 5
    return last(context, horizon)


@predictor("context", context=(2, 7))
def six_frames_at_most(context, horizon, generators):
    assert context.frames.shape[1] <= 6
    return last(context, horizon)


@predictor("size")
def even_width(context, horizon, generators):
    assert context.frames.shape[-1] % 2 == 0
    return last(context, horizon)


@predictor("size")
def even_height(context, horizon, generators):
    assert context.frames.shape[-2] % 2 == 0
    return last(context, horizon)


@predictor("size")
def stride_of_eight(context, horizon, generators):
    b, _, c, h, w = context.frames.shape
    return last(context, horizon).view(b, horizon, c, h // 8, 8, w // 8, 8).reshape(b, horizon, c, h, w)


@predictor("batch")
def mixes_batch(context, horizon, generators):
    frames = last(context, horizon)
    return (frames - frames.mean() + 0.5).clamp(0, 1)


@predictor("order")
def counts_clips(context, horizon, generators):
    weights = torch.linspace(0.5, 1, len(context.clips)).view(-1, 1, 1, 1, 1)
    return weights.to(context.frames) * last(context, horizon)


@plugin("predictor", "repeated calls")
class Remembers:
    info = vpbench.PredictorInfo()

    def predict(self, context, horizon, generators):
        self.calls = getattr(self, "calls", 0) + 1
        return vpbench.Prediction(frames=last(context, horizon) / self.calls)


@plugin("predictor", "repeated calls")
class CarriesOver:
    """Starts from the clips of the call before, as a hidden state that is never reset would."""

    info = vpbench.PredictorInfo()

    def predict(self, context, horizon, generators):
        level, self.level = getattr(self, "level", 0.5), context.frames.mean()
        return vpbench.Prediction(frames=last(context, horizon) * level)


@plugin("predictor", "repeated calls")
class KeepsFirst:
    """Calibrates itself on its first call, as lazily initialised statistics would."""

    info = vpbench.PredictorInfo()
    level = None

    def predict(self, context, horizon, generators):
        if self.level is None:
            self.level = context.frames.mean()
        return vpbench.Prediction(frames=0.9 * last(context, horizon) + 0.1 * self.level)


@predictor("randomness")
def torch_random(context, horizon, generators):
    return last(context, horizon) * torch.rand(1).to(context.frames)


@predictor("samples", stochastic=True)
def never_random(context, horizon, generators):
    return last(context, horizon)


@predictor("samples")
def secretly_random(context, horizon, generators):
    noise = torch.stack([torch.rand(1, generator=g) for g in generators]).view(-1, 1, 1, 1, 1)
    return last(context, horizon) * noise.to(context.frames)


@predictor("samples")
def fades_by_sample(context, horizon, generators):
    return last(context, horizon) * (1 - 0.01 * context.sample)


@predictor("causal")
def plans_ahead(context, horizon, generators):
    return last(context, horizon) / horizon


@predictor("causal")
def special_first_step(context, horizon, generators):
    return last(context, horizon) / (2 if horizon == 1 else 1)


@predictor("causal")
def chunks_of_three(context, horizon, generators):
    return last(context, horizon) / (2 if horizon % 3 == 0 else 1)


@predictor("future")
def peeks(context, horizon, generators):
    frame = sys._getframe()
    while "batch" not in frame.f_locals:
        frame = frame.f_back
    return frame.f_locals["batch"].future.frames[:, :horizon].clone()


@predictor("input")
def writes_into_context(context, horizon, generators):
    context.frames[:, 0] = 0
    return last(context, horizon)


@predictor("state")
def sets_threads(context, horizon, generators):
    torch.set_num_threads(torch.get_num_threads() + 1)
    return last(context, horizon)


@predictor("state")
def sets_environment(context, horizon, generators):
    os.environ["VPBENCH_TEST_STATE"] = secrets.token_hex(4)
    return last(context, horizon)


@predictor("state")
def seeds_numpy(context, horizon, generators):
    np.random.seed(7)
    return last(context, horizon)


@plugin("predictor", "pickling")
class HoldsLambda:
    info = vpbench.PredictorInfo()

    def __init__(self) -> None:
        self.function = lambda frames: frames

    def predict(self, context, horizon, generators):
        return vpbench.Prediction(frames=self.function(last(context, horizon)))


@plugin("predictor", "device")
class StaysOnCpu(torch.nn.Module):
    info = vpbench.PredictorInfo()

    def __init__(self) -> None:
        super().__init__()
        self.gain = torch.full((3, 1, 1), 0.5)

    def predict(self, context, horizon, generators):
        return vpbench.Prediction(frames=last(context, horizon) * self.gain)


@predictor("device")
def predicts_on_cpu(context, horizon, generators):
    return torch.full((len(context.clips), horizon, 3, *context.frames.shape[-2:]), 0.5)


# --- metrics ---


def info(name, **members):
    return vpbench.MetricInfo(name, revision=1, better="lower", **members)


@plugin("metric", name="good")
class Brightness(vpbench.ClipMean):
    info = info("good")

    def measure(self, comparison):
        predicted, true = comparison.frames
        return (predicted.mean(dim=(2, 3, 4)) - true.mean(dim=(2, 3, 4))).abs().tolist()


@plugin("metric", name="undefinedsteps")
class UndefinedSteps(Brightness):
    """Has no value at the second step."""

    info = info("undefinedsteps")

    def measure(self, comparison):
        undefined = vpbench.Undefined("nothing moves")
        return [[undefined if step == 1 else v for step, v in enumerate(line)] for line in super().measure(comparison)]


@plugin("metric", name="undefined")
class NeverDefined(Brightness):
    """Has no value on synthetic clips."""

    info = info("undefined")

    def measure(self, comparison):
        return [[vpbench.Undefined("nothing moves") for _ in line] for line in super().measure(comparison)]


@plugin("metric", name="longclips")
class LongClips(Brightness):
    """Needs more steps than synthetic clips have."""

    info = info("longclips")

    def why_not(self, setting):
        return super().why_not(setting) or ("" if setting.steps >= 30 else "it needs 30 steps or more")


@plugin("metric", name="offline")
class Offline(Brightness):
    """Has no weights here."""

    info = info("offline")

    def why_not(self, setting):
        return "weights missing"

    def obtain_weights(self):
        raise vpbench.DataError("get them elsewhere")


@plugin("metric", name="goodset")
class MeanColour(vpbench.SetMetric):
    info = info("goodset")

    def features(self, comparison):
        predicted, true = comparison.frames
        return predicted.mean(dim=(1, 3, 4)), true.mean(dim=(1, 3, 4))

    def score(self, features):
        return float(np.abs(features.predicted.mean(axis=(0, 1)) - features.true.mean(axis=0)).sum())


@plugin("metric", name="goodsample")
class Spread(vpbench.SampleMean):
    info = info("goodsample")

    def measure_samples(self, comparison):
        samples, _ = comparison.frames
        return samples.var(dim=0, correction=0).mean(dim=(1, 2, 3)).tolist()


@plugin("metric", "builds", "misnamed")
class Misnamed(Brightness):
    info = info("named-otherwise")


@plugin("metric", "engines", "brokenengine")
class BrokenEngine(Brightness):
    info = info("brokenengine")
    engines = ("plain", "quick")

    def __init__(self, device="cpu", engine="plain") -> None:
        super().__init__(device)
        if engine == "quick":
            raise ImportError("no quick library")


@plugin("metric", "lacking", "appliesalways")
class AppliesAlways(Brightness):
    info = info("appliesalways", needs=("frames", "flow"))

    def why_not(self, setting):
        return ""


@plugin("metric", "applies", "whynotfails")
class WhyNotFails(Brightness):
    info = info("whynotfails", needs=())

    def why_not(self, setting):
        return "" if setting.size is None else str(setting.size[2])


@plugin("metric", "applies", "refusesall")
class RefusesAll(Brightness):
    info = info("refusesall")

    def why_not(self, setting):
        return "no"


@plugin("metric", "input", "metricwrites")
class MetricWrites(Brightness):
    info = info("metricwrites")

    def measure(self, comparison):
        comparison.frames[1].mul_(0.5)
        return super().measure(comparison)


@plugin("metric", "input", "setwrites")
class SetWrites(MeanColour):
    info = info("setwrites")

    def features(self, comparison):
        comparison.context_frames.zero_()
        return super().features(comparison)


@plugin("metric", "output", "exchanged")
class Exchanged(Brightness):
    info = info("exchanged")

    def measure(self, comparison):
        return list(zip(*super().measure(comparison), strict=True))


@plugin("metric", "output", "withoutreason")
class WithoutReason(Brightness):
    info = info("withoutreason")

    def measure(self, comparison):
        return [[vpbench.Undefined(" ") for _ in line] for line in super().measure(comparison)]


@plugin("metric", "output", "integerfeatures")
class IntegerFeatures(MeanColour):
    info = info("integerfeatures")

    def features(self, comparison):
        predicted, true = super().features(comparison)
        return (255 * predicted).long(), (255 * true).long()


@plugin("metric", "repeated calls", "randommetric")
class RandomMetric(Brightness):
    info = info("randommetric")

    def measure(self, comparison):
        return [[v * torch.rand(1).item() for v in line] for line in super().measure(comparison)]


@plugin("metric", "batch", "batchmetric")
class BatchMetric(Brightness):
    info = info("batchmetric")

    def measure(self, comparison):
        table = torch.tensor(super().measure(comparison))
        return (table / table.mean()).tolist()


@plugin("metric", "batch", "batchset")
class BatchSet(MeanColour):
    info = info("batchset")

    def features(self, comparison):
        predicted, true = super().features(comparison)
        return predicted - predicted.mean(0, keepdim=True), true


@plugin("metric", "order", "ordermetric")
class OrderMetric(Brightness):
    info = info("ordermetric")

    def measure(self, comparison):
        return [[v + i for v in line] for i, line in enumerate(super().measure(comparison))]


@plugin("metric", "score", "firstmatters")
class FirstMatters(Brightness):
    info = info("firstmatters")

    def finalise(self, statistics):
        return statistics[0]


@plugin("metric", "score", "drifting")
class Drifting(MeanColour):
    info = info("drifting")
    calls = itertools.count()

    def score(self, features):
        return super().score(features) + next(self.calls)


@plugin("metric", "score", "firstclip")
class FirstClip(MeanColour):
    info = info("firstclip")

    def score(self, features):
        return float(np.abs(features.predicted[0, 0] - features.true[0]).sum())


@plugin("metric", "score", "middleclip")
class MiddleClip(MeanColour):
    info = info("middleclip")

    def score(self, features):
        return float(np.abs(features.predicted[1, 0] - features.true[1]).sum())


@plugin("metric", "resample", "otherestimator")
class OtherEstimator(Brightness):
    info = info("otherestimator")

    def finalise(self, statistics):
        return float(np.median(statistics))


@plugin("metric", "json", "fractions")
class Fractions(Brightness):
    info = info("fractions")

    def measure(self, comparison):
        return [[Fraction(v) / 3 for v in line] for line in super().measure(comparison)]


@plugin("metric", "extremes", "logarithm")
class Logarithm(Brightness):
    info = info("logarithm")

    def measure(self, comparison):
        predicted, true = comparison.frames
        return (predicted - true).square().mean(dim=(2, 3, 4)).log().tolist()


@plugin("metric", "extremes", "darkness")
class Darkness(Brightness):
    info = info("darkness")

    def measure(self, comparison):
        predicted, _ = comparison.frames
        return (1 - predicted.mean(dim=(2, 3, 4))).log().tolist()


@plugin("metric", "one sample", "needstwo")
class NeedsTwo(Spread):
    info = info("needstwo")

    def measure_samples(self, comparison):
        samples, _ = comparison.frames
        return samples.var(dim=0, correction=1).mean(dim=(1, 2, 3)).tolist()


@plugin("metric", "state", "metricstate")
class MetricState(Brightness):
    info = info("metricstate")

    def measure(self, comparison):
        torch.use_deterministic_algorithms(True)
        return super().measure(comparison)


# --- annotators ---


@plugin("annotator", name="good")
class Still(vpbench.BaseAnnotator):
    """A flow that differs by entry."""

    info = vpbench.AnnotatorInfo(gives="flow")

    class Options(BaseModel):
        gain: float = 1.0

    presets = {"strong": {"gain": 2.0}}

    def __init__(self, options) -> None:
        self.gain = options.gain

    def annotate(self, window, clips, device):
        means = window["frames"].mean(axis=(1, 2, 3, 4)) / 255
        flow = np.zeros((len(clips), *window["frames"].shape[2:4], 2), np.float32)
        return (flow + self.gain * means[:, None, None, None]).astype(np.float32)


DEPTH = vpbench.ModalitySpec("depth", "float32", pixels="nearest")


@plugin("annotator", name="partlyunknown")
class PartlyUnknown(Still):
    """Marks unknown depth with NaN, which a modality of a plugin's own may do."""

    info = vpbench.AnnotatorInfo(gives="depth", declares=(DEPTH,))

    def annotate(self, window, clips, device):
        depth = super().annotate(window, clips, device)[..., 0]
        depth[:, 0, 0] = np.nan
        return depth


@plugin("annotator", "builds")
class NoInfo(Still):
    info = "flow"


@plugin("annotator", "presets")
class WrongPreset(Still):
    presets = {"strong": {"strength": 2.0}}


@plugin("annotator", "presets")
class StrengthWithoutOptions(vpbench.BaseAnnotator):
    info = vpbench.AnnotatorInfo(gives="flow")
    presets = {"strong": {"gain": 2.0}}

    def annotate(self, window, clips, device):
        return np.zeros((len(clips), *window["frames"].shape[2:4], 2), np.float32)


@plugin("annotator", "options")
class LossyGain(Still):
    class Options(BaseModel):
        gain: Annotated[float, PlainSerializer(lambda value: value + 1)] = 1.0


@plugin("annotator", "identity")
class RandomGain(Still):
    def __init__(self, options) -> None:
        super().__init__(options)
        self.salt = secrets.randbelow(2**40)


@plugin("annotator", "output")
class HalfSize(Still):
    def annotate(self, window, clips, device):
        return super().annotate(window, clips, device)[:, ::2, ::2]


@plugin("annotator", "output")
class HoleInFlow(Still):
    def annotate(self, window, clips, device):
        flow = super().annotate(window, clips, device)
        flow[-1, 0, 0] = np.nan
        return flow


@plugin("annotator", "output")
class UnknownDepth(Still):
    info = vpbench.AnnotatorInfo(gives="depth", declares=(DEPTH,))

    def annotate(self, window, clips, device):
        return np.full((len(clips), *window["frames"].shape[2:4]), np.nan, np.float32)


@plugin("annotator", "batch")
class Centres(Still):
    def annotate(self, window, clips, device):
        flow = super().annotate(window, clips, device)
        return flow + np.float32(len(clips))


@plugin("annotator", "batch")
class UnknownAlone(Still):
    def annotate(self, window, clips, device):
        flow = super().annotate(window, clips, device)
        flow[:, 0, 0] = np.nan if len(clips) == 1 else 0
        return flow


@plugin("annotator", "order")
class CountsEntries(Still):
    def annotate(self, window, clips, device):
        flow = super().annotate(window, clips, device)
        return flow + np.arange(len(clips), dtype=np.float32)[:, None, None, None]


@plugin("annotator", "repeated calls")
class KeepsState(Still):
    def annotate(self, window, clips, device):
        self.calls = getattr(self, "calls", 0) + 1
        return super().annotate(window, clips, device) + np.float32(self.calls)


@plugin("annotator", "randomness")
class DrawsNoise(Still):
    def annotate(self, window, clips, device):
        return super().annotate(window, clips, device) + np.float32(np.random.rand())


@plugin("annotator", "input")
class WritesWindow(Still):
    def annotate(self, window, clips, device):
        flow = super().annotate(window, clips, device)
        window["frames"][:] = 0
        return flow


@plugin("annotator", "state")
class SetsThreads(Still):
    def annotate(self, window, clips, device):
        torch.set_num_threads(torch.get_num_threads() + 1)
        return super().annotate(window, clips, device)


@plugin("annotator", "pickling")
class HoldsFile(Still):
    def __init__(self, options) -> None:
        super().__init__(options)
        self.file: Any = open(os.devnull)  # noqa: SIM115, PTH123
