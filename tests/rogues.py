"""A plugin of predictors and metrics that break their contract, in one way each; `WORDS` says what their error says."""

from __future__ import annotations

import gc
import os
import random
import signal
import sys
import time
import warnings

import numpy as np
import torch

import vpbench

PREDICTORS: dict[str, type] = {}
WORDS: dict[str, str] = {}
"""For each predictor that must fail: words of its error."""
METRICS: dict[str, type] = {}
METRIC_WORDS: dict[str, str] = {}


@vpbench.hookimpl
def register_predictors(register):
    for name, cls in PREDICTORS.items():
        register(name, f"{__name__}:{cls.__name__}")


@vpbench.hookimpl
def register_metrics(register):
    for name, cls in METRICS.items():
        register(name, f"{__name__}:{cls.__name__}")


def last(context, horizon):
    return context.frames[:, -1:].repeat(1, horizon, 1, 1, 1)


def rogue(words="", **info):
    """Register a predictor of one function (self, context, horizon, generators) -> frames or prediction."""

    def decorate(function):
        def predict(self, context, horizon, generators):
            value = function(self, context, horizon, generators)
            return value if isinstance(value, vpbench.Prediction) else vpbench.Prediction(frames=value)

        name = function.__name__
        cls = type(name, (), {"predict": predict, "info": vpbench.PredictorInfo(**info), "__module__": __name__})
        PREDICTORS[name.replace("_", "-")] = globals()[name] = cls
        if words:
            WORDS[name.replace("_", "-")] = words
        return cls

    return decorate


# --- exceptions ---


@rogue("clip 'test/seq000@0': SystemExit: 0")
def exits(self, context, horizon, generators):
    sys.exit(0)


@rogue("clip 'test/seq000@0': SystemExit: os._exit(0) would end vpbench")
def quits(self, context, horizon, generators):
    os._exit(0)


@rogue("clip 'test/seq000@0': KeyboardInterrupt")
def interrupts(self, context, horizon, generators):
    raise KeyboardInterrupt


@rogue("clip 'test/seq000@0': StopIteration")
def stops(self, context, horizon, generators):
    next(iter(()))


@rogue("OddError: (its text cannot be read)")
def exits_when_printed(self, context, horizon, generators):
    class OddError(BaseException):
        def __str__(self):
            raise KeyboardInterrupt

    raise OddError


@rogue("RuntimeError: red alert xxxxx")
def loud(self, context, horizon, generators):
    raise RuntimeError("\x1b[31mred\x1b[0m\n\n\x1b]0;title\x07 alert\u202e " + "x" * 10**7)


@rogue("clip 'test/seq005@0': ValueError: no")
def dislikes_one_clip(self, context, horizon, generators):
    if "test/seq005@0" in context.clips:
        raise ValueError("no")
    return last(context, horizon)


@rogue("the 8 clips from 'test/seq000@0' together, and on none of them alone: ValueError: one at a time")
def one_at_a_time(self, context, horizon, generators):
    if len(context.clips) > 1:
        raise ValueError("one at a time")
    return last(context, horizon)


@rogue("changes the working directory")
def moves_away(self, context, horizon, generators):
    os.chdir("/")
    return last(context, horizon)


@rogue("writes into the data that others see")
def finds_tensors_of_others(self, context, horizon, generators):
    frames = last(context, horizon)
    for item in gc.get_objects():
        if type(item) is vpbench.Future:
            item.frames.mul_(0.5)
    return frames


# --- what is returned ---


@rogue("it is sparse_coo")
def sparse(self, context, horizon, generators):
    return last(context, horizon).to_sparse()


@rogue("it is quantized")
def quantized(self, context, horizon, generators):
    with warnings.catch_warnings(action="ignore"):
        return torch.quantize_per_tensor(last(context, horizon), 0.1, 0, torch.quint8)


@rogue("they are torch.complex64")
def complex_numbers(self, context, horizon, generators):
    return last(context, horizon) + 0j


@rogue("it is nested")
def nested(self, context, horizon, generators):
    with warnings.catch_warnings(action="ignore"):
        return torch.nested.nested_tensor(list(last(context, horizon)))


@rogue("it is meta")
def without_values(self, context, horizon, generators):
    return last(context, horizon).to("meta")


