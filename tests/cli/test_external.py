"""Results of ``external:`` and ``saved:``: their names, their identities, and failures in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from workers import write_worker


def score(outcome):
    assert outcome.code == 0, outcome.err
    return [document["summary"]["scores"]["mse"] for document in outcome.json["results"]]


@pytest.mark.slow
def test_a_worker_gives_the_scores_of_the_predictor_in_process_and_its_changes_give_other_results(
    vpbench, toy, tmp_path
):
    command, args = write_worker(tmp_path / "my_model.py"), [*toy(sequences=3), "--metric", "mse", "--json"]
    outcome = vpbench("run", *args, "-m", f"external:{command}", "-m", "last", "--out", tmp_path / "r")
    external, last = score(outcome)
    assert external == last
    path = Path(outcome.json["results"][0]["path"])
    run = json.loads((path / "run.json").read_text())
    assert (path.parent.name, run["identity"]["options"]) == ("external-my_model", {})
    assert str(tmp_path) not in (path / "run.json").read_text()
    write_worker(tmp_path / "my_model.py", predict="return np.repeat(frames[:, :1], horizon, axis=1)")
    options = ["-o", "external.name=v2", "-o", "external.timeout=50"]
    changed = vpbench("run", *args, "-m", f"external:{command}", *options, "--out", tmp_path / "r")
    assert score(changed) != [last]
    assert Path(changed.json["results"][0]["path"]).parent.name == "external-v2"


@pytest.mark.slow
def test_a_worker_that_fails_costs_its_cell_only_and_says_why(vpbench, toy, tmp_path):
    raising = (
        "if 'test/seq002@0' in header['clips']:\n    raise ValueError('no idea')\nreturn np.repeat(frames, 4, 1)[:, :4]"
    )
    command, args = write_worker(tmp_path / "w.py", predict=raising), [*toy(sequences=3), "--metric", "mse"]
    outcome = vpbench("run", *args, "-m", f"external:{command}", "-m", "last", "--out", tmp_path / "r")
    assert outcome.code == 1
    assert "predictor 'external-w' failed on clip 'test/seq002@0': WorkerError: ValueError: no idea" in outcome.error
    assert "last: " in outcome.out
    command = write_worker(tmp_path / "w.py", answer="sys.stderr.write('out of luck'); ctypes.string_at(0)")
    outcome = vpbench("run", *args, "-m", f"external:{command}", "-m", "last", "--out", tmp_path / "r")
    assert outcome.code == 1
    assert "predictor 'external-w': its worker was ended by SIGSEGV; its standard error ends: out of" in outcome.error


def test_predictions_are_named_by_an_option_or_a_card_and_trained_models_are_not_untrained(vpbench, toy, tmp_path):
    args = toy(sequences=3)
    vpbench("data", "export", args[3], *args[:2], "--out", tmp_path / "x", "--truth")
    run = ["run", *args, "-m", f"saved:{tmp_path / 'x/truth'}", "--metric", "mse", "--json", "--out", tmp_path / "r"]
    first, named = vpbench(*run).json, vpbench(*run, "-o", "saved.name=my model").json
    folders = [Path(outcome["results"][0]["path"]) for outcome in (first, named)]
    assert folders[0].parent.name.startswith("saved-truth-")
    assert folders[1].parent.name == "saved-my-model"
    assert folders[0].name == folders[1].name
    assert json.loads((folders[0] / "run.json").read_text())["weights"] is None
    (tmp_path / "x/truth/card.toml").write_text('name = "carded"\ntrained_on = ["toy"]\npaper = "p"\n')
    folder = Path(vpbench(*run).json["results"][0]["path"])
    record = json.loads((folder / "run.json").read_text())
    assert (folder.parent.name, record["paper"], record["weights"]["clips"]) == ("saved-carded", "p", "unknown")
