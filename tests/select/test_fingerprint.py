"""Two objects that compute different numbers have different fingerprints, however the difference is hidden."""

from __future__ import annotations

import copy
import dataclasses
import functools
import importlib
import subprocess
import sys
import threading
import types
from collections import OrderedDict, defaultdict
from enum import Enum
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import vpbench
from vpbench.plugin.loader import load_plugins
from vpbench.plugin.predictor import PredictorInfo
from vpbench.select.code import named_globals
from vpbench.select.component import choose_predictor
from vpbench.select.fingerprint import fingerprint, hash_weights
from vpbench.select.members import modules_of
from vpbench.select.metrics import choose_metrics


def net(gain):
    layer = torch.nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(gain)
    return layer


class Plain:
    info = PredictorInfo()

    def predict(self, context, horizon, generators):
        raise NotImplementedError


class Slotted(Plain):
    __slots__ = ("gain",)


class Mode(Enum):
    LOW = 1
    HIGH = 2


def holding(**attributes):
    value = Plain()
    vars(value).update(attributes)
    return value


def slotted(gain):
    value = Slotted()
    value.gain = gain
    return value


def closing_over(gain):
    class Closing(Plain):
        def predict(self, context, horizon, generators):
            return context.frames * gain

    return Closing()


def with_base(gain):
    base = type("Base", (Plain,), {"gain": gain})
    return type("Derived", (base,), {})()


def with_buffer(gain):
    module = torch.nn.Module()
    module.register_buffer("gain", torch.tensor(gain), persistent=False)
    return holding(module=module)


def with_method(text):
    space = {"Plain": Plain}
    exec(f"class Typed(Plain):\n    def predict(self, context, horizon, generators):\n        return {text}\n", space)
    return space["Typed"]()


def with_global(gain):
    space = {"Plain": Plain, "GAIN": gain}
    exec("class Typed(Plain):\n    def predict(self, c, h, g):\n        return (lambda: c * GAIN)()\n", space)
    return space["Typed"]()


def with_decorated(gain):
    @functools.lru_cache
    def scale(x):
        return x * gain

    @torch.no_grad()
    def scaled(x):
        return scale(x)

    return holding(scaled=scaled)


def with_hook(gain):
    module = net(1)
    module.register_forward_hook(lambda module, inputs, output: output * gain)
    return module


def with_metaclass(gain):
    meta = type("Meta", (type,), {"gain": gain})
    return meta("Made", (Plain,), {})()


def hooked(gain):
    module = net(1)
    module.webhooks = {gain: 1}
    return module


def with_function_attribute(gain):
    def scale(x):
        return x * scale.gain

    scale.gain = gain
    return holding(scale=scale)


def with_module(gain):
    module = types.ModuleType("neighbour_of_a_test")
    module.GAIN = gain
    return holding(ops={"a": module})


def with_dispatch(gain):
    @functools.singledispatch
    def scale(x):
        return x

    scale.register(int, eval(f"lambda x: x * {gain}"))
    return holding(scale=scale)


def with_tensor_attribute(gain):
    tensor = torch.ones(1)
    tensor.gain = gain
    return holding(tensor=tensor)


def with_property_setter(gain):
    setter = eval(f"lambda self, x: x * {gain}")
    return type("Setting", (Plain,), {"scale": property(lambda self: 1, setter)})()


class Hidden(float):
    def __repr__(self):
        return "hidden"


def cyclic(gain):
    value = holding(gain=gain)
    value.itself = [value]
    return value


