"""From what users type to objects: names, presets, options, data roots, and a clear line where they do not fit."""

from __future__ import annotations

import json
from pathlib import Path
from types import MappingProxyType

import pytest
import torch
from pydantic import BaseModel, Field

from vpbench.errors import DataError, PluginError, Remedy, UsageError
from vpbench.names import Selector
from vpbench.plugin.annotator import AnnotatorInfo
from vpbench.plugin.dataset import DatasetInfo
from vpbench.plugin.hookspecs import hookimpl
from vpbench.plugin.loader import load_plugins
from vpbench.plugin.predictor import PredictorInfo
from vpbench.protocol.protocol import Protocol
from vpbench.select.component import choose_annotators, choose_predictor, wrap_predictor
from vpbench.select.data import open_protocol, open_protocol_dataset
from vpbench.select.metrics import choose_metrics
from vpbench.select.options import parse_assignments

TOYS = Path(__file__).parents[1] / "toys.py"


class Rooted:
    info = DatasetInfo(obtain="Get it from example.org.")

    def __init__(self, root):
        self.root = root


class Plain:
    info = PredictorInfo()

    def predict(self, context, horizon, generators):
        raise NotImplementedError

    def fingerprint(self):
        return "read"


class Argued(Plain):
    class Options(BaseModel):
        dir: str
        factor: float = 1.0

    argument = "dir"
    presets = MappingProxyType({"home": {"dir": "/home"}})

    def __init__(self, options):
        self.options = options
        if options.factor == 0:
            raise ZeroDivisionError("factor")


class Follows(Argued):
    class Options(BaseModel):
        context: int = Field(default=4, ge=2)
        dir: str = ""

    presets = MappingProxyType({"eight": {"context": 8}})

    def __init__(self, options):
        self.options = options

    @classmethod
    def protocol_options(cls, protocol):
        return {"broken": None, "typo": {"contex": 2}}.get(protocol.name, {"context": protocol.sampling.context})


class PresetAlone(Plain):
    presets = MappingProxyType({"fast": {"rate": 0.5}})


class Fragile(Plain):
    def __init__(self):
        raise OSError("no weights")


class NoPredictor:
    pass


class Idle:
    info = AnnotatorInfo(gives="flow")


class Moody:
    mood = "raises"

    @property
    def info(self):
        if self.mood == "raises":
            raise SystemExit("not today")
        return {"gives": "flow"}

    def annotate(self, window, clip): ...


class MoodyMetric(Moody):
    def __init__(self, device): ...

    why_not = measure = finalise = resample = None


@hookimpl
def register_annotators(register):
    register("moody", f"{__name__}:Moody")
    register("idle", f"{__name__}:Idle")


@hookimpl
def register_metrics(register):
    register("moody", f"{__name__}:MoodyMetric")


@hookimpl
def register_datasets(register):
    register("rooted", f"{__name__}:Rooted")


@hookimpl
def register_predictors(register):
    for name in ("Plain", "Argued", "Follows", "PresetAlone", "Fragile", "NoPredictor"):
        register(name.lower(), f"{__name__}:{name}")


@pytest.fixture(scope="module")
def plugins():
    return load_plugins([str(TOYS), __name__])


