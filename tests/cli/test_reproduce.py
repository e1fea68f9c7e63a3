"""`vpbench reproduce`: the recorded predictor, seed and weights give the rows again, or a line says why not."""

from __future__ import annotations

import json
from pathlib import Path

import folders
import pytest

from vpbench.plugin.loader import load_plugins
from vpbench.results.result import load
from vpbench.select.component import choose_predictor
from vpbench.select.trained import save_trained, sequence_keys
from vpbench.select.weights_record import WeightsRecord

TESTS = Path(__file__).resolve().parents[1]
TRAINABLE = ["--plugin", TESTS / "toy_trainable.py"]
PLUGIN = ["--plugin", TESTS / "toys.py"]


@pytest.fixture
def run(vpbench, toy, tmp_path):
    def make(*args, **options) -> Path:
        outcome = vpbench("run", *toy(**options), *args, "--metric", "mse", "--out", tmp_path / "r", "--json")
        assert outcome.code == 0, outcome.err
        (document,) = outcome.json["results"]
        return Path(document["path"])

    return make


def edit(folder, change, number=0):
    """Edit the published rows of a unit, as a forger does who updates every digest."""
    folders.edit_unit(folder, change, number)


@pytest.mark.slow
def test_rows_of_a_stochastic_predictor_are_equal_bit_by_bit(vpbench, run):
    path = run("-m", "noisy", "--samples", "2", "--seed", "3")
    outcome = vpbench("reproduce", path, *PLUGIN, "--clips", "5", "--json")
    assert outcome.code == 0, outcome.err
    document = outcome.json
    assert document["reproduced"] and not document["remarks"] and not document["skipped"]
    assert [Path(clip).name for clip in document["clips"]] == [f"seq{i:03d}@0" for i in (0, 4, 8, 12, 16)]
    (metric,) = document["metrics"]
    assert (metric["metric"], metric["rows"], metric["equal"], metric["largest"]) == ("mse", 5 * 2 * 4, 40, 0.0)


@pytest.mark.slow
def test_a_row_beyond_the_tolerance_fails_by_metric_and_clip(vpbench, run):
    path = run("-m", "last")
    edit(path, lambda rows: rows[5].update(value=rows[5]["value"] + 2e-6))
    outcome = vpbench("reproduce", path, *PLUGIN, "--clips", "99")
    assert outcome.code == 1
    assert "not reproduced: mse" in outcome.out
    (line,) = [line.split() for line in outcome.out.splitlines() if line.startswith("mse")]
    assert line == ["mse", "80", "79", "2e-06", "1", "test/seq001@0"]
    wide = vpbench("reproduce", path, *PLUGIN, "--clips", "99", "--tolerance", "3e-6")
    assert wide.code == 0
    assert wide.out.splitlines()[-1] == "reproduced"


@pytest.mark.parametrize("tolerance", ["nan", "inf", "-1"])
def test_a_tolerance_that_every_row_would_pass_is_refused(vpbench, tmp_path, tolerance):
    outcome = vpbench("reproduce", tmp_path, "--tolerance", tolerance)
    assert outcome.code == 2
    assert "'--tolerance'" in outcome.err


@pytest.mark.slow
def test_an_undefined_row_is_not_a_defined_one(vpbench, run):
    path = run("-m", "last")
    edit(path, lambda rows: rows[0].update(value=None, status="undefined", reason="none"))
    outcome = vpbench("reproduce", path, *PLUGIN, "--clips", "20", "--json")
    assert outcome.code == 1
    (metric,) = outcome.json["metrics"]
    assert (metric["largest"], metric["beyond"]) == (None, 1)


def test_other_pixels_are_named(vpbench, run):
    path = run("-m", "last")
    edit(path, lambda rows: [row.update(data="0" * 16) for row in rows])
    outcome = vpbench("reproduce", path, *PLUGIN, "--clips", "1")
    assert outcome.code == 1
    assert "clip 'test/seq000@0': these are other pixels than those that mse scored" in outcome.error
    assert outcome.error.endswith("(--data-root toy=DIR)")