HIDING = {
    "a list": lambda gain: holding(nets=[net(gain)]),
    "a dictionary": lambda gain: holding(nets={"a": net(gain)}),
    "a tuple": lambda gain: holding(nets=(net(gain),)),
    "an ordered dictionary": lambda gain: holding(nets=OrderedDict(a=net(gain))),
    "a held object": lambda gain: holding(inner=SimpleNamespace(net=net(gain))),
    "a held object in a list": lambda gain: holding(inner=[holding(net=net(gain))]),
    "a buffer that is not persistent": with_buffer,
    "a closure": closing_over,
    "a class attribute": lambda gain: type("Attributed", (Plain,), {"gain": gain})(),
    "a base class": with_base,
    "a slot": slotted,
    "a global": with_global,
    "code without a file": lambda gain: with_method(f"context.frames * {gain}"),
    "a decorated function": with_decorated,
    "a hook": with_hook,
    "a default": lambda gain: holding(scale=eval(f"lambda x, gain={gain}: x * gain")),
    "a default of a keyword": lambda gain: holding(scale=eval(f"lambda x, *, gain={gain}: x * gain")),
    "a function's attribute": with_function_attribute,
    "a compiled module": lambda gain: torch.compile(net(gain)),
    "a metaclass": with_metaclass,
    "a partial": lambda gain: holding(scale=functools.partial(max, gain)),
    "an array": lambda gain: holding(gain=np.array([gain])),
    "an array of objects": lambda gain: holding(gain=np.array([gain, None], dtype=object)),
    "a number of numpy": lambda gain: holding(gain=np.float32(gain)),
    "a complex tensor": lambda gain: holding(gain=torch.tensor([gain + 1j])),
    "a transposed tensor": lambda gain: holding(gain=torch.tensor([[1.0, gain], [0.0, 1.0]]).T),
    "a generator of random numbers": lambda gain: holding(draw=torch.Generator().manual_seed(int(gain * 10))),
    "numpy's generator of random numbers": lambda gain: holding(draw=np.random.default_rng(int(gain * 10))),
    "a set": lambda gain: holding(gains={gain, "a", "b"}),
    "an enumeration's member": lambda gain: holding(mode=Mode.LOW if gain == 1 else Mode.HIGH),
    "an object that holds itself": cyclic,
    "a module as a value": with_module,
    "a function of a registry": with_dispatch,
    "a class made by a call": lambda gain: dataclasses.make_dataclass("Made", [], namespace={"gain": gain})(),
    "an attribute of a tensor": with_tensor_attribute,
    "a setter": with_property_setter,
    "a number that hides itself": lambda gain: holding(gain=Hidden(gain)),
    "a default factory": lambda gain: holding(gains=defaultdict(eval(f"lambda: {gain}"))),
    "a masked array": lambda gain: holding(gain=np.ma.array([1.0], mask=[gain == 1])),
    "a kind of array": lambda gain: holding(gain=np.ones((1, 1)).view(np.matrix if gain == 1 else np.ndarray)),
    "an argument of a wrapper": lambda gain: holding(f=torch.vmap(torch.sin, in_dims=0 if gain == 1 else 1)),
    "a dictionary named like hooks": lambda gain: holding(net=hooked(gain)),
    "a subclass of dict": lambda gain: holding(gains=type("D", (dict,), {})(a=gain)),
}


@pytest.mark.slow
@pytest.mark.parametrize("make", HIDING.values(), ids=HIDING)
def test_a_difference_shows_wherever_it_hides(make):
    first, second, different = fingerprint(make(1.0)), fingerprint(make(1.0)), fingerprint(make(0.2))
    assert (first.unproven, different.unproven) == ("", "")
    assert first == second
    assert first != different


@pytest.mark.parametrize(
    "attribute",
    [
        threading.Lock(),
        (x for x in "ab"),
        sys.stderr,
        torch.ones(2).to_sparse(),
        [threading.Lock()],
        {threading.Lock()},
        torch.jit.script(torch.nn.Linear(1, 1)),
    ],
    ids=["lock", "generator", "file", "sparse", "in a list", "in a set", "scripted"],
)
def test_what_cannot_be_looked_into_proves_nothing(attribute):
    assert "Plain.held" in fingerprint(holding(held=attribute)).unproven


def test_the_order_and_types_of_values_count():
    values = [[1, 2], [2, 1], (1, 2), "12", ["1", "2"], [[1], 2], [1, [2]], {1: 2}, [True, 2], [1.0, 2], b"12", [12]]
    assert len({fingerprint(holding(held=value)).sha256 for value in values}) == len(values)


def test_the_mode_the_device_and_untouched_globals_do_not_count():
    module = torch.nn.Sequential(torch.nn.Dropout(), net(1))
    before = fingerprint(module)
    assert fingerprint(module.eval()) == before
    assert fingerprint(holding(device=torch.device("cpu"))) == fingerprint(holding(device=torch.device("meta")))
    space = {"Plain": Plain, "unused": 1}
    exec("class Typed(Plain):\n    pass\n", space)
    first = fingerprint(space["Typed"]())
    space["unused"] = 2
    assert fingerprint(space["Typed"]()) == first