@pytest.fixture(autouse=True)
def _nothing_configured(monkeypatch, tmp_path):
    monkeypatch.setenv("VPBENCH_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.delenv("VPBENCH_DATA", raising=False)


def protocol(name="toy", protocol_name="p", context=2, **dataset):
    sampling = {"kind": "first", "context": context, "horizon": 2}
    dataset = {"name": name, **dataset}
    value = {"schema": 1, "name": protocol_name, "version": 1, "dataset": dataset, "sampling": sampling}
    return Protocol.parse(value, "here")


# predictors


@pytest.mark.slow
def test_options_come_from_defaults_presets_and_the_user(plugins):
    def chosen(text, **options):
        predictor = choose_predictor(plugins, text, {"with-options": options})
        return predictor.preset, dict(predictor.options), dict(predictor.sources), predictor.value.options.width

    default = {"width": "default", "mode": "default"}
    assert chosen("with-options") == ("", {"width": 4, "mode": "plain"}, default, 4)
    assert chosen("with-options:wide") == ("wide", {"width": 8, "mode": "plain"}, default | {"width": "preset wide"}, 8)
    assert chosen("with-options:wide", width=2)[1:3] == ({"width": 2, "mode": "plain"}, default | {"width": "user"})
    assert chosen("with-options:fancy", width=9)[2] == {"width": "user", "mode": "preset fancy"}


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("with-option", {}, r"there is no predictor 'with-option'; did you mean 'with-options'\?"),
        ("with-options:wild", {}, r"predictor 'with-options' has no preset 'wild'; did you mean 'wide'\?"),
        ("with-options", {"widht": 3, "x": 1}, r"has no option 'widht', nor 'x'; did you mean 'width'\?"),
        ("with-options", {"widht": 3}, r"predictor 'with-options' has no option 'widht'; did you mean 'width'\?"),
        ("with-options", {"width": 0}, r"predictor 'with-options': option width: .*greater than or equal to 1"),
        ("with-options", {"width": "many"}, r"option width: .*integer"),
        ("last:fast", {}, r"predictor 'last' has no preset 'fast'; there are none"),
        ("last", {"width": 3}, r"predictor 'last' takes no options, so last\.width cannot be set"),
        ("argued", {}, r"predictor 'argued' needs its dir: write argued:DIR"),
    ],
)
def test_what_does_not_fit_is_a_usage_error(plugins, text, options, message):
    with pytest.raises(UsageError, match=message):
        choose_predictor(plugins, text, {Selector.parse(text).name: options})


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("argued:x", {"factor": 0}, r"predictor 'argued' cannot be built: ZeroDivisionError: factor"),
        ("fragile", {}, r"predictor 'fragile' cannot be built: OSError: no weights"),
        ("presetalone:fast", {}, r"predictor 'presetalone': its preset 'fast' sets 'rate', .* has no `Options`"),
        ("nopredictor", {}, r"predictor 'nopredictor' lacks one of info, predict \(.*no attribute"),
    ],
)
def test_what_cannot_be_built_is_the_plugins_error(plugins, text, options, message):
    with pytest.raises(PluginError, match=message):
        choose_predictor(plugins, text, {"argued": options})


def test_the_text_after_the_colon_may_be_an_argument(plugins):
    home = choose_predictor(plugins, "argued:home", {})
    assert (home.preset, home.options["dir"], home.sources["dir"]) == ("home", "/home", "preset home")
    first, second = (choose_predictor(plugins, f"argued:{text}", {}) for text in ("/a/run", "/b/run"))
    assert (first.options["dir"], second.options["dir"]) == ("/a/run", "/b/run")
    assert first.preset.startswith("run-") and second.preset.startswith("run-") and first.preset != second.preset


@pytest.mark.parametrize(
    ("text", "options", "context", "source"),
    [
        ("follows", {}, 2, "protocol"),
        ("follows:eight", {}, 8, "preset eight"),
        ("follows:eight", {"context": 3}, 3, "user"),
    ],
)
def test_a_protocol_replaces_defaults_only(plugins, text, options, context, source):
    component = choose_predictor(plugins, text, {"follows": options}, protocol())
    assert (component.options["context"], component.sources["context"]) == (context, source)
    assert component.sources["dir"] == "default"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"protocol_name": "broken"}, "`protocol_options` fails on protocol 'broken': AttributeError"),
        ({"protocol_name": "typo"}, r"`protocol_options` names no option 'contex'; did you mean 'context'\?"),
        ({"context": 1}, "option context: .*; `protocol_options` takes context = 1 from the protocol"),
    ],
)
def test_wrong_options_of_a_protocol_name_the_predictor(plugins, changes, message):
    with pytest.raises(PluginError, match=f"^predictor 'follows': {message}"):
        choose_predictor(plugins, "follows", {}, protocol(**changes))
    with pytest.raises(UsageError, match="option dir"):  # the user's errors come first
        choose_predictor(plugins, "follows", {"follows": {"dir": 3}}, protocol(context=1))


