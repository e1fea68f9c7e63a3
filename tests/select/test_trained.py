"""Weights that travel: whose they are, what they were trained with and on; and what does not fit, by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

import vpbench
from vpbench.errors import Remedy
from vpbench.plugin.loader import load_plugins
from vpbench.select.component import choose_predictor
from vpbench.select.trained import open_trained, save_trained, sequence_keys
from vpbench.select.weights_record import KeptRecord, StageRecord, WeightsRecord, WeightsUse

TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def plugins():
    return load_plugins([str(TESTS / "toys.py"), str(TESTS / "toy_trainable.py")])


@pytest.fixture
def weights(tmp_path, plugins):
    """Weights of ``learner:wide``, drawn with another seed than an untrained one's."""
    path = tmp_path / "wide.safetensors"
    chosen = choose_predictor(plugins, "learner:wide", {"learner": {"loss": "l1"}}, seed=1)
    record = {
        "predictor": "learner",
        "preset": "wide",
        "options": dict(chosen.options),
        "protocol": {"name": "toy"},
        "clips": {"sequences": sequence_keys("toy", ["train/a", "train/b"])},
    }
    save_trained(path, chosen.value, WeightsRecord.model_validate(record))
    return path


def load(plugins, path, text="learner", name="learner", **options):
    return choose_predictor(plugins, text, {name: {"weights": str(path), **options}})


@pytest.mark.slow
def test_the_options_recorded_hold_where_none_are_named(plugins, weights):
    chosen = load(plugins, weights)
    assert chosen.options == {"hidden": 8, "loss": "l1"}
    assert chosen.preset == "wide"
    assert set(chosen.sources.values()) == {"weights"}
    stored = load_file(weights)
    assert all(torch.equal(tensor, stored[name]) for name, tensor in chosen.value.state_dict().items())
    assert load(plugins, weights).fingerprint == chosen.fingerprint
    assert choose_predictor(plugins, "learner:wide", {}).fingerprint != chosen.fingerprint


@pytest.mark.slow
def test_what_is_only_for_training_may_differ(plugins, weights):
    chosen = load(plugins, weights, loss="l2", hidden=8)
    assert chosen.options == {"hidden": 8, "loss": "l2"}
    assert load(plugins, weights, text="learner:wide").options["loss"] == "l1"


@pytest.mark.slow
def test_weights_override_the_protocol_with_a_preset_too(plugins, tmp_path):
    six, two = (SimpleNamespace(name="p", sampling=SimpleNamespace(context=n)) for n in (6, 2))
    trained = choose_predictor(plugins, "other:plain", {}, six)
    record = {"predictor": "other", "options": dict(trained.options)}
    save_trained(tmp_path / "six.safetensors", trained.value, WeightsRecord.model_validate(record))
    loaded = choose_predictor(plugins, "other:plain", {"other": {"weights": str(tmp_path / "six.safetensors")}}, two)
    assert (loaded.options["hidden"], loaded.sources["hidden"]) == (6, "weights")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "options", "width"),
    [("learner", {"hidden": 16}, 16), ("learner:wide", {"hidden": 16}, 16), ("learner:plain", {}, 4)],
)
def test_options_and_presets_that_differ_are_named(plugins, weights, text, options, width):
    with pytest.raises(
        vpbench.UsageError,
        match=f"'learner' was trained with hidden 8, not {width}: leave out these options, and a preset that sets",
    ):
        load(plugins, weights, text, **options)
    assert load(plugins, weights, "learner:plain", hidden=8).options["hidden"] == 8


@pytest.mark.slow
def test_a_preset_that_says_nothing_of_the_network_goes_with_any(plugins, weights):
    chosen = load(plugins, weights, "learner:by-l1")
    assert (chosen.preset, chosen.options) == ("by-l1", {"hidden": 8, "loss": "l1"})


@pytest.mark.parametrize("options", [{"hidden": "eight"}, {"gone": 1}])
def test_recorded_options_that_this_version_lacks_are_blamed_on_the_file(plugins, tmp_path, options):
    chosen = choose_predictor(plugins, "learner", {})
    record = {"predictor": "learner", "options": {**chosen.options, **options}, "protocol": {"name": "toy"}}
    path = tmp_path / "old.safetensors"
    save_trained(path, chosen.value, WeightsRecord.model_validate(record))
    with pytest.raises(vpbench.DataError, match=r"old\.safetensors: its options do not fit this version .*train again"):
        load(plugins, path)
    with pytest.raises(vpbench.UsageError, match="has no option 'width'"):
        load(plugins, path, width=3)


