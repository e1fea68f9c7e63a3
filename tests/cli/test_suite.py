"""`vpbench run SUITE.toml`: what fits is evaluated, what does not fails alone, and neighbours change no result."""

from __future__ import annotations

import json
from pathlib import Path

import folders
import pytest
import torch
from safetensors.torch import save_file

from vpbench.evaluation.suite import job_annotators
from vpbench.plugin.predictor import PredictorInfo
from vpbench.protocol.suite import Suite
from vpbench.results.result import find_results
from vpbench.select.data import open_protocol
from vpbench_folder.dataset import Folder

MSE = ["--metric", "mse"]


@pytest.fixture
def suite(toy, tmp_path):
    """Write toy protocols and a suite beside them; return the arguments that run it."""
    toys = toy("toy")[:2]
    toy("bare", dataset="toy-frames")
    toy("far", sampling='kind = "first"\ncontext = 3\nhorizon = 5\n')

    def make(*entries: str, protocols: str = '"toy.toml", "bare.toml"', extra: str = "") -> list[str]:
        text = f'schema = 1\nname = "table"\nprotocols = [{protocols}]\n{extra}\n'
        (tmp_path / "table.toml").write_text(text + "".join(f"\n[[predictors]]\n{entry}\n" for entry in entries))
        plugin = ["--plugin", str(Path(__file__).parents[1] / "suite_toys.py")]
        return ["run", str(tmp_path / "table.toml"), *toys, *plugin, "--out", str(tmp_path / "r"), *MSE]

    return make


def tree(root: Path) -> dict[str, bytes]:
    """Every unit and summary by its path: a folder's name is the hash of the identity."""
    paths = [p for folder in find_results(root) for p in (folder / "summary.json", *(folder / "units").glob("*"))]
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


@pytest.mark.slow
def test_a_suite_gives_what_its_runs_give_one_by_one(vpbench, suite, toy, tmp_path):
    args = suite('name = "last"', 'name = "noisy"\nseeds = [0, 2]\nsamples = 3', 'name = "with-options:wide"')
    outcome = vpbench(*args)
    assert (outcome.code, outcome.err) == (0, "")
    for protocol in ("toy", "bare"):
        single = ["run", *toy()[:2], "-p", tmp_path / f"{protocol}.toml", "--out", tmp_path / "single", *MSE]
        assert vpbench(*single, "-m", "last", "-m", "with-options:wide").code == 0
        for seed in (0, 2):
            assert vpbench(*single, "-m", "noisy", "--seed", seed, "--samples", "3").code == 0
    assert len(find_results(tmp_path / "r")) == 8
    assert tree(tmp_path / "r") == tree(tmp_path / "single")


@pytest.mark.slow
def test_what_does_not_fit_fails_alone_and_is_told_at_the_end(vpbench, suite, tmp_path):
    bad = ["needs-flow", "short", "raises", "lats", "with-options:wid"]
    entries = [f'name = "{name}"' for name in bad]
    args = suite('name = "last"', *entries, 'name = "noisy"', protocols='"toy.toml", "scens", "bare.toml"')
    outcome = vpbench(*args)
    assert outcome.code == 1
    lines = outcome.err.splitlines()
    for words in (
        "bare: needs-flow: predictor 'needs-flow' requires flow",
        "toy: short: predictor 'short' predicts at most 1 steps; toy asks for 4",
        "bare: short: ",
        "toy: raises: ",
        "toy: lats: there is no predictor 'lats'; did you mean 'last'?",
        "bare: with-options:wid: predictor 'with-options' has no preset 'wid'",
        "scens: there is no protocol 'scens'; did you mean 'scenes'?",
    ):
        assert [line for line in lines if line.startswith(f"vpbench: {words}")], words
    assert len(lines) == 10
    table = [line.split() for line in outcome.out.splitlines()[-3:]]
    assert table == [
        ["toy", "done", "done", "failed", "failed", "failed", "failed", "done"],
        ["scens", *["failed"] * 7],
        ["bare", "done", "failed", "failed", "failed", "failed", "failed", "done"],
    ]
    outcome = [path.parent.parent.name for path in (tmp_path / "r").rglob("summary.json")]
    assert sorted(outcome) == ["last", "last", "needs-flow", "noisy", "noisy"]