# objects of a Python program


class MyModel(torch.nn.Module):
    info = PredictorInfo()

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 2)

    def predict(self, context, horizon, generators):
        raise NotImplementedError


def test_an_object_is_named_by_its_class():
    chosen = wrap_predictor(Plain())
    assert (chosen.name, bool(chosen.fingerprint), dict(chosen.options)) == ("plain", True, {})
    assert wrap_predictor(MyModel()).name == "my-model"
    assert wrap_predictor(Argued(Argued.Options(dir="x"))).options == {"dir": "x", "factor": 1.0}
    with pytest.raises(UsageError, match=r"neither a predictor's name nor an object with `info` and `predict`"):
        wrap_predictor(NoPredictor())
    with pytest.raises(UsageError, match=r"neither a predictor's name nor an object"):
        wrap_predictor(Plain)


# options as typed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.n=3", {"a": {"n": 3}}),
        ("a.x=0.5", {"a": {"x": 0.5}}),
        ("a.on=true", {"a": {"on": True}}),
        ("a.size=[2, 3]", {"a": {"size": [2, 3]}}),
        ("a.s=plain", {"a": {"s": "plain"}}),
        ('a.s="3"', {"a": {"s": "3"}}),
        ("a.s=x=y", {"a": {"s": "x=y"}}),
        ("a.s=", {"a": {"s": ""}}),
        ("v1.5.n=1", {"v1.5": {"n": 1}}),
    ],
)
def test_values_are_toml_where_they_parse_else_text(text, expected):
    assert parse_assignments([text], "-o") == expected


def test_the_last_of_one_option_counts():
    assert parse_assignments(["a.n=1", "a.m=2", "b.n=3", "a.n=4"], "-o") == {"a": {"n": 4, "m": 2}, "b": {"n": 3}}


@pytest.mark.parametrize("text", ["a", "a.n", "n=1", ".n=1", "a.=1", "=1"])
def test_other_forms_are_refused(text):
    with pytest.raises(UsageError, match=r"-o .*: write it as NAME\.OPTION=VALUE"):
        parse_assignments([text], "-o")


# datasets and their roots


def test_the_root_is_the_named_one_then_the_bare_one_then_the_file_then_the_environment(plugins, tmp_path, monkeypatch):
    roots = {name: tmp_path / name for name in ("flag", "bare", "file", "env")}
    for root in roots.values():
        (root / "rooted").mkdir(parents=True)

    def root_of(named):
        return open_protocol_dataset(plugins, protocol("rooted"), named).root

    with pytest.raises(DataError, match=r"'rooted' needs its folder\. Get it from example.org") as caught:
        root_of({"other": roots["flag"]})
    assert (caught.value.remedy, caught.value.subject) == (Remedy.DATA_ROOT, "rooted")
    monkeypatch.setenv("VPBENCH_DATA", str(roots["env"]))
    assert root_of({}) == roots["env"] / "rooted"
    (tmp_path / "config.toml").write_text(f"[data-roots]\nrooted = '{roots['file']}'\n")
    assert root_of({}) == roots["file"]
    assert root_of({"": roots["bare"]}) == roots["bare"]
    assert root_of({"": roots["bare"], "rooted": roots["flag"]}) == roots["flag"]


