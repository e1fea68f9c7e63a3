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


def test_flow_that_a_dataset_lacks_is_estimated(vpbench, toy, tmp_path):
    args = ["run", *toy(dataset="toy-frames", **SIZE), "-m", "needs-flow", *MSE]
    done = vpbench(*args, "--out", tmp_path / "none")
    assert done.code == 1
    assert "requires flow, which 'toy-frames' lacks: add --annotate flow=NAME" in done.error
    done = vpbench(*args, "--annotate", "flow=dis", "--out", tmp_path / "r")
    assert (done.code, done.err) == (0, "")
    (folder,) = find_results(tmp_path / "r")
    named = json.loads((folder / "run.json").read_text())["identity"]["annotators"]
    annotator = json.loads(named["flow"])
    assert (annotator["name"], annotator["options"]) == ("dis", {"quality": "medium"})
    assert vpbench("verify", folder).code == 0


def test_processes_that_read_ahead_and_batches_change_nothing(vpbench, toy, tmp_path):
    args = ["run", *toy(dataset="toy-frames", **SIZE), "-m", "needs-flow", *MSE, "--annotate", "flow=dis"]
    assert vpbench(*args, "--out", tmp_path / "a", "--batch-size", "1").code == 0
    assert vpbench(*args, "--out", tmp_path / "b", "--batch-size", "1", "--workers", "2").code == 0
    assert len(units(tmp_path / "a")) == 2
    assert units(tmp_path / "a") == units(tmp_path / "b")


def test_a_network_is_run_in_any_process_and_its_weights_are_part_of_the_identity(vpbench, toy, tmp_path, monkeypatch):
    from torchvision.models.optical_flow import raft_small

    from vpbench_annotators import raft

    monkeypatch.setenv("VPBENCH_WEIGHTS", str(tmp_path))
    monkeypatch.setitem(raft.NETWORKS, "small", (raft_small, "https://example.org/mine.pth"))
    args = ["run", *toy(dataset="toy-frames", sampling=ONE_STEP, sequences=3, size=[16, 24]), "-m", "needs-flow"]
    args += [*MSE, "--annotate", "flow=raft:small", "-o", "raft.updates=1"]
    for seed in (0, 1, 0):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            torch.save(raft_small(weights=None).state_dict(), tmp_path / "mine.pth")
        for workers in (0, 1):
            done = vpbench(*args, "--workers", workers, "--out", tmp_path / f"r{workers}")
            assert (done.code, done.err) == (0, "")
    found = [[folder.name for folder in find_results(tmp_path / f"r{workers}")] for workers in (0, 1)]
    assert len(found[0]) == 2, "as many results as weights"
    assert found[0] == found[1]
    assert units(tmp_path / "r0") == units(tmp_path / "r1")


def test_presets_are_other_results_and_what_is_not_shown_is_not_in_the_identity(vpbench, toy, tmp_path):
    args = ["run", *toy(dataset="toy-frames", **SIZE), "-m", "needs-flow", "-m", "last", *MSE, "--out", tmp_path / "r"]
    for preset in ("", ":fast"):
        assert vpbench(*args, "--annotate", f"flow=dis{preset}").code == 0
    assert sorted(folder.parent.name for folder in find_results(tmp_path / "r")) == ["last", "needs-flow", "needs-flow"]


def test_an_estimate_is_near_the_true_flow(vpbench, toy, tmp_path):
    """flow-extrapolation, shown DIS, equals itself without: its own flow is the same."""
    args = ["run", *toy(dataset="toy-frames", **SIZE), "-m", "flow-extrapolation", *MSE]
    assert vpbench(*args, "--out", tmp_path / "own").code == 0
    assert vpbench(*args, "--out", tmp_path / "shown", "--annotate", "flow=dis").code == 0
    own, shown = ([json.loads(line) for unit in units(tmp_path / name) for line in unit.splitlines()]
                  for name in ("own", "shown"))  # fmt: skip
    assert [row["value"] for row in own] == [row["value"] for row in shown]
    assert [row["data"] for row in own] == [row["data"] for row in shown]