@pytest.mark.slow
def test_a_metric_that_is_not_installed_is_skipped_with_its_reason(vpbench, toy, tmp_path):
    args = [*toy(), "-m", "last", "--metric", "mse", "--metric", "mean-colour", "--out", tmp_path / "r", "--json"]
    (document,) = vpbench("run", *args).json["results"]
    outcome = vpbench("reproduce", document["path"], *PLUGIN, "--clips", "2", "--json")
    assert outcome.json["skipped"] == {"mean-colour": "it has one score of all clips"}
    assert [metric["metric"] for metric in outcome.json["metrics"]] == ["mse"]


def test_a_result_without_a_metric_to_compare_is_refused(vpbench, toy, tmp_path):
    args = [*toy(), "-m", "last", "--metric", "mean-colour", "--out", tmp_path / "r", "--json"]
    (document,) = vpbench("run", *args).json["results"]
    assert "no metric can be compared (mean-colour: it has one" in vpbench("reproduce", document["path"]).error


def test_options_are_the_recorded_ones(vpbench, run):
    path = run("-m", "with-options:wide", "-o", "with-options.mode=plain")
    assert vpbench("reproduce", path, *PLUGIN, "--clips", "1").code == 0


def test_annotators_are_the_recorded_ones(vpbench, toy, tmp_path):
    args = [*toy(dataset="toy-frames"), "-m", "needs-flow", "--annotate", "flow=still", "--metric", "mse"]
    outcome = vpbench("run", *args, "--out", tmp_path / "r", "--json")
    (document,) = outcome.json["results"]
    assert vpbench("reproduce", document["path"], *PLUGIN, "--clips", "2").code == 0


def test_other_code_is_a_remark(vpbench, run):
    path = run("-m", "last")
    folders.edit_run(path, lambda value: value["identity"].update(fingerprint="0" * 64), rehash=True)
    outcome = vpbench("reproduce", path, *PLUGIN, "--clips", "1")
    assert outcome.code == 0, outcome.err
    assert "note: the code or the values of last differ from the recorded ones" in outcome.out


SHRINKING = """
import os

import toys
import vpbench


@vpbench.hookimpl
def register_datasets(register):
    register("shrinking", f"{__name__}:Shrinking")


class Shrinking(toys.Toy):
    def sequences(self, split):
        return super().sequences(split)[: int(os.environ["SEQUENCES"])]
"""


def test_a_clip_that_the_data_lack_is_named(vpbench, run, tmp_path, monkeypatch):
    plugin = tmp_path / "shrinking.py"
    plugin.write_text(SHRINKING)
    monkeypatch.setenv("SEQUENCES", "8")
    path = run("--plugin", plugin, "-m", "last", dataset="shrinking")
    monkeypatch.setenv("SEQUENCES", "3")
    outcome = vpbench("reproduce", path, *PLUGIN, "--plugin", plugin, "--clips", "4")
    assert outcome.code == 1
    assert "the data have no clip 'test/seq004@0'; complete them (--data-root shrinking=DIR)" in outcome.error


def save_weights(path: Path, seed: int) -> None:
    plugins = load_plugins([str(TESTS / "toys.py"), str(TESTS / "toy_trainable.py")])
    chosen = choose_predictor(plugins, "learner:wide", {"learner": {"loss": "l1"}}, seed=seed)
    record = {"predictor": "learner", "preset": "wide", "options": dict(chosen.options), "protocol": {"name": "toy"}}
    record["clips"] = {"sequences": sequence_keys("toy", ["train/a"])}
    save_trained(path, chosen.value, WeightsRecord.model_validate(record))


@pytest.mark.slow
def test_weights_must_have_the_recorded_hash(vpbench, run, tmp_path):
    for name, seed in (("w", 1), ("v", 2)):
        save_weights(tmp_path / f"{name}.safetensors", seed)
    path = run(*TRAINABLE, "-m", "learner", "--weights", tmp_path / "w.safetensors")
    recorded = load(path).run.weights.sha256
    plugins = [*PLUGIN, *TRAINABLE]
    outcome = vpbench("reproduce", path, *plugins, "--clips", "2", "--weights", tmp_path / "w.safetensors", "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["metrics"][0]["largest"] == 0
    for args, sha256 in (([], "none"), (["--weights", tmp_path / "v.safetensors"], "")):
        refused = vpbench("reproduce", path, *plugins, *args)
        assert refused.code == 1
        assert f"made with the weights {recorded[:16]} (sha256), and these are {sha256}" in refused.error
