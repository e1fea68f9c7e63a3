"""Optional members of plugins: the documented ones, their defaults, and lines for wrong ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import toys
from pydantic import BaseModel

import vpbench
from vpbench.errors import PluginError
from vpbench.plugin.loader import load_plugins
from vpbench.plugin.members import Configurable, member, members_of
from vpbench.plugin.modality import ModalitySpec
from vpbench.plugin.predictor import PredictorInfo
from vpbench.select.component import wrap_predictor
from vpbench.select.metrics import choose_metrics, fingerprint_metric, reason_against

BASES = {
    "predictor": vpbench.BasePredictor,
    "dataset": vpbench.BaseDataset,
    "metric": vpbench.BaseMetric,
    "annotator": vpbench.BaseAnnotator,
}
DOCS = Path(__file__).parents[2] / "docs" / "plugins.md"


class Options(BaseModel):
    rate: float = 0.1


@pytest.mark.parametrize(("kind", "base"), BASES.items())
def test_the_docs_list_every_optional_member(kind, base):
    classes = [entry for entry in base.__mro__ if entry.__module__.startswith("vpbench.")]
    required = {"measure", "why_not"} if kind == "metric" else {"training_only"} if kind == "annotator" else set()
    members = {name for entry in classes for name in vars(entry) if not name.startswith("_")} - required
    _, _, section = DOCS.read_text().partition("### Optional members\n")
    rows = re.findall(r"^\| ([\w, ]+) \| `(\w+)", section.partition("\n## ")[0], flags=re.M)
    assert {name for kinds, name in rows if kind in kinds.split(", ")} == members


def test_a_class_without_them_has_the_defaults():
    members = members_of(object, "predictor 'bare'")
    assert (members.Options, members.presets, members.argument, members.training_only) == (None, {}, "", frozenset())
    assert member(object(), Configurable, "fingerprint")() is None
    assert member(object(), vpbench.BaseDataset, "check")() == ()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"Options": dict}, "`Options` must be a pydantic model"),
        ({"presets": ["fast"]}, "`presets` must map names to option values"),
        ({"presets": {"fast": 3}}, "`presets` must map names to option values"),
        ({"argument": 3}, "`argument` must be the name of an option"),
        ({"Options": Options, "argument": "folder"}, "`argument` names no option 'folder'; known: rate"),
        ({"training_only": "rate"}, "`training_only` must list names of options"),
        ({"Options": Options, "training_only": ["rat"]}, "no option 'rat'; did you mean 'rate'"),
    ],
)
def test_wrong_members_are_refused_in_one_line(members, message):
    with pytest.raises(vpbench.PluginError, match=f"predictor 'x': .*{message}"):
        members_of(type("X", (), members), "predictor 'x'")


@pytest.mark.parametrize(
    ("accepts", "context", "size", "reason"),
    [
        ({}, 1, (7, 9), ""),
        ({"context": 4}, 4, None, ""),
        ({"context": 4}, 5, None, "it takes 4 context frames, not 5"),
        ({"context": (2, 3)}, 4, None, "it takes 2 to 3 context frames, not 4"),
        ({"context": (2, None)}, 1, None, "it takes 2 or more context frames, not 1"),
        ({"size": 8}, 1, (16, 24), ""),
        ({"size": 8}, 1, (16, 20), "it takes frames whose sides are multiples of 8, not 16x20"),
        ({"size": (64, 64)}, 1, (64, 32), "it takes frames of 64x64, not 64x32"),
        ({"size": (64, 64)}, 1, None, ""),
    ],
)
def test_a_predictor_says_which_clips_it_takes(accepts, context, size, reason):
    assert vpbench.PredictorInfo(**accepts).misfit(context, size) == reason


def test_a_fingerprint_that_fails_names_the_predictor():
    class Broken(toys.Last):
        def fingerprint(self):
            raise RuntimeError("no file")

    with pytest.raises(vpbench.PluginError, match="`fingerprint\\(\\)` of predictor 'broken' fails: RuntimeError"):
        wrap_predictor(Broken())


@pytest.mark.parametrize(
    ("body", "call", "message"),
    [
        ("__init__", choose_metrics, "metric 'mine' cannot be built: RuntimeError: no"),
        ("__init__", lambda plugins, *_: fingerprint_metric(plugins, "mine"), "metric 'mine' cannot be built"),
        (
            "fingerprint",
            lambda plugins, *_: fingerprint_metric(plugins, "mine"),
            "`fingerprint.*` of metric 'mine'",
        ),
        (
            "why_not",
            lambda *args: reason_against(choose_metrics(*args)["mine"], None),
            "the `why_not` of metric 'mine' fails",
        ),
    ],
)
def test_a_metric_that_fails_before_the_run_is_named(tmp_path, body, call, message):
    path = tmp_path / f"mine_{body.strip('_')}_{len(message)}.py"
    path.write_text(
        "import vpbench\n@vpbench.hookimpl\ndef register_metrics(register):\n    register('mine', f'{__name__}:Mine')\n"
        "class Mine(vpbench.ClipMean):\n    info = vpbench.MetricInfo('mine', revision=1, better='lower')\n"
        "    def measure(self, comparison): return []\n"
        f"    def {body}(self, *args): raise RuntimeError('no')\n"
    )
    with pytest.raises(vpbench.PluginError, match=message):
        call(load_plugins([str(path)]), ["mine"], "cpu")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[
            (name, value)
            for name in ("outputs", "requires", "uses", "trained_on")
            for value in ("flow", ["flow"], (1,))
        ],
        ("declares", ("depth",)),
        *[("context", value) for value in (0, "x", (2,), (4, 2), (0, None), [2, None])],
        *[("horizon", value) for value in (0, "x", None)],
        *[("size", value) for value in (0, "x", (64,), (64, 0), [64, 64])],
    ],
)
def test_a_wrong_field_of_a_predictor_is_refused_by_name(field, value):
    with pytest.raises(PluginError, match=f"^PredictorInfo: {field} must be "):
        PredictorInfo(**{field: value})


@pytest.mark.parametrize(
    "arguments",
    [(3, "uint8"), ("d", "uint8", 7), ("d", "uint8", ("a",)), ("d", "uint8", [7]), ("d", "float32", (), "bilinear")],
)
def test_a_wrong_declaration_of_a_modality_is_refused(arguments):
    with pytest.raises(PluginError, match=r"^modality "):
        ModalitySpec(*arguments)