def test_weights_that_cannot_be_had_stop_the_run_before_any_work(vpbench, toy, tmp_path, cache):
    args = ["run", *toy(dataset="toy-frames", **SIZE), "-m", "last", *MSE, "--out", tmp_path / "r"]
    for text, name in (
        ("flow=raft:small", "raft_small_C_T_V2-01064c6d.pth"),
        ("semantics=deeplabv3", "deeplabv3_resnet50_coco-cd0a2569.pth"),
    ):
        done = vpbench(*args, "--annotate", text)
        assert done.code == 1
        assert f"the weights {name} are not here" in done.error
        assert str(cache / "weights") in done.error
    assert not (tmp_path / "r").exists()


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
        (["-m", "last", "--weights", "deeplabv3=FILE"], "'deeplabv3' does not take part; add it with -m"),
        (["-m", "last", "--weights", "lats=FILE"], "'lats' does not take part; did you mean 'last'?"),
        (["-m", "last", "--weights", "FILE"], "'last' takes no options, so last.weights cannot be set"),
        (["-m", "with-options", "--weights", "FILE"], "'with-options' has no option 'weights'"),
        (["-m", "last", "-m", "short", "--weights", "FILE"], "FILE: whose? Write --weights NAME="),
        (["-m", "last", "--weights", "FILE", "--weights", "last=FILE"], "given twice for last"),
        (["-m", "last", "--weights", "last=FILE", "--weights", "last=FILE"], "given twice for last"),
        (["-m", "last", "--weights", "last=FILE.not"], "FILE.not: there is no such file"),
        (["-m", "last", "--weights", "last="], "write it as [NAME=]VALUE"),
        (["-m", "last", "-o", "last.weights=x", "--weights", "FILE"], "-o last.weights=x says the same thing"),
    ],
)
def test_weights_are_an_option_of_the_one_they_name(vpbench, toy, tmp_path, file, args, words):
    args = [arg.replace("FILE", str(file)) for arg in args]
    done = vpbench("run", *toy(dataset="toy-frames", **SIZE), *args, *MSE, "--out", tmp_path / "r")
    assert done.code in (1, 2)
    assert words.replace("FILE", str(file)) in done.error
    assert not (tmp_path / "r").exists()


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


def never(monkeypatch):
    """Let annotating fail from here on: whoever needs annotations has them already."""
    monkeypatch.setattr(loading, "annotate", lambda *args: pytest.fail("it was annotated again"))


@pytest.mark.parametrize("annotator", ["flow=dis:fast", "flow=flow-noise:strong"])
def test_runs_with_and_without_preparation_are_equal_to_the_byte(vpbench, toy, tmp_path, monkeypatch, annotator):

    protocol = toy(sampling=SLIDING, sequences=3, length=9, size=[32, 48])
    args = ["run", *protocol, "-m", "needs-flow", "-m", "flow-extrapolation", *MSE, "--annotate", annotator]
    for name, workers in (("plain", 0), ("ahead", 2)):
        done = vpbench(*args, "--workers", workers, "--batch-size", "3", "--out", tmp_path / name)
        assert (done.code, done.err) == (0, "")
    prepared = vpbench("data", "prepare", *protocol[:2], protocol[-1], "--annotate", annotator)
    assert (prepared.code, prepared.err) == (0, "")
    assert [line.partition(": ")[2].split(",")[0] for line in prepared.out.splitlines()] == ["18 clips", "18 clips"]
    never(monkeypatch)
    clips, read = set(), Toy.read
    monkeypatch.setattr(
        Toy, "read", lambda self, name, frames, m: clips.add((name, frames[0])) or read(self, name, frames, m)
    )
    for name, workers in (("prepared", 0), ("prepared-ahead", 2)):
        done = vpbench(*args, "--workers", workers, "--batch-size", "3", "--out", tmp_path / name)
        assert (done.code, done.err) == (0, "")
    found = {
        name: {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in (tmp_path / name).rglob("*.json*")
            if path.parent.name != "attempts"
        }
        for name in ("plain", "ahead", "prepared", "prepared-ahead")
    }
    assert len(clips) <= 2 * PROBED, "only the probed clips are read from the dataset"
    assert len(found["plain"]) == 2 * (2 + 2)
    assert found["plain"] == found["ahead"] == found["prepared"] == found["prepared-ahead"]


