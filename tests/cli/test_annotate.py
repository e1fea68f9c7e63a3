"""`vpbench run` with annotators that estimate, and with weights of the user's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from toys import Toy

from vpbench.clips import source as loading
from vpbench.clips.probe import PROBED
from vpbench.results.result import find_results

MSE = ["--metric", "mse"]
SIZE = {"size": [32, 48], "sequences": 18}
ONE_STEP = 'kind = "first"\ncontext = 2\nhorizon = 1\n'


def units(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.rglob("units/*.jsonl"))]


@pytest.fixture(autouse=True)
def _no_weights(monkeypatch):
    from vpbench.toolkit import weights

    monkeypatch.delenv("VPBENCH_WEIGHTS", raising=False)
    monkeypatch.setattr(weights, "reachable", lambda url: False)


@pytest.mark.slow
def test_flow_that_a_dataset_lacks_is_estimated(vpbench, toy, tmp_path):
    args = ["run", *toy(dataset="toy-frames", **SIZE), "-m", "needs-flow", *MSE]
    outcome = vpbench(*args, "--out", tmp_path / "none")
    assert outcome.code == 1
    assert "requires flow, which 'toy-frames' lacks: add annotators (flow=NAME; " in outcome.error
    outcome = vpbench(*args, "--annotate", "flow=dis", "--out", tmp_path / "r")
    assert (outcome.code, outcome.err) == (0, "")
    (folder,) = find_results(tmp_path / "r")
    named = json.loads((folder / "run.json").read_text())["identity"]["annotators"]
    annotator = json.loads(named["flow"])
    assert (annotator["name"], annotator["options"]) == ("dis", {"quality": "medium"})
    assert vpbench("verify", folder).code == 0


# --- --weights ---


@pytest.fixture
def file(tmp_path):
    save_file({"classifier.4.weight": torch.zeros(7, 256, 1, 1)}, tmp_path / "mine.safetensors")
    return tmp_path / "mine.safetensors"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        # Set as the option `weights` of that name: what the annotator says of the file shows that it got it.
        (["-m", "last", "--annotate", "semantics=deeplabv3", "--weights", "deeplabv3=FILE"], "FILE: has 7 classes"),
        (
            ["-m", "last", "--weights", "deeplabv3=FILE"],
            "'deeplabv3' does not take part; add that predictor or annotator",
        ),
        (["-m", "last", "--weights", "lats=FILE"], "'lats' does not take part; did you mean 'last'?"),
        (["-m", "last", "--weights", "FILE"], "'last' takes no options, so last.weights cannot be set"),
        (["-m", "with-options", "--weights", "FILE"], "'with-options' has no option 'weights'"),
        (["-m", "last", "-m", "short", "--weights", "FILE"], "FILE: whose? Write --weights NAME="),
        (["-m", "last", "--weights", "FILE", "--weights", "last=FILE"], "given twice for last"),
        (["-m", "last", "--weights", "last="], "write it as [NAME=]VALUE"),
        (["-m", "last", "-o", "last.weights=x", "--weights", "FILE"], "-o last.weights=x says the same thing"),
    ],
)
def test_weights_are_an_option_of_the_one_they_name(vpbench, toy, tmp_path, file, args, words):
    args = [arg.replace("FILE", str(file)) for arg in args]
    outcome = vpbench("run", *toy(dataset="toy-frames", **SIZE), *args, *MSE, "--out", tmp_path / "r")
    assert outcome.code in (1, 2)
    assert words.replace("FILE", str(file)) in outcome.error
    assert not (tmp_path / "r").exists()


@pytest.mark.slow
def test_options_of_an_annotator_that_only_the_protocol_names(vpbench, toy, tmp_path):
    args = toy(dataset="toy-frames", **SIZE)
    path = Path(args[-1])
    path.write_text(path.read_text().replace("[dataset]\n", '[annotate]\nflow = "dis"\n[dataset]\n', 1))
    run = ["run", *args, "-m", "needs-flow", *MSE, "--out", tmp_path / "r"]
    assert vpbench(*run, "-o", "dis.quality=fast").code == 0
    (folder,) = find_results(tmp_path / "r")
    assert '"quality":"fast"' in json.loads((folder / "run.json").read_text())["identity"]["annotators"]["flow"]
    assert "'raft' does not take part" in vpbench(*run, "-o", "raft.updates=3").error


# --- vpbench data prepare --annotate ---


SLIDING = 'kind = "sliding"\ncontext = 3\nhorizon = 1\nstride = 1\n'


@pytest.mark.slow
@pytest.mark.parametrize("annotator", ["flow=dis:fast", "flow=flow-noise:strong"])
def test_runs_with_and_without_preparation_are_equal_to_the_byte(vpbench, toy, tmp_path, monkeypatch, annotator):
    protocol = toy(sampling=SLIDING, sequences=3, length=9, size=[32, 48])
    args = ["run", *protocol, "-m", "needs-flow", "-m", "flow-extrapolation", *MSE, "--annotate", annotator]
    for name, workers, size in (("plain", 0, 1), ("ahead", 2, 3)):
        outcome = vpbench(*args, "--workers", workers, "--batch-size", size, "--out", tmp_path / name)
        assert (outcome.code, outcome.err) == (0, "")
    prepared = vpbench("data", "prepare", *protocol[:2], protocol[-1], "--annotate", annotator)
    assert (prepared.code, prepared.err) == (0, "")
    assert [line.partition(": ")[2].split(",")[0] for line in prepared.out.splitlines()] == ["18 clips", "18 clips"]
    monkeypatch.setattr(loading, "annotate", lambda *args: pytest.fail("it was annotated again"))
    clips, read = set(), Toy.read
    monkeypatch.setattr(
        Toy, "read", lambda self, name, frames, m: clips.add((name, frames[0])) or read(self, name, frames, m)
    )
    for name, workers in (("prepared", 0), ("prepared-ahead", 2)):
        outcome = vpbench(*args, "--workers", workers, "--batch-size", "3", "--out", tmp_path / name)
        assert (outcome.code, outcome.err) == (0, "")
    contents = {
        name: {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in (tmp_path / name).rglob("*.json*")
            if path.parent.name != "attempts"
        }
        for name in ("plain", "ahead", "prepared", "prepared-ahead")
    }
    assert len(clips) <= 2 * PROBED, "only the probed clips are read from the dataset"
    assert len(contents["plain"]) == 2 * (2 + 2)
    assert contents["plain"] == contents["ahead"] == contents["prepared"] == contents["prepared-ahead"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--annotate", "flow=diss"], "did you mean 'dis'?"),
        (["--annotate", "flow=dis", "-o", "raft.updates=3"], "option raft.updates: 'raft' does not take part"),
        (["-o", "dis.quality=fast"], "option dis.quality: 'dis' does not take part"),
        (["--weights", "FILE"], "add the annotator that they are for with --annotate"),
        (["--annotate", "semantics=deeplabv3", "--weights", "FILE"], "FILE: has 7 classes"),
        (["--annotate", "semantics=deeplabv3", "--weights", "deeplabv3=FILE.not"], "FILE.not: there is no such file"),
        (["--annotate", "semantics=deeplabv3"], "the weights deeplabv3_resnet50_coco-cd0a2569.pth are not here"),
        (["--annotate", "semantics=label-noise"], "needs semantics, which dataset 'toy-frames', sequence"),
    ],
)
def test_what_cannot_be_annotated_is_one_line(vpbench, toy, file, args, words):
    protocol = toy(dataset="toy-frames", **SIZE)
    outcome = vpbench("data", "prepare", *protocol[:2], protocol[-1], *(arg.replace("FILE", str(file)) for arg in args))
    assert outcome.code in (1, 2)
    assert words.replace("FILE", str(file)) in outcome.error


def test_an_oracle_need_not_predict_what_only_an_annotator_has(vpbench, toy, tmp_path):
    outcome = vpbench(
        "run", *toy(dataset="toy-frames"), "-m", "oracle", "--annotate", "flow=still", *MSE, "--out", tmp_path
    )
    assert outcome.code == 0, outcome.err