def test_weights_of_another_predictor(plugins, weights):
    with pytest.raises(vpbench.UsageError, match=r"wide.safetensors: are weights of 'learner', not of 'other'"):
        choose_predictor(plugins, "other", {"other": {"weights": str(weights)}})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("net.0.bias"), "net.0.bias is missing"),
        (lambda t: t.update(extra=torch.ones(1)), "extra is one too many"),
        (lambda t: t.update({"net.2.bias": torch.ones(4)}), r"net.2.bias is \[4\], not \[3\]"),
        (lambda t: t.update({"net.2.bias": torch.ones(3, dtype=torch.int8)}), "net.2.bias is int8, not float64"),
        (
            lambda t: t.update({"net.2.bias": torch.ones(3).to(torch.float8_e5m2)}),
            "net.2.bias is float8_e5m2, not floa",
        ),
        (lambda t: t.update({"net.2.bias": torch.ones(3).cfloat()}), "net.2.bias is complex64, not float64"),
        (lambda t: t.update({"a\x1b[31m": torch.ones(1)}), r"a\\x1b\[31m is one too many"),
    ],
)
def test_tensors_that_do_not_fit_are_named(plugins, weights, tmp_path, change, words):
    tensors = load_file(weights)
    change(tensors)
    save_file(tensors, tmp_path / "foreign.safetensors")
    with pytest.raises(vpbench.DataError, match=f"does not fit predictor 'learner' with these options: {words}"):
        load(plugins, tmp_path / "foreign.safetensors", text="learner:wide")


def test_a_pickle_is_refused_with_the_way_out(plugins, tmp_path):
    file = tmp_path / "net.pth"
    torch.save({}, file)
    with pytest.raises(vpbench.DataError, match=f"a pickle may run code: `vpbench weights convert {file}` makes one"):
        load(plugins, file)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("not JSON", "not JSON"),
        ("[" * 10**6, "not JSON"),
        ('{"predictor": "learner", "options": {"hidden": 1e999}}', "not JSON"),
        ("[1]", r"not a record of vpbench \(Input should be"),
        ('{"stage": {}}', r"not a record of vpbench \(predictor: Field required"),
        ('{"schema": true, "predictor": "learner"}', r"not a record of vpbench \(schema: "),
        ('{"predictor": 3}', r"not a record of vpbench \(predictor: "),
        ('{"predictor": "../learner"}', r"not a record of vpbench \(predictor: "),
        ('{"predictor": "learner", "preset": "a/../../x"}', r"not a record of vpbench \(preset"),
        ('{"predictor": "learner", "preset": "\\u001b[31m"}', r"not a record of vpbench \(preset"),
        ('{"predictor": "learner", "preset": "' + "a" * 300 + '"}', r"not a record of vpbench \(preset"),
        ('{"predictor": "learner", "options": [1]}', r"not a record of vpbench \(options"),
        ('{"predictor": "learner", "options": {"\\u001b[31m": 1}}', r"not a record of vpbench \(options.\\x1b"),
        ('{"predictor": "learner", "protocol": {"name": "../x"}}', r"not a record of vpbench \(protocol.name"),
        ('{"predictor": "learner", "clips": []}', r"not a record of vpbench \(clips"),
        ('{"predictor": "learner", "clips": {"sequences": [[1]]}}', r"not a record of vpbench \(clips.sequences"),
        ('{"predictor": "learner", "clips": {"sequences": "ab"}}', r"not a record of vpbench \(clips.sequences"),
    ],
)
def test_a_file_that_says_something_else_of_itself(plugins, tmp_path, text, words):
    path = tmp_path / "strange.safetensors"
    save_file({"x": torch.zeros(1)}, path, metadata={"vpbench": text})
    with pytest.raises(vpbench.DataError, match=rf"strange.safetensors: its metadata 'vpbench' is {words}") as caught:
        load(plugins, path)
    assert len(str(caught.value)) < 500 + len(str(path))
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("preset", ["", "wide", "emit-1", "c20", "a_b.c+d=1", "größe"])
def test_names_of_presets(tmp_path, preset):
    path = tmp_path / "weights.safetensors"
    save_file({}, path, metadata={"vpbench": json.dumps({"predictor": "learner", "preset": preset})})
    assert open_trained(path).record.preset == preset


def test_a_file_of_a_newer_vpbench(plugins, tmp_path):
    file = tmp_path / "new.safetensors"
    save_file({}, file, metadata={"vpbench": '{"schema": 2}'})
    with pytest.raises(vpbench.DataError, match="schema 2 is newer than this vpbench reads"):
        load(plugins, file)


def test_overlap_with_the_training_sequences_is_found(plugins, weights, tmp_path):
    trained = open_trained(weights)
    assert trained.use("toy", ["test/a", "test/b"]).clips == "disjoint"
    overlap = WeightsUse(sha256=trained.sha256, protocol="toy", clips="overlap", seen=1)
    assert trained.use("toy", ["test/a", "train/b", "train/b"]) == overlap
    assert trained.use("other-dataset", ["train/b"]).clips == "disjoint"
    save_file(load_file(weights), tmp_path / "foreign.safetensors")
    foreign = load(plugins, tmp_path / "foreign.safetensors", text="learner:wide")
    assert foreign.trained.use("toy", ["test/a"]).clips == "unknown"


