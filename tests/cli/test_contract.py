"""No plugin reaches another one: each breach of the contract is one line with a name, and the others' bytes stay."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from vpbench.plugin.loader import load_plugins

ROGUES = str(Path(__file__).resolve().parent.parent / "rogues.py")
MSE = ["--metric", "mse"]


load_plugins([ROGUES])
rogues = sys.modules["rogues"]


@pytest.fixture
def run(vpbench, toy, tmp_path):
    def call(*args, out="r", **options):
        return vpbench("run", *toy(**options), "--plugin", ROGUES, *args, "--out", tmp_path / out, "--json")

    return call


def rows(document: dict) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((Path(document["path"]) / "units").iterdir())}


@pytest.fixture
def undisturbed(run):
    (document,) = run("-m", "last", *MSE, out="alone").json["results"]
    return rows(document)


def state_of_the_process() -> list[object]:
    numbers = [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()]
    settings = [torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads(), np.geterr()]
    settings += [torch.are_deterministic_algorithms_enabled(), torch.get_float32_matmul_precision()]
    settings += [torch.backends.cudnn.benchmark, Path.cwd(), sys.stdout, sys.stderr]
    return [*numbers, *settings]


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(rogues.WORDS))
def test_a_predictor_that_breaks_the_contract_fails_by_name_and_alone(run, undisturbed, name):
    before = state_of_the_process()
    outcome = run("-m", name, "-m", "last", *MSE)
    assert state_of_the_process() == before
    assert outcome.code == 1
    assert f"predictor '{name}'" in outcome.error
    assert rogues.WORDS[name] in outcome.error
    assert len(outcome.error) < 1000
    assert outcome.error.isprintable()
    (document,) = outcome.json["results"]
    assert document["predictor"] == "last"
    assert rows(document) == undisturbed
    failed = Path(document["path"]).parents[1] / name
    assert not list(failed.rglob("*.jsonl")), "nothing of it is published"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["writes-numpy", "writes-later", "oracle-writes", "unsettles"])
def test_what_a_predictor_writes_reaches_nobody(run, undisturbed, name):
    before = state_of_the_process()
    outcome = run("-m", name, "-m", "last", *MSE, "--batch-size", "3")
    assert state_of_the_process() == before
    assert outcome.code == 0, outcome.err
    first, second = outcome.json["results"]
    assert rows(second) == undisturbed
    assert first["summary"]["scores"] == second["summary"]["scores"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mixes-batch", "remembers", "torch-random"])
@pytest.mark.parametrize("size", ["1", "3"])
def test_the_check_does_not_depend_on_the_size_of_a_batch(run, name, size):
    outcome = run("-m", name, *MSE, "--batch-size", size)
    assert outcome.code == 1
    assert f"predictor '{name}' is refused" in outcome.error


@pytest.mark.slow
def test_a_batch_of_two_shows_what_the_second_clip_decides(run):
    assert "decide about it" in run("-m", "mixes-last", *MSE, "--batch-size", "2").error


@pytest.mark.slow
def test_every_process_checks(run):
    for shard in ("0/2", "1/2"):
        assert "is refused" in run("-m", "torch-random", *MSE, "--shard", shard).error


def test_a_single_clip_is_predicted_again_too(run):
    outcome = run("-m", "numpy-random", *MSE, "--clips", "1")
    assert "it draws from a global random state" in outcome.error


@pytest.mark.slow
def test_a_predictor_made_for_one_clip_at_a_time_runs_so(run):
    assert run("-m", "one-at-a-time", *MSE, "--batch-size", "1").code == 0


@pytest.mark.slow
def test_dropout_in_a_plain_class_is_in_eval_mode(run, undisturbed):
    (document,) = run("-m", "held", *MSE).json["results"]
    assert (Path(document["path"]) / "summary.json").is_file()
    assert rows(document) == undisturbed


@pytest.mark.slow
def test_info_that_raises_is_one_line(run):
    assert (
        "the `info` of predictor 'info-raises' cannot be read: RuntimeError: no info" in run("-m", "info-raises").error
    )
    assert "'exits-when-built' cannot be built: SystemExit: no licence" in run("-m", "exits-when-built").error
    assert run("-m", "info-raises-later", *MSE).code == 0, "it is read once"


# --- metrics ---


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(rogues.METRIC_WORDS))
def test_a_metric_that_breaks_the_contract_is_named(run, name):
    outcome = run("-m", "last", "-m", "noisy", *MSE, "--metric", name)
    assert outcome.code == 1
    lines = outcome.err.strip().splitlines()
    assert 1 <= len(lines) <= 2, "a reason that both share stands in one line"
    for line in lines:
        assert f"metric '{name}'" in line
        assert rogues.METRIC_WORDS[name] in line


@pytest.mark.slow
def test_a_spoiled_truth_is_read_again_for_the_next_predictor(run, vpbench, toy, tmp_path):
    args = [*toy(), "--plugin", ROGUES, "-m", "needs-flow", "-m", "last", "--json"]
    path = Path(args[3])
    path.write_text(path.read_text().replace("version = 1", 'version = 1\nmetrics = ["mse", "spoils-with-flow"]'))
    outcome = vpbench("run", *args, "--out", tmp_path / "r")
    assert "metric 'spoils-with-flow' changes what it measures in place" in outcome.error
    (last,) = outcome.json["results"]
    (single,) = vpbench("run", *args[:4], *args[4:6], "-m", "last", "--json", "--out", tmp_path / "a").json["results"]
    assert rows(last) == rows(single)
    assert last["summary"]["scores"]["mse"]["mean"] > 0


@pytest.mark.slow
def test_a_table_with_clips_and_steps_exchanged_is_caught_where_both_numbers_are_equal(run):
    outcome = run("-m", "last", "--metric", "metric-exchanges", "--batch-size", "4")
    assert "1 x 4 statistics (clips x steps), not 4 x 1" in outcome.error


# --- exceptions stay exceptions, Ctrl-C stays Ctrl-C, --json stays one document ---


def process(toy, tmp_path, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vpbench", "run", *toy(), "--plugin", ROGUES, *args, "--out", str(tmp_path / "r")]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_debug_shows_the_traceback_of_the_plugin(run, vpbench, toy):
    outcome = run("-m", "dislikes-one-clip", "-m", "last", *MSE, "--debug")
    assert outcome.code == 1
    assert 'raise ValueError("no")' in outcome.err
    assert "rogues.py" in outcome.err
    assert [r["predictor"] for r in outcome.json["results"]] == ["last"]
    assert "Traceback" not in run("-m", "dislikes-one-clip", *MSE).err


@pytest.mark.slow
def test_ctrl_c_stops_a_predictor_that_swallows_it(toy, tmp_path):
    outcome = process(toy, tmp_path, "-m", "swallows", "-m", "last", *MSE)
    assert outcome.returncode == 130, outcome.stderr
    assert "interrupted" in outcome.stderr
    assert not list((tmp_path / "r").rglob("*.jsonl"))


@pytest.mark.slow
def test_handlers_of_signals_stay(run):
    before = signal.getsignal(signal.SIGINT)
    run("-m", "last", *MSE)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.slow
def test_json_is_one_document_whatever_a_plugin_prints(toy, tmp_path):
    outcome = process(toy, tmp_path, "-m", "prints", *MSE, "--json")
    assert outcome.returncode == 0, outcome.stderr
    assert json.loads(outcome.stdout)["results"][0]["complete"]
    for word in ("built", "python", "kept", "descriptor", "C", "bye", "bye from C"):
        assert word in outcome.stderr.splitlines()
    listed = subprocess.run(
        [sys.executable, "-m", "vpbench", "show", "prints", "--plugin", ROGUES, "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert json.loads(listed.stdout)["name"] == "prints"
    assert "built" in listed.stderr