def test_an_object_may_vouch_for_its_values_but_not_for_its_code_and_weights():
    class Vouching(Plain):
        def __init__(self, text, weight=1.0):
            self.text, self.net, self.lock = text, [net(weight)], threading.Lock()

        def fingerprint(self):
            return self.text

    first = fingerprint(Vouching("a"))
    assert first.unproven == ""
    assert fingerprint(Vouching("a")) == first
    assert fingerprint(Vouching("b")) != first
    assert fingerprint(Vouching("a", weight=0.2)) != first
    assert fingerprint(type("Other", (Vouching,), {"predict": lambda self: 1})("a")) != first


def test_an_object_that_raises_when_it_is_looked_at_proves_nothing():
    class Shy:
        @property
        def __class__(self):
            raise ValueError("do not look")

    assert fingerprint(holding(held=Shy())).unproven == "Plain cannot be looked into: ValueError"


def test_a_class_has_a_fingerprint_of_its_code():
    class Vouching(Plain):
        def fingerprint(self):
            return "text"

    assert fingerprint(Vouching).unproven == ""
    assert fingerprint(Vouching) != fingerprint(Plain)


def test_a_deep_object_proves_nothing_and_ends():
    nested = []
    for _ in range(100_000):
        nested = [nested]
    assert "too deep" in fingerprint(holding(nested=nested)).unproven


PLUGIN = """
import vpbench
{before}

@vpbench.hookimpl
def register_predictors(register):
    register("m", f"{{__name__}}:Model")

class Model:
    info = vpbench.PredictorInfo()

    def predict(self, context, horizon, generators):
        return vpbench.Prediction(frames=context.frames[:, -1:].repeat(1, horizon, 1, 1, 1) * {value})
"""
IMPORTED = {
    "its text": ("", "{gain}"),
    "a global": ("GAIN = {gain}", "GAIN"),
    "a name of its neighbour": ("from neighbour import gain", "gain()"),
    "its neighbour": ("import neighbour", "neighbour.gain()"),
    "an attribute by its name": ("import neighbour", "getattr(neighbour, 'GAIN')"),
    "a module of its neighbour": ("import near", "near.neighbour.GAIN"),
    "a value of its neighbour": ("import neighbour", "neighbour.GAIN"),
    "a module in a dictionary": ("import neighbour\nOPS = dict(a=neighbour)", "OPS['a'].GAIN"),
    "an import by its name": ("import importlib", "importlib.import_module('neighbour').gain()"),
    "a module's getattr": ("import near", "near.lazy"),
    "an import in a function": ("def scale():\n    import neighbour\n    return neighbour.gain()", "scale()"),
}
NEIGHBOURS = ("edited_model", "neighbour", "near", "far")