@pytest.mark.slow
def test_json_is_one_document_with_an_entry_for_each_job(vpbench, suite):
    outcome = vpbench(*suite('name = "last"', 'name = "short"\nseeds = [1]'), "--json")
    assert outcome.code == 1
    assert outcome.json["suite"] == "table"
    results = outcome.json["results"]
    assert [(r["protocol"], r["predictor"], r["seed"], r["complete"]) for r in results] == [
        ("toy", "last", 0, True), ("toy", "short", 1, False), ("bare", "last", 0, True), ("bare", "short", 1, False),
    ]  # fmt: skip
    assert [r["error"] is None for r in results] == [True, False, True, False]
    assert "at most 1 steps" in results[1]["error"]
    assert (results[1]["path"], results[1]["summary"]) == (None, None)
    assert results[0]["summary"]["scores"]["mse"]["clips"] == 20
    assert len(outcome.json["failures"]) == 2


@pytest.mark.slow
def test_a_suite_goes_on_where_it_stopped(vpbench, suite, tmp_path):
    args = suite('name = "last"', 'name = "noisy"')
    assert vpbench(*args).code == 0
    before = tree(tmp_path / "r")
    (lost,) = (tmp_path / "r" / "bare" / "noisy").rglob("units/000001.jsonl")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "r").rglob("units/*") if path != lost}
    lost.unlink()
    assert vpbench(*args).code == 0
    assert tree(tmp_path / "r") == before
    assert {path: path.stat().st_mtime_ns for path in times} == times


@pytest.mark.slow
def test_a_result_that_was_spoiled_fails_alone(vpbench, suite, tmp_path):
    args = suite('name = "last"', 'name = "noisy"', protocols='"toy.toml"')
    assert vpbench(*args).code == 0
    (unit,) = (tmp_path / "r" / "toy" / "last").rglob("units/000000.jsonl")
    unit.write_text("spoiled")
    for path in (tmp_path / "r" / "toy" / "noisy").rglob("units/*"):
        path.unlink()
    outcome = vpbench(*args)
    assert outcome.code == 1
    assert outcome.error.startswith("vpbench: toy: last: ")
    assert str(unit) in outcome.error
    assert len(list((tmp_path / "r" / "toy" / "noisy").rglob("units/*"))) == 2


@pytest.mark.slow
def test_data_that_cannot_be_read_fail_their_protocol_in_one_line(vpbench, suite, toy, tmp_path):
    Path(toy("torn", broken=18)[-1]).rename(tmp_path / "file.toml")  # tables show names, not files
    outcome = vpbench(*suite('name = "last"', 'name = "noisy"', protocols='"file.toml", "bare.toml"'))
    assert outcome.code == 1
    assert outcome.error == "vpbench: torn: test/seq018: does not decode"
    assert [line.split() for line in outcome.out.splitlines()[-2:]] == [
        ["torn", "failed", "failed"],
        ["bare", "done", "done"],
    ]


@pytest.mark.slow
def test_one_entry_twice_is_told_and_the_first_evaluated(vpbench, suite):
    same = 'name = "with-options:wide"\noptions = { width = 8 }'
    outcome = vpbench(*suite('name = "with-options:wide"', same, 'name = "last"', protocols='"toy.toml"'), "--json")
    assert [r["complete"] for r in outcome.json["results"]] == [True, False, True]
    assert "asked for twice" in outcome.json["results"][1]["error"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["-m", "noisy"], ["toy noisy", "bare noisy"]),
        (["-p", "{here}/bare.toml", "-m", "with-options"], ["bare with-options"]),
        (["-m", "with-options:wide", "-m", "last"], ["toy last", "toy with-options", "bare last", "bare with-options"]),
    ],
)
def test_p_and_m_narrow_a_suite(vpbench, suite, tmp_path, flags, expected):
    args = suite('name = "last"', 'name = "noisy"', 'name = "with-options:wide"')
    outcome = vpbench(*args, *(flag.format(here=tmp_path) for flag in flags), "--json")
    assert [f"{r['protocol']} {r['predictor']}" for r in outcome.json["results"]] == expected


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["-m", "lats"], "suite table: no predictor 'lats'; did you mean 'last'?"),
        (["-p", "toy"], "suite table: no protocol 'toy'"),
        (["-o", "noisy.width=3"], "'noisy' does not take part"),
        (["--metric", "msee"], "no metric 'msee'"),
    ],
)
def test_a_flag_that_is_wrong_stops_the_suite_before_any_work(vpbench, suite, tmp_path, flags, words):
    outcome = vpbench(*suite('name = "last"'), *flags)
    assert outcome.code == 2
    assert words in outcome.error
    assert not (tmp_path / "r").exists()