def test_what_was_prepared_with_other_options_is_not_used(vpbench, toy, tmp_path, monkeypatch):

    protocol = toy(dataset="toy-frames", **SIZE)
    prepare = ["data", "prepare", *protocol[:2], protocol[-1], "--annotate", "flow=dis", "-o", "dis.quality=fast"]
    assert vpbench(*prepare).code == 0
    run = ["run", *protocol, "-m", "needs-flow", *MSE, "--out", tmp_path / "r"]
    calls = []
    annotate = loading.annotate
    monkeypatch.setattr(loading, "annotate", lambda *args: calls.append(args) or annotate(*args))
    assert vpbench(*run, "--annotate", "flow=dis:fast").code == 0
    assert calls == []
    assert vpbench(*run, "--annotate", "flow=dis").code == 0
    assert len(calls) == 18 * 2


def test_annotations_of_other_weights_are_not_used(vpbench, toy, tmp_path, monkeypatch):
    from torchvision.models.optical_flow import raft_small

    from vpbench_annotators import raft

    monkeypatch.setenv("VPBENCH_WEIGHTS", str(tmp_path))
    monkeypatch.setitem(raft.NETWORKS, "small", (raft_small, "https://example.org/mine.pth"))
    protocol = toy(dataset="toy-frames", sampling=ONE_STEP, sequences=2, size=[16, 24])
    annotate = ["--annotate", "flow=raft:small", "-o", "raft.updates=1"]
    stores = []
    for seed in (0, 1):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            torch.save(raft_small(weights=None).state_dict(), tmp_path / "mine.pth")
        done = vpbench("data", "prepare", *protocol[:2], protocol[-1], *annotate)
        assert (done.code, done.err) == (0, "")
        stores.append(done.out.splitlines()[1].split(":")[0])
    assert stores[0] != stores[1]
    assert all("-flow-raft-" in Path(store).name and Path(store).is_dir() for store in stores)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--annotate", "flow=diss"], "did you mean 'dis'?"),
        (["--annotate", "flow"], "--annotate flow: write it as NAME=VALUE"),
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
    done = vpbench("data", "prepare", *protocol[:2], protocol[-1], *(arg.replace("FILE", str(file)) for arg in args))
    assert done.code in (1, 2)
    assert words.replace("FILE", str(file)) in done.error


def test_annotations_that_were_cut_off_are_an_error_and_made_again(vpbench, toy, tmp_path):
    protocol = toy(dataset="toy-frames", **SIZE)
    prepare = ["data", "prepare", *protocol[:2], protocol[-1], "--annotate", "flow=dis"]
    store = Path(vpbench(*prepare).out.splitlines()[1].split(":")[0])
    block = next(store.glob("*.npy"))
    intact = block.read_bytes()
    block.write_bytes(intact[:1000])
    run = ["run", *protocol, "-m", "needs-flow", *MSE, "--out", tmp_path / "r", "--annotate", "flow=dis"]
    assert f"{store} was cut off or is damaged: make it again with `vpbench data prepare`" in vpbench(*run).error
    assert vpbench(*prepare).code == 0
    assert block.read_bytes() == intact
    assert vpbench(*run).code == 0


def test_an_oracle_need_not_predict_what_only_an_annotator_has(vpbench, toy, tmp_path):
    done = vpbench(
        "run", *toy(dataset="toy-frames"), "-m", "oracle", "--annotate", "flow=still", *MSE, "--out", tmp_path
    )
    assert done.code == 0, done.err