@pytest.fixture
def printed(tmp_path, monkeypatch):
    """Return the fingerprint of a plugin's predictor, as a new process would: no module of the folder is loaded."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def forget():
        for name in NEIGHBOURS:
            sys.modules.pop(name, None)
        importlib.invalidate_caches()

    def load(plugin):
        forget()
        return choose_predictor(load_plugins([plugin]), "m", {}).fingerprint

    yield load
    forget()


@pytest.mark.slow
@pytest.mark.parametrize("plugin", ["edited_model.py", "edited_model"])
@pytest.mark.parametrize("case", IMPORTED.values(), ids=IMPORTED)
def test_an_edited_plugin_and_the_files_that_it_imports_are_another_predictor(tmp_path, printed, plugin, case):
    prints = []
    for gain in (1, 0.2, 1):
        before, value = (text.format(gain=gain) for text in case)
        (tmp_path / "edited_model.py").write_text(PLUGIN.format(before=before, value=value))
        (tmp_path / "neighbour.py").write_text(
            f"from far import BASE\nGAIN = {gain}\ndef gain(): return BASE * {gain}\n"
        )
        (tmp_path / "far.py").write_text("BASE = 1\n")
        (tmp_path / "near.py").write_text(f"import neighbour\ndef __getattr__(name): return {gain}\n")
        prints.append(printed(plugin))
    assert prints[0] == prints[2] != prints[1]
    if case is IMPORTED["an import in a function"]:
        (tmp_path / "far.py").write_text("BASE = 2\n")
        assert printed(plugin) != prints[0]


@pytest.mark.slow
def test_a_plugin_named_like_a_module_of_python_is_no_library(tmp_path):
    prints = set()
    for gain in (1, 0.2):
        (tmp_path / "profile.py").write_text(PLUGIN.format(before="", value=gain))
        code = (
            "from vpbench.select.component import choose_predictor; from vpbench.plugin.loader import load_plugins\n"
            "print(choose_predictor(load_plugins(['profile.py']), 'm', {}).fingerprint)"
        )
        command = [sys.executable, "-c", code]
        prints.add(subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout)
    assert len(prints) == 2


@pytest.fixture(scope="module")
def plugins():
    return load_plugins()


@pytest.mark.slow
def test_every_first_party_predictor_and_metric_is_proven_and_the_same_in_every_process(plugins):
    names = [entry.name for entry in plugins.of("predictor") if not getattr(entry.load(), "argument", "")]
    chosen = {name: choose_predictor(plugins, name, {}) for name in names}
    metrics = choose_metrics(plugins, [entry.name for entry in plugins.of("metric")], "cpu")
    prints = {name: fingerprint(metric) for name, metric in metrics.items()}
    assert [name for name, print_ in chosen.items() if print_.unproven] == []
    assert [name for name, print_ in prints.items() if print_.unproven] == []
    assert len({print_.sha256 for print_ in prints.values()}) == len(prints)


@pytest.mark.slow
def test_another_process_with_other_hashes_agrees(plugins, monkeypatch):
    monkeypatch.setenv("VPBENCH_PLUGINS", "vpbench")
    code = (
        "from vpbench.select.component import choose_predictor; from vpbench.plugin.loader import load_plugins\n"
        "print([choose_predictor(load_plugins(), name, {}).fingerprint for name in ('repeat', 'sadm')])"
    )
    outputs = set()
    for seed in ("1", "2"):
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        outputs.add(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert len(outputs) == 1


def test_modules_are_seen_wherever_a_plain_class_holds_them():
    nets = [net(i) for i in range(6)]
    value = holding(
        net=nets[0], listed=[nets[1]], named={"a": (nets[2],)}, inner=SimpleNamespace(net=nets[3]),
        call=functools.partial(nets[4], 1), itself=None, closed=closing_over(nets[5]).predict,
    )  # fmt: skip
    value.itself = value
    assert {id(module) for module in modules_of(value)} == {id(module) for module in nets}
    assert modules_of(nets[0]) == [nets[0]]
    before = hash_weights(value)
    nets[3].weight.data.fill_(9)
    assert hash_weights(value) != before


def test_an_edited_module_in_the_same_process_counts_once_it_is_loaded_again(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "reloaded_toy.py").write_text("class Model:\n    def predict(self): return 1\n")
    module = importlib.import_module("reloaded_toy")
    before = fingerprint(module.Model())
    (tmp_path / "reloaded_toy.py").write_text("class Model:\n    def predict(self): return 22\n")
    assert fingerprint(module.Model()) == before
    assert fingerprint(importlib.reload(module).Model()) != before


def test_a_copy_of_an_instance_leaves_its_class_as_it_was():
    """``copyreg`` writes ``__slotnames__`` into the class of an object that is copied or pickled."""

    class Space:
        def __init__(self) -> None:
            self.names = ["road", "car"]

    space = Space()
    before = fingerprint(space)
    copy.copy(space)
    assert "__slotnames__" in vars(Space)
    assert fingerprint(space) == before


def test_only_the_names_of_vpbench_that_a_function_reads_count():
    """Otherwise every change of vpbench would make every plugin that says ``import vpbench`` another predictor."""
    space: dict[str, object] = {}
    code = "import vpbench\ndef predict(model):\n    model.train()\n    return [vpbench.Prediction for _ in model]"
    exec(code, space)
    assert dict(named_globals(space["predict"])) == {"vpbench": vpbench, "vpbench.Prediction": vpbench.Prediction}