class Picture(torch.Tensor):
    """A subclass, as image libraries have them."""


@rogue("must be a torch.Tensor, not Picture")
def subclass(self, context, horizon, generators):
    return last(context, horizon).as_subclass(Picture)


@rogue("label_space must be a vpbench.LabelSpace, not str")
def space(self, context, horizon, generators):
    return vpbench.Prediction(frames=last(context, horizon), label_space="toy3")


@rogue("step 1 hold NaN or inf")
def too_large_for_float32(self, context, horizon, generators):
    return last(context, horizon).double() + 1e300


# --- dependence on more than the clip ---


@rogue("the other clips of the batch decide about it")
def mixes_batch(self, context, horizon, generators):
    frames = last(context, horizon)
    return (frames - frames.mean() + 0.5).clamp(0, 1)


@rogue("the other clips of the batch decide about it")
def mixes_last(self, context, horizon, generators):
    frames = last(context, horizon)
    return 0.9 * frames + 0.1 * frames[-1:]


@rogue("the other clips of the batch decide about it", stochastic=True)
def first_generator(self, context, horizon, generators):
    frames = last(context, horizon)
    return 0.9 * frames + 0.1 * torch.rand(frames.shape, generator=generators[0])


def noisy(context, noise):
    """Brighten each step by its own noise: one number alone would agree by chance in one call of 130."""
    return 0.9 * last(context, len(noise)) + 0.1 * torch.as_tensor(noise, dtype=torch.float32)[:, None, None, None]


@rogue("it draws from a global random state")
def torch_random(self, context, horizon, generators):
    return noisy(context, torch.rand(horizon))


@rogue("it draws from a global random state")
def numpy_random(self, context, horizon, generators):
    return noisy(context, np.random.rand(horizon))


@rogue("it draws from a global random state")
def python_random(self, context, horizon, generators):
    return noisy(context, [random.random() for _ in range(horizon)])


@rogue("it cannot predict one clip alone, or it keeps state from earlier calls")
def needs_company(self, context, horizon, generators):
    if len(context.clips) == 1:
        raise IndexError("alone")
    return last(context, horizon)


@rogue("it keeps state from earlier calls")
def remembers(self, context, horizon, generators):
    frames, earlier = last(context, horizon), getattr(self, "earlier", None)
    self.earlier = frames[-1].clone()
    return frames if earlier is None else 0.9 * frames + 0.1 * earlier


@rogue("it keeps state from earlier calls")
def counts(self, context, horizon, generators):
    type(self).calls = getattr(type(self), "calls", 0) + 1
    return last(context, horizon) * (0.5 if self.calls > 1 else 1)


@rogue("it keeps state from earlier calls")
def clock(self, context, horizon, generators):
    return last(context, horizon) * 0.5 + (time.perf_counter_ns() % 1000) / 2000


# --- what is allowed, and must not reach anybody else ---


@rogue()
def writes_numpy(self, context, horizon, generators):
    out = last(context, horizon)
    context.frames.numpy()[:] = 0.5
    context.frames.data.fill_(0.5)
    torch.from_dlpack(context.frames.detach()).fill_(0.5)
    torch.add(context.frames, 1, out=context.frames)
    return out


@rogue()
def writes_later(self, context, horizon, generators):
    for tensor in getattr(self, "references", ()):
        tensor.fill_(0.5)
    out = last(context, horizon)
    self.references = (context.frames, out)
    return out


@rogue(oracle=True)
def oracle_writes(self, context, horizon, generators):
    out = last(context, horizon)
    context.future.frames.fill_(0.5)
    context.future.last.fill_(0.5)
    context.future._cache["moments"] = context.future._cache["lpips"] = 0
    return out


@rogue()
def unsettles(self, context, horizon, generators):
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(True)
    torch.set_num_threads(1 + torch.get_num_threads())
    torch.use_deterministic_algorithms(True)
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    np.seterr(all="raise")
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123
    return last(context, horizon)


class Holding:
    """Modules in a list of a plain class, and in a list of a module."""

    info = vpbench.PredictorInfo()

    def __init__(self):
        self.nets = [torch.nn.Dropout(0.5)]
        self.outer = torch.nn.Module()
        self.outer.hidden = [torch.nn.Dropout(0.5)]

    def predict(self, context, horizon, generators):
        return vpbench.Prediction(frames=self.outer.hidden[0](self.nets[0](last(context, horizon))))


