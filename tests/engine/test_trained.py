"""Weights that travel: whose they are, what they were trained with and on; and what does not fit, by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import vpbench
from vpbench.engine.choose import choose_predictor
from vpbench.engine.trained import open_trained, save_trained, sequence_keys
from vpbench.plugin.loader import load_plugins

TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def plugins():
    return load_plugins([str(TESTS / "toys.py"), str(TESTS / "toy_trainable.py")])


@pytest.fixture
def weights(tmp_path, plugins):
    """Weights of ``learner:wide``, drawn with another seed than an untrained one's."""
    path = tmp_path / "wide.safetensors"
    chosen = choose_predictor(plugins, "learner:wide", {"learner": {"loss": "l1"}}, seed=1)
    about = {
        "predictor": "learner",
        "preset": "wide",
        "options": dict(chosen.options),
        "protocol": {"name": "toy"},
        "clips": {"sequences": sequence_keys("toy", ["train/a", "train/b"])},
    }
    save_trained(path, chosen.value, about)
    return path


def load(plugins, path, text="learner", **options):
    return choose_predictor(plugins, text, {"learner": {"weights": str(path), **options}})


def test_the_options_recorded_hold_where_none_are_named(plugins, weights):
    chosen = load(plugins, weights)
    assert chosen.options == {"hidden": 8, "loss": "l1"}
    assert chosen.preset == "wide"
    assert set(chosen.sources.values()) == {"weights"}
    stored = load_file(weights)
    assert all(torch.equal(tensor, stored[name]) for name, tensor in chosen.value.state_dict().items())


def test_weights_are_part_of_what_a_result_is_of(plugins, weights):
    fingerprints = {load(plugins, weights).fingerprint, choose_predictor(plugins, "learner:wide", {}).fingerprint}
    assert len(fingerprints) == 2
    assert load(plugins, weights).fingerprint in fingerprints


def test_what_is_only_for_training_may_differ(plugins, weights):
    chosen = load(plugins, weights, loss="l2", hidden=8)
    assert chosen.options == {"hidden": 8, "loss": "l2"}
    assert load(plugins, weights, text="learner:wide").options["loss"] == "l1"


@pytest.mark.parametrize(("text", "options"), [("learner", {"hidden": 16}), ("learner:wide", {"hidden": 16})])
def test_options_that_differ_are_named(plugins, weights, text, options):
    with pytest.raises(
        vpbench.UsageError, match="'learner' was trained with hidden 8, not 16: name no preset and none"
    ):
        load(plugins, weights, text, **options)


def test_a_preset_of_nothing_but_defaults_differs_too(plugins, weights):
    with pytest.raises(vpbench.UsageError, match="'learner' was trained with hidden 8, not 4: name no preset"):
        load(plugins, weights, "learner:plain")
    assert load(plugins, weights, "learner:plain", hidden=8).options["hidden"] == 8


def test_a_preset_that_says_nothing_of_the_network_goes_with_any(plugins, weights):
    chosen = load(plugins, weights, "learner:by-l1")
    assert (chosen.preset, chosen.options) == ("by-l1", {"hidden": 8, "loss": "l1"})


def test_weights_of_another_predictor(plugins, weights):
    with pytest.raises(vpbench.UsageError, match=r"wide.safetensors: are weights of 'learner', not of 'other'"):
        choose_predictor(plugins, "other", {"other": {"weights": str(weights)}})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("net.0.bias"), "net.0.bias is missing"),
        (lambda t: t.update(extra=torch.ones(1)), "extra is one too many"),
        (lambda t: t.update({"net.2.bias": torch.ones(4)}), r"net.2.bias is \[4\], not \[3\]"),
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
    ("name", "words"), [("no.safetensors", "there is no such file"), ("b.safetensors", "is not a")]
)
def test_files_that_are_not_there_or_broken(plugins, tmp_path, name, words):
    (tmp_path / "b.safetensors").write_bytes(b"weights, really")
    with pytest.raises(vpbench.DataError, match=words):
        load(plugins, tmp_path / name)


@pytest.mark.parametrize("text", ["not JSON", "[1]", '"text"', '{"stage": {}}', '{"predictor": 3}'])
def test_a_file_that_says_something_else_of_itself(plugins, tmp_path, text):
    path = tmp_path / "strange.safetensors"
    save_file({"x": torch.zeros(1)}, path, metadata={"vpbench": text})
    with pytest.raises(vpbench.DataError, match=r"strange.safetensors: what it says of itself under 'vpbench'"):
        load(plugins, path)


def test_a_file_of_a_newer_vpbench(plugins, tmp_path):
    file = tmp_path / "new.safetensors"
    save_file({}, file, metadata={"vpbench": '{"schema": 2}'})
    with pytest.raises(vpbench.DataError, match="schema 2 is newer than this vpbench reads"):
        load(plugins, file)


def test_what_was_trained_on_is_told_from_what_was_not(plugins, weights, tmp_path):
    trained = open_trained(weights)
    assert trained.seen("toy", ["test/a", "test/b"])["clips"] == "disjoint"
    assert trained.seen("toy", ["test/a", "train/b", "train/b"]) == {
        "sha256": trained.sha256,
        "protocol": "toy",
        "clips": "overlap",
        "seen": 1,
    }
    assert trained.seen("other-dataset", ["train/b"])["clips"] == "disjoint"
    save_file(load_file(weights), tmp_path / "foreign.safetensors")
    foreign = load(plugins, tmp_path / "foreign.safetensors", text="learner:wide")
    assert foreign.trained.seen("toy", ["test/a"])["clips"] == "unknown"