@pytest.mark.parametrize("source", ["flag", "file"])
def test_a_tilde_is_the_home_folder(plugins, tmp_path, monkeypatch, source):
    """A shell leaves it in ``--data-root rooted=~/data``."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "data").mkdir()
    (tmp_path / "config.toml").write_text("[data-roots]\nrooted = '~/data'\n" if source == "file" else "")
    named = {"rooted": Path("~/data")} if source == "flag" else {}
    assert open_protocol_dataset(plugins, protocol("rooted"), named).root == tmp_path / "data"


def test_a_root_that_is_not_there_fails_and_says_where_to_get_it(plugins, tmp_path):
    with pytest.raises(DataError, match=r"data root of 'rooted' does not exist: .*gone\. Get it from example\.org\."):
        open_protocol_dataset(plugins, protocol("rooted"), {"": tmp_path / "gone"})


@pytest.mark.parametrize("text", ["[data-roots", "[data-roots]\nrooted = 3\n", "data-roots = 'x'\n", b"\xff"])
def test_a_broken_configuration_file_is_named(plugins, tmp_path, text):
    (tmp_path / "config.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError, match=r"configuration file .*config\.toml"):
        open_protocol_dataset(plugins, protocol("rooted"), {})


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ({"name": "tyo"}, r"there is no dataset 'tyo'; did you mean 'toy'\?"),
        ({"name": "toy", "split": "tset"}, r"protocol p: 'toy' has no split 'tset'; did you mean 'test'\?"),
        ({"name": "toy", "options": {"n": 1}}, r"protocol p: dataset 'toy' has no option 'n'"),
        ({"name": "toy", "options": {"size": [1]}}, r"protocol p: dataset 'toy': option size"),
        ({"name": "rooted", "options": {"n": 1}}, r"protocol p: the dataset 'rooted' takes no options"),
    ],
)
def test_a_protocols_dataset_must_exist_and_take_its_options(plugins, tmp_path, dataset, message):
    with pytest.raises(UsageError, match=message):
        open_protocol_dataset(plugins, protocol(**dataset), {"": tmp_path})


# protocols, annotators, metrics


def test_a_protocol_is_a_name_or_a_file(plugins, tmp_path):
    named = open_protocol(plugins, "ucf101-120x160-4to10")
    file = tmp_path / "mine.toml"
    file.write_text("schema = 1\nname = 'mine'\nversion = 1\n[dataset]\nname = 'toy'\n[sampling]\nkind = 'first'\n"
                    "context = 1\nhorizon = 1\n")  # fmt: skip
    assert (named.name, open_protocol(plugins, str(file)).name) == ("ucf101-120x160-4to10", "mine")
    with pytest.raises(UsageError, match=r"did you mean 'ucf101-120x160-4to10'\?"):
        open_protocol(plugins, "ucf101-120x160")


def test_annotators_are_for_a_modality_that_they_give(plugins):
    (chosen,) = choose_annotators(plugins, {"flow": "still"}, {}).values()
    description = {"fingerprint": chosen.fingerprint, "name": "still", "options": {}, "rounding": "1/64 px"}
    assert json.loads(chosen.describe()) == description
    for modality, message in {
        "flwo": "annotator flwo=still: the annotator 'still' gives flow",
        "frames": r"'frames' cannot be annotated",
        "semantics": r"annotator semantics=still: the annotator 'still' gives flow",
    }.items():
        with pytest.raises(UsageError, match=message):
            choose_annotators(plugins, {modality: "still"}, {})
    with pytest.raises(UsageError, match=r"there is no annotator 'dsi'"):
        choose_annotators(plugins, {"flow": "dsi"}, {})


@pytest.mark.parametrize(
    ("mood", "message"),
    [
        ("raises", "the `info` of {} 'moody' cannot be read: SystemExit: not today"),
        ("wrong", "the `info` of {} 'moody' must be a vpbench.*Info, not dict"),
    ],
)
def test_an_info_that_fails_is_the_plugins_error(plugins, monkeypatch, mood, message):
    monkeypatch.setattr(Moody, "mood", mood)
    with pytest.raises(PluginError, match=message.format("annotator")):
        choose_annotators(plugins, {"flow": "moody"}, {})
    with pytest.raises(PluginError, match=message.format("metric")):
        choose_metrics(plugins, ["moody"], "cpu")


def test_an_annotator_without_annotate_is_the_plugins_error(plugins):
    with pytest.raises(PluginError, match="the annotator 'idle' lacks one of info, annotate"):
        choose_annotators(plugins, {"flow": "idle"}, {})


def test_metrics_keep_the_order_asked_for(plugins):
    assert list(choose_metrics(plugins, ["psnr", "mae", "mse"], "cpu")) == ["psnr", "mae", "mse"]
    with pytest.raises(UsageError, match=r"there is no metric 'pnsr'; did you mean 'psnr'\?"):
        choose_metrics(plugins, ["mse", "pnsr"], "cpu")
