"""``vpbench train``, and what ``run`` and the leaderboard make of its weights."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from vpbench.clips import source as loading
from vpbench.results.result import find_results, load

TRAINABLE = str(Path(__file__).resolve().parents[1] / "toy_trainable.py")
SHORT = ["--max-steps", "4", "--batch-size", "4", "--device", "cpu", "--workers", "0", "--pictures", "0"]

THREE_SPLITS = """
from dataclasses import replace

import vpbench
from toys import ToyFrames


@vpbench.hookimpl
def register_datasets(register):
    register("three-splits", "three_splits:ThreeSplits")


class ThreeSplits(ToyFrames):
    info = replace(ToyFrames.info, splits=("train", "val", "test"))
"""


@pytest.fixture
def args(toy):
    """Arguments that name the toy protocol, of 12 sequences, and both plugins."""
    return [*toy(dataset="toy-frames", sequences=12), "--plugin", TRAINABLE, "--metric", "mse"]


@pytest.fixture
def trained(vpbench, args, tmp_path):
    outcome = vpbench("train", *args, "-m", "learner", *SHORT, "--out", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    (weights,) = tmp_path.glob("out/training/toy/learner/*/weights.safetensors")
    return weights


@pytest.mark.slow
def test_it_ends_with_the_command_that_uses_the_weights(vpbench, args, tmp_path):
    command = ["train", *args, "-m", "learner", *SHORT, "--out", tmp_path / "out"]
    first, second = vpbench(*command), vpbench(*command, "--json")
    assert first.code == second.code == 0
    assert "11 sequences of train, 11 clips per epoch; 1 clips to validate on" in first.out
    assert re.search(r"stage 1 of 1, epoch 2, batch 4: mse 0\.\d+\n", first.out)
    assert "this training is finished already" in second.err
    last = first.out.splitlines()[-1]
    assert last == second.err.splitlines()[-1]
    (training,) = second.json["trainings"]
    assert f"weights: {training['weights']}\n" in first.out
    assert (training["protocol"], training["predictor"], training["stages"][0]["steps"]) == ("toy", "learner", 4)
    words = last.removeprefix("evaluate them: vpbench ").split()
    outcome = vpbench(*words, "--metric", "mse", "--out", tmp_path / "results")
    assert outcome.code == 0, outcome.err
    (folder,) = find_results(tmp_path / "results")
    assert load(folder).run.weights.clips == "disjoint"
    assert load(folder).training == "disjoint"


@pytest.mark.slow
def test_flags_decide_the_size_and_the_clips_of_an_epoch(vpbench, args, tmp_path):
    flags = ["--size", "8x12", "--epoch-clips", "8"]
    outcome = vpbench("train", *args, "-m", "learner", *SHORT, *flags, "--out", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert "11 sequences of train, 8 clips per epoch;" in outcome.out
    (record,) = tmp_path.glob("out/training/toy/learner/*/training.json")
    (stage,) = json.loads(record.read_text())["stages"]
    assert (stage["size"], stage["epoch_clips"]) == ([8, 12], 8)


@pytest.mark.slow
def test_a_model_trained_on_the_scored_clips_is_not_ranked(vpbench, args, trained, tmp_path):
    protocol = Path(args[3])
    text = protocol.read_text().replace("[dataset.options]", 'split = "train"\n[dataset.options]')
    protocol.write_text(text.replace('"toy"\nversion', '"toy-on-train"\nversion'))
    unknown = tmp_path / "unknown.safetensors"
    save_file({name: tensor * 0.5 for name, tensor in load_file(trained).items()}, unknown)
    out = ["--out", tmp_path / "results"]
    outcome = vpbench("run", *args, "-m", "learner", "-m", "last", "--weights", f"learner={trained}", *out)
    assert outcome.code == 0, outcome.err
    assert "learner: 12 of these sequences were trained on: never ranked" in outcome.out
    outcome = vpbench("run", *args, "-m", "learner", "--weights", unknown, *out)
    assert "learner: nothing is known of the clips that its weights were trained on" in outcome.out
    assert vpbench("leaderboard", tmp_path / "results", "--out", tmp_path / "pages").code == 0
    page = (tmp_path / "pages" / "toy-on-train.md").read_text().partition("\n## mse")[2]
    rows = [line.split("|")[1:3] for line in page.splitlines() if line.startswith("|")][2:]
    marks = [(mark.strip(), name.split("(")[0].strip(" []")) for mark, name in rows]
    assert [mark for mark, _ in marks[:2]] == ["1", "2"]
    assert {name for _, name in marks[:2]} == {"last", "learner"}
    assert marks[2] == ("trained on these clips", "learner")
    assert re.search(r"learner \(content=\w+\): nothing is known of the clips that it was trained on", page)
    index = (tmp_path / "pages" / "README.md").read_text()
    assert re.search(r"toy-on-train.*\|\s*2\s*\|\s*1\s*\|", index), index


@pytest.mark.slow
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGUSR1", 143)])
def test_a_signal_stops_it_saved_and_slurm_is_asked_to_start_it_again(vpbench, args, tmp_path, name, code):
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" > "{tmp_path}/asked"\n')
    scontrol.chmod(0o755)
    env = {
        "PATH": f"{scontrol.parent}:{os.environ['PATH']}",
        "SLURM_JOB_ID": "7",
        "KILL_AFTER": "2",
        "KILL_SIGNAL": name,
    }
    command = ["train", *args, "-m", "learner", *SHORT, "--out", str(tmp_path / "out")]
    process = [sys.executable, "-m", "vpbench", *command]
    outcome = subprocess.run(process, env={**os.environ, **env}, capture_output=True, text=True, check=False)
    assert outcome.returncode == code, outcome.stderr
    lines = [line for line in outcome.stderr.splitlines() if line.startswith("vpbench: ")]
    (folder,) = tmp_path.glob("out/training/toy/learner/*")
    assert [Path(line.partition(" in ")[2]) for line in lines] == [folder]
    assert f"stopped by {name}; saved: the same command resumes in " in lines[0]
    assert (tmp_path / "asked").is_file() == (name != "SIGINT")
    if name != "SIGINT":
        assert (tmp_path / "asked").read_text() == "requeue 7\n"
    assert vpbench(*command).code == 0
    assert (folder / "stage1" / "logs" / "attempt2").is_dir()


@pytest.mark.slow
def test_as_a_job_of_this_machine(vpbench, args, tmp_path, monkeypatch):
    command = ["train", *args, "-m", "learner", *SHORT, "--out", tmp_path / "out", "--submit", "local"]
    command += ["--job", "timeout_min=5"]
    monkeypatch.setattr(sys, "argv", ["vpbench", *map(str, command)])
    monkeypatch.setenv("PYTHONPATH", str(Path(TRAINABLE).parent))
    outcome = vpbench(*command, "--json")
    assert outcome.code == 0, outcome.err
    log = Path(outcome.json["jobs"][0]["output"])
    deadline = time.monotonic() + 120
    while not (files := list(tmp_path.glob("out/training/toy/learner/*/weights.safetensors"))):
        assert time.monotonic() < deadline, log.read_text() if log.is_file() else "no log"
        time.sleep(0.2)
    assert json.loads((files[0].parent / "training.json").read_text())["predictor"] == "learner"


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["-m", "last"], 2, "predictor 'last' cannot be trained"),
        (["-m", "learner", "--epochs", "1"], 2, "name one of --epochs and --max-steps"),
        (["-m", "learner", "-o", "learner.hiden=1"], 2, "has no option 'hiden'; did you mean 'hidden'"),
        (["-m", "learner", "--job", "a=1"], 2, "--job a=1: is for --submit"),
        (["-m", "learner", "--submit", "local", "--job", "nonsense=1"], 2, "nonsense"),
        (["-m", "learner", "--weights", "no.safetensors"], 1, "no.safetensors: there is no such file"),
    ],
)
def test_usage_errors(vpbench, args, tmp_path, flags, code, words):
    outcome = vpbench("train", *args, *SHORT, "--out", tmp_path / "out", *flags)
    assert outcome.code == code
    assert words in outcome.error
    assert not (tmp_path / "out" / "training" / "toy").exists()


def test_of_a_suite_that_trains_nothing(vpbench, tmp_path):
    suite = tmp_path / "suite.toml"
    suite.write_text('schema = 1\nname = "none"\nprotocols = ["scenes-small"]\n[[predictors]]\nname = "repeat"\n')
    outcome = vpbench("train", suite)
    assert (outcome.code, outcome.error) == (
        2,
        f"vpbench: {suite}: no entry says `train = true`: there is nothing to train",
    )
    assert "one -p and one -m, or name a SUITE.toml" in vpbench("train", "-m", "learner").error


@pytest.mark.slow
def test_a_predictor_that_was_not_trained_is_not_ranked(vpbench, args, tmp_path):
    outcome = vpbench("run", *args, "-m", "learner", "-m", "last", "--out", tmp_path / "results")
    assert outcome.code == 0, outcome.err
    assert "learner: not trained (no weights): never ranked" in outcome.out
    assert vpbench("leaderboard", tmp_path / "results", "--out", tmp_path / "pages").code == 0
    rows = [line for line in (tmp_path / "pages" / "toy.md").read_text().splitlines() if line.startswith("| not")]
    assert rows and all("learner" in row for row in rows)


@pytest.mark.slow
def test_without_lightning_it_says_what_to_install(toy, tmp_path):
    code = "import sys; sys.modules['lightning'] = None; from vpbench.cli.main import main; main()"
    command = ["train", *toy(), "-m", "last", *SHORT, "--out", str(tmp_path)]
    outcome = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=False)
    assert outcome.returncode == 1
    assert outcome.stderr.splitlines() == ["vpbench: training needs lightning: pip install 'vpbench[train]'"]


@pytest.mark.slow
@pytest.mark.parametrize("held_out", [True, False])
def test_after_preparation_nothing_is_annotated(vpbench, toy, tmp_path, monkeypatch, held_out):
    """Neither for the steps nor for the validation, whose clips are held out or have a split of their own."""
    (tmp_path / "three_splits.py").write_text(THREE_SPLITS)
    args = toy(dataset="toy-frames" if held_out else "three-splits", sequences=12, length=10, size=[48, 64])
    args += [] if held_out else ["--plugin", str(tmp_path / "three_splits.py")]
    path = Path(args[3])
    path.write_text(f"{path.read_text()}[training]\nvalidation_clips = 3\n")
    annotate, dataset = ["--annotate", "flow=dis:fast"], [*args, "--plugin", TRAINABLE]
    command = ["train", *dataset, "-m", "follows-flow", "--metric", "mse", *SHORT, *annotate, "--out"]
    plain = vpbench(*command, tmp_path / "plain")
    preparation = vpbench("data", "prepare", path, *args[:2], *args[4:], "--training", *annotate)
    assert (plain.code, preparation.code) == (0, 0), plain.err + preparation.err
    counts = [line.partition(": ")[2].partition(",")[0] for line in preparation.out.splitlines()]
    validated = f"{1 if held_out else 3} clips to validate on"
    assert counts == ["12 sequences"] * 2 + [validated] * 2
    monkeypatch.setattr(loading, "annotate", lambda *args: pytest.fail("it was annotated again"))
    prepared = vpbench(*command, tmp_path / "prepared")
    assert prepared.code == 0, prepared.err
    folders = (tmp_path / "plain", tmp_path / "prepared")
    expected, weights = (load_file(next(folder.rglob("weights.safetensors"))) for folder in folders)
    assert weights["weight"].tolist() == expected["weight"].tolist()
    assert expected["weight"].any()
    path.write_text(path.read_text().replace("clips = 3", "clips = 1"))
    preparation = vpbench("data", "prepare", path, *args[:2], *args[4:], "--training", *annotate, "--json")
    kinds = [(store["clips"], store["kind"]) for store in preparation.json["stores"]]
    assert kinds == [(12, "sequences")] * 2 + [(1, "clips to validate on")] * 2
    assert vpbench(*command, tmp_path / "fewer").code == 0


@pytest.mark.slow
def test_shipped_weights_are_taken_where_none_are_named(vpbench, args, trained, tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "shipping", raising=False)
    plugin = tmp_path / "shipping.py"
    plugin.write_text(
        "import vpbench\nfrom toy_trainable import Learner, fit\n\n"
        "@vpbench.hookimpl\ndef register_predictors(register):\n"
        "    register('learner', 'shipping:Shipping', default=True, trainer='shipping:fit')\n\n"
        f"class Shipping(Learner):\n    presets = {{'best': {{'weights': {str(trained)!r}}}}}\n"
        "    shipped = {'toy': 'best'}\n"
    )
    toys = [*args[:4], "--plugin", plugin, "--metric", "mse", "--out", tmp_path / "shipped"]
    outcome = vpbench("run", *toys)
    assert outcome.code == 0, outcome.err
    assert re.search(r"^mse +learner-best", outcome.out, re.MULTILINE)
    assert re.search(r"^learner-best: weights \w{12}, trained on toy$", outcome.out, re.MULTILINE)
    (named,) = (folder for folder in find_results(tmp_path / "shipped") if "learner" in str(folder))
    outcome = vpbench("run", *toys, "-m", "learner:best")
    assert outcome.out.splitlines()[-1].endswith(str(named))
    elsewhere = tmp_path / "other.toml"
    elsewhere.write_text(Path(args[3]).read_text().replace('name = "toy"\nversion', 'name = "other"\nversion'))
    outcome = vpbench("run", *args[:2], "-p", elsewhere, "--plugin", plugin, "--metric", "mse", "--out", tmp_path / "o")
    assert "learner" not in outcome.out