PREDICTORS["held"] = Holding


class Swallows:
    """Is stopped by Ctrl-C and does not care."""

    info = vpbench.PredictorInfo()

    def predict(self, context, horizon, generators):
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        except BaseException:
            pass
        return vpbench.Prediction(frames=last(context, horizon))


PREDICTORS["swallows"] = Swallows


class InfoRaises:
    @property
    def info(self):
        raise RuntimeError("no info today")

    def predict(self, context, horizon, generators):
        return None


class InfoRaisesLater:
    reads = 0

    @property
    def info(self):
        self.reads += 1
        if self.reads > 1:
            raise RuntimeError("once is enough")
        return vpbench.PredictorInfo()

    def predict(self, context, horizon, generators):
        return vpbench.Prediction(frames=last(context, horizon))


class ExitsWhenBuilt:
    info = vpbench.PredictorInfo()

    def __init__(self):
        sys.exit("no licence")


PREDICTORS |= {"info-raises": InfoRaises, "info-raises-later": InfoRaisesLater, "exits-when-built": ExitsWhenBuilt}


class Prints:
    """Prints at every level."""

    info = vpbench.PredictorInfo()

    def __init__(self):
        import atexit
        import ctypes

        print("built")
        self.libc = ctypes.CDLL(None)
        atexit.register(print, "bye")
        atexit.register(self.libc.puts, b"bye from C")

    def fingerprint(self):
        return "prints"

    def predict(self, context, horizon, generators):
        print("python", flush=True)
        sys.__stdout__.write("kept\n")
        os.write(1, b"descriptor\n")
        self.libc.puts(b"C")
        return vpbench.Prediction(frames=last(context, horizon))


PREDICTORS["prints"] = Prints


# --- metrics ---


def metric(words):
    def decorate(function):
        name = function.__name__.replace("_", "-")
        info = vpbench.MetricInfo(name, revision=1, better="lower")
        members = {"measure": lambda self, comparison: function(comparison), "info": info, "__module__": __name__}
        METRICS[name] = globals()[function.__name__] = type(function.__name__, (vpbench.ClipMean,), members)
        METRIC_WORDS[name] = words
        return METRICS[name]

    return decorate


def brightness(comparison):
    return comparison.frames[0].mean(dim=(2, 3, 4)).tolist()


class SpoilsWithFlow(vpbench.ClipMean):
    """Writes into the truth, and is measured of predictors of flow only."""

    info = vpbench.MetricInfo("spoils-with-flow", revision=1, better="lower", needs=("frames", "flow"))

    def measure(self, comparison):
        table = brightness(comparison)
        comparison.frames[1].numpy()[:] = 0
        comparison.future.cached("moments", lambda: 0)
        return table


METRICS["spoils-with-flow"] = SpoilsWithFlow

IN_PLACE = "changes what it measures in place"


@metric(IN_PLACE)
def metric_writes_numpy(comparison):
    table = brightness(comparison)
    comparison.frames[0].numpy()[:] *= 0.5
    return table


@metric(IN_PLACE)
def metric_flips(comparison):
    table = brightness(comparison)
    comparison.frames[1].copy_(comparison.frames[1].flip(-1))
    return table


@metric(IN_PLACE)
def metric_writes_and_raises(comparison):
    comparison.frames[1].zero_()
    raise ValueError("too late")


@metric("SystemExit: 3")
def metric_exits(comparison):
    sys.exit(3)


@metric("statistics (clips x steps), not 4 x ")
def metric_exchanges(comparison):
    return list(zip(*brightness(comparison), strict=True))


@metric("changes the working directory")
def metric_moves_away(comparison):
    os.chdir("/")
    return brightness(comparison)


@metric("Undefined needs a reason")
def metric_without_reason(comparison):
    return [[vpbench.Undefined(" ") for _ in line] for line in brightness(comparison)]


@metric("a reason or note is text, not a int")
def metric_reason(comparison):
    return [[vpbench.Undefined(3) for _ in line] for line in brightness(comparison)]