@pytest.mark.slow
def test_flags_hold_for_all_entries_and_go_before_what_the_suite_says(vpbench, suite):
    args = suite('name = "with-options"\noptions = { width = 2, mode = "suite" }\nseeds = [5]', 'name = "noisy"')
    outcome = vpbench(*args, "-o", "with-options.width=3", "--seed", "7", "--samples", "2", "--clips", "2", "--json")
    runs = [json.loads((Path(r["path"]) / "run.json").read_text())["identity"] for r in outcome.json["results"]]
    assert runs[0]["options"] == {"width": 3, "mode": "suite"}
    assert {run["seed"] for run in runs} == {7}
    assert [run["samples"] for run in runs] == [1, 2, 1, 2]
    assert {r["summary"]["clips"] for r in outcome.json["results"]} == {2}


@pytest.mark.slow
def test_shards_wait_for_one_another(vpbench, suite):
    args = suite('name = "last"', protocols='"toy.toml"')
    assert vpbench(*args, "--shard", "0/2").out.splitlines()[-1].split() == ["toy", "waiting"]
    assert vpbench(*args, "--shard", "1/2").out.splitlines()[-1].split() == ["toy", "done"]


# --- annotators ---


def identities(outcome) -> dict[tuple[str, str], dict[str, str]]:
    runs = [(r, json.loads((Path(r["path"]) / "run.json").read_text())) for r in outcome.json["results"] if r["path"]]
    return {(r["protocol"], r["predictor"]): run["identity"]["annotators"] for r, run in runs}


@pytest.mark.slow
def test_the_suites_annotators_fill_in_what_is_lacking_and_required_and_nothing_else(vpbench, suite):
    args = suite('name = "needs-flow"', 'name = "looks"', extra='[annotate]\nflow = "still"')
    annotators = identities(vpbench(*args, "--json"))
    assert {key: set(value) for key, value in annotators.items()} == {
        ("toy", "needs-flow"): set(),  # the dataset's own
        ("toy", "looks"): set(),
        ("bare", "needs-flow"): {"flow"},
        ("bare", "looks"): set(),  # it can do without, whatever its neighbour is given
    }


@pytest.mark.slow
def test_an_entrys_annotators_hold_for_it_whatever_the_dataset_has(vpbench, suite):
    args = suite('name = "needs-flow"\nannotate = { flow = "still" }', 'name = "looks"')
    annotators = identities(vpbench(*args, "--json"))
    assert [set(annotators["toy", name]) for name in ("needs-flow", "looks")] == [{"flow"}, set()]
    named = identities(vpbench(*args, "--annotate", "flow=dis", "-p", Path(args[1]).parent / "bare.toml", "--json"))
    assert all('"name":"dis"' in named["bare", name]["flow"] for name in ("needs-flow", "looks"))


def test_a_folder_of_maps_starts_from_the_suites_file(tmp_path):
    entries = 'name = "flow-extrapolation"', 'name = "flow-extrapolation"\nannotate = { flow = "saved:/abs" }'
    text = 'schema = 1\nname = "table"\nprotocols = ["folder-4to10"]\nannotate = { flow = "saved:maps" }\n'
    (tmp_path / "table.toml").write_text(text + "".join(f"\n[[predictors]]\n{entry}\n" for entry in entries))
    plugins = folders.plugins()
    protocol = open_protocol(plugins, "folder-4to10")
    dataset, info = Folder(tmp_path), PredictorInfo(requires=("frames", "flow"))
    jobs = Suite.read(tmp_path / "table.toml").jobs()
    texts = [job_annotators(job, info, protocol, dataset, plugins)["flow"] for job in jobs]
    assert texts == [f"saved:{tmp_path / 'maps'}", "saved:/abs"]


# --- learned predictors ---