def test_a_training_is_known_by_its_settings_and_not_by_its_seed_or_outcome(weights):
    trained = open_trained(weights)
    assert trained.use("toy", []).training is None, "a record without stages says nothing"
    stage = StageRecord(name="Fit", recipe={"clip": 1.0}, steps=40, kept=KeptRecord(by="last", epoch=1, scores={}))
    record = trained.record.model_copy(update={"stages": (stage, stage), "seed": 3})
    use = replace(trained, record=record).use("toy", []).training
    assert use == record.training_use() and (use.seed, use.steps) == (3, 80)
    best = stage.kept.model_copy(update={"scores": {"mse": (0.5,)}})
    outcome = {"seed": 9, "git": "b", "stages": (stage.model_copy(update={"kept": best}), stage)}
    assert record.model_copy(update=outcome).training_use() == use.model_copy(update={"seed": 9})
    changes = [
        {"options": {**record.options, "width": 99}},
        {"protocol_hash": "p"},
        {"annotators": {"flow": "noise"}},
        {"clips": record.clips.model_copy(update={"hash": "h"})},
        {"started_from": "s"},
        {"stages": (stage, stage.model_copy(update={"steps": 1}))},
        {"stages": (stage, stage.model_copy(update={"recipe": {}}))},
    ]
    settings = {record.model_copy(update=change).training_use().configuration for change in changes}
    assert len(settings | {use.configuration}) == len(changes) + 1


def foreign(tensors, path):
    save_file(tensors, path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "after", "remedy", "prefix"),
    [
        ("model.net.", "net.", Remedy.STRIP_PREFIX, "model."),
        ("", "net.", Remedy.ADD_PREFIX, "net."),
        ("$x_", "", Remedy.STRIP_PREFIX, "$x_"),
    ],
)
def test_names_that_fit_but_for_a_prefix_come_with_the_remedy(
    plugins, weights, tmp_path, before, after, remedy, prefix
):
    tensors = {before + name.removeprefix(after): tensor for name, tensor in load_file(weights).items()}
    path = foreign(tensors, tmp_path / "foreign.safetensors")
    with pytest.raises(vpbench.DataError) as caught:
        load(plugins, path, text="learner:wide")
    assert (caught.value.remedy, caught.value.subject) == (remedy, prefix)
    assert str(caught.value).endswith("; convert the file: its names differ by a prefix only")


def test_names_that_differ_otherwise_come_without(plugins, weights, tmp_path):
    tensors = {f"model.{name}": tensor for name, tensor in load_file(weights).items()} | {"x": torch.ones(1)}
    with pytest.raises(vpbench.DataError, match=r"\(and \d more\)$"):
        load(plugins, foreign(tensors, tmp_path / "foreign.safetensors"), text="learner:wide")


class TestAdaptStateDict:
    """``adapts``: a predictor whose published weights have other names, and lie with their channels last."""

    @pytest.fixture
    def published(self, weights, tmp_path):
        tensors = {
            f"layer{name[4]}/{name[6:]}": t.movedim(0, -1).contiguous() for name, t in load_file(weights).items()
        }
        return foreign(tensors, tmp_path / "published.safetensors")

    def test_weights_of_others_are_adapted(self, plugins, weights, published):
        chosen, stored = load(plugins, published, text="adapts:wide", name="adapts"), load_file(weights)
        assert all(torch.equal(tensor, stored[name]) for name, tensor in chosen.value.state_dict().items())

    @pytest.mark.slow
    def test_those_that_vpbench_wrote_are_not(self, plugins, published, tmp_path):
        record = WeightsRecord(predictor="adapts", options={"hidden": 8})
        chosen = load(plugins, published, text="adapts:wide", name="adapts")
        save_trained(tmp_path / "ours.safetensors", chosen.value, record)
        reloaded = load(plugins, tmp_path / "ours.safetensors", text="adapts", name="adapts")
        assert reloaded.fingerprint == chosen.fingerprint

    def test_what_does_not_fit_after_it_is_named(self, plugins, published, tmp_path):
        tensors = load_file(published) | {"layer9/bias": torch.ones(1)}
        with pytest.raises(vpbench.DataError, match=r"does not fit predictor 'adapts' .*: net.9.bias is one too many"):
            load(plugins, foreign(tensors, tmp_path / "x.safetensors"), text="adapts:wide", name="adapts")

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("nonsense", r"failed: ValueError: invalid literal .*$"),
            ("return/None", "must return a mapping of names to tensors"),
            ("return/list", "must return a mapping of names to tensors"),
            ("return/numbers", "must return a mapping of names to tensors"),
        ],
    )
    def test_where_it_fails_the_plugin_is_named(self, plugins, tmp_path, name, words):
        path = foreign({name: torch.ones(1)}, tmp_path / "x.safetensors")
        with pytest.raises(vpbench.PluginError, match=f"`adapt_state_dict` of predictor 'adapts' {words}"):
            load(plugins, path, text="adapts:wide", name="adapts")


def test_the_same_weights_and_record_are_the_same_bytes(weights, plugins, tmp_path):
    trained = open_trained(weights)
    model = choose_predictor(plugins, "learner:wide", {"learner": {"loss": "l1"}}, seed=1).value
    for number in range(8):
        save_trained(tmp_path / f"{number}.safetensors", model, trained.record)
    assert {(tmp_path / f"{number}.safetensors").read_bytes() for number in range(8)} == {weights.read_bytes()}