@pytest.mark.slow
def test_weights_and_other_paths_start_from_the_suites_file(vpbench, suite, tmp_path, monkeypatch):
    save_file({"gain": torch.full((1,), 0.5)}, tmp_path / "half.safetensors")
    args = suite('name = "learned"', 'name = "learned"\nweights = "half.safetensors"', 'name = "last"')
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    args[1] = "../table.toml"
    outcome = vpbench(*args, "--json", "-p", "../toy.toml", "--save-predictions")
    untrained, half, last = outcome.json["results"]
    assert untrained["summary"]["scores"] == last["summary"]["scores"]
    assert half["summary"]["scores"] != last["summary"]["scores"]
    (Path(half["path"]) / "predictions").rename(tmp_path / "mine")
    saved = vpbench(*suite('name = "saved:mine"', protocols='"toy.toml"'), "--json").json["results"][0]
    assert saved["summary"]["scores"] == half["summary"]["scores"]


@pytest.mark.slow
def test_weights_that_are_not_there(vpbench, suite, tmp_path):
    outcome = vpbench(*suite('name = "learned"\nweights = "gone.safetensors"', 'name = "last"', protocols='"toy.toml"'))
    assert outcome.code == 1
    assert f"there is no file {tmp_path / 'gone.safetensors'}" in outcome.error
    assert outcome.out.splitlines()[-1].split() == ["toy", "failed", "done"]


@pytest.mark.slow
def test_an_entry_that_is_trained_gets_the_weights_of_its_own_training(vpbench, suite, tmp_path):
    pytest.importorskip("lightning")
    entry = 'name = "convlstm:tiny"\nseeds = [0, 1]\ntrain = { steps = %d, batch_size = 2 }'
    args = suite(entry % 2, 'name = "last"', protocols='"toy.toml"')
    refused = vpbench(*args, "--json")
    assert [r["complete"] for r in refused.json["results"]] == [False, False, True]
    assert "'convlstm:tiny seed 1' is not trained yet: train this suite first" in refused.json["results"][1]["error"]
    train = ["train", *args[1:4], *MSE, "--device", "cpu", "--workers", "0", "--pictures", "0", "--out", tmp_path / "r"]
    first, second = vpbench(*train), vpbench(*train, "--json")
    assert (first.code, second.code) == (0, 0), first.err
    files = [line.removeprefix("weights: ") for line in first.out.splitlines() if line.startswith("weights: ")]
    assert len(set(files)) == 2
    assert [(training["weights"], training["seed"]) for training in second.json["trainings"]] == list(
        zip(files, (0, 1), strict=True)
    )
    assert all(f"weights: {file}\n" in second.err for file in files)
    assert "steps; kept" not in second.err
    outcome = vpbench(*args, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    by_hand = ["run", *args[2:4], "-p", tmp_path / "toy.toml", *MSE, "--out", tmp_path / "single", "--json"]
    for seed, result in enumerate(outcome.json["results"][:2]):
        flags = ["-m", "convlstm:tiny", "--weights", files[seed], "--seed", seed]
        (single,) = vpbench(*by_hand, *flags).json["results"]
        assert Path(single["path"]).name == Path(result["path"]).name
        assert single["summary"] == result["summary"]
    # A preset whose weights the training started from is left out.
    shipped = suite('name = "convlstm:scenes"\ntrain = { steps = 2, batch_size = 2 }', protocols='"toy.toml"')
    assert vpbench("train", *shipped[1:4], *train[4:]).code == 0
    assert vpbench(*shipped, "--json").json["results"][0]["complete"]
    # Spoiled folders next to them do no harm.
    for name, text in (("empty", ""), ("list", "[]")):
        folder = Path(files[0]).parents[1] / name
        folder.mkdir()
        (folder / "weights.safetensors").touch()
        (folder / "training.json").write_text(text)
    assert vpbench(*args).code == 0
    refused = vpbench(*train, "--lr", "0.1")
    assert refused.code == 2 and "write train = { learning_rate = ... } there" in refused.error
    # Weights of other recipes are not taken for these.
    longer = vpbench(*suite(entry % 3, protocols='"toy.toml"'), "--json")
    assert [r["error"].partition("not trained yet")[1] for r in longer.json["results"]] == ["not trained yet"] * 2
