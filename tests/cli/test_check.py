"""`vpbench check`: a line per check, exit code 1 for a failure, 2 for what cannot be checked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vpbench.testing import conformance
from vpbench.testing.conformance import CHECKS

TOYS = str(Path(__file__).parents[1] / "toys.py")
CRASHERS = str(Path(__file__).parents[1] / "crashers.py")
BROKEN = str(Path(__file__).parents[1] / "testing" / "broken.py")
test_moving_digits_conform = pytest.mark.slow(conformance("dataset", "moving-digits"))


def test_a_conforming_predictor_has_a_line_per_check(vpbench):
    outcome = vpbench("check", "last", "--plugin", TOYS)
    assert (outcome.code, outcome.err) == (0, "")
    *lines, total = outcome.out.splitlines()
    assert [line.split("  ")[0] for line in lines if line.startswith("ok")]
    assert len(lines) == len(CHECKS["predictor"])
    assert "ok              causal          With `info.causal`, the first steps" in outcome.out
    assert "not applicable  presets         it has no presets" in outcome.out
    assert total.startswith("predictor last: ")
    assert ", 0 failed, " in total


def test_a_failure_says_what_was_seen_and_what_to_do(vpbench):
    outcome = vpbench("check", "predictor/secretly_random", "--plugin", BROKEN)
    assert outcome.code == 1
    (line,) = [line for line in outcome.out.splitlines() if line.startswith("failed")]
    assert "samples         with other generators, its frames differ by" in line
    assert "set `info.stochastic` to True" in line
    assert ", 1 failed, " in outcome.out


def test_json_holds_every_check(vpbench):
    document = vpbench("check", "metric/good", "--plugin", BROKEN, "--json").json
    assert (document["kind"], document["name"]) == ("metric", "good")
    assert [check["check"] for check in document["checks"]] == [check.name for check in CHECKS["metric"]]
    assert {check["status"] for check in document["checks"]} == {"ok", "not applicable"}


def test_options_reach_the_plugin(vpbench):
    outcome = vpbench("check", "dataset/toy", "--plugin", TOYS, "-o", "toy.broken=0")
    assert outcome.code == 1
    assert "seq000: does not decode" in outcome.out
    assert "has no option 'brocken'" in vpbench("check", "toy", "--plugin", TOYS, "-o", "toy.brocken=0").out
    assert "does not take part" in vpbench("check", "toy", "--plugin", TOYS, "-o", "tay.broken=0").error


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lost", "nothing is named 'lost'"),
        ("protocol/scenes", "`vpbench data check protocol/scenes`"),
        ("network/i3d", "a network has no checks; those that have: predictor, dataset, metric, annotator"),
    ],
)
def test_what_cannot_be_checked_is_a_usage_error(vpbench, name, words):
    outcome = vpbench("check", name, "--plugin", TOYS)
    assert outcome.code == 2
    assert words in outcome.error


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "limit", "words"),
    [
        ("crashes-when-pickled", (), "its process was ended by SIGSEGV"),
        ("hangs-when-pickled", ("--timeout", 5), "it took more than 5 seconds, and was ended"),
    ],
)
def test_a_plugin_that_ends_or_hangs_fails_one_check_and_the_next_one_runs(vpbench, name, limit, words):
    outcome = vpbench("check", name, "--plugin", CRASHERS, *limit)
    assert outcome.code == 1
    *_, pickling, device, total = outcome.out.splitlines()
    assert pickling.startswith(f"failed          pickling        {words}")
    assert device.startswith("ok              device")
    assert ", 1 failed, " in total


def test_a_plugin_that_crashes_when_it_is_built_has_no_further_checks(vpbench):
    outcome = vpbench("check", "crashes-when-built", "--plugin", CRASHERS)
    assert outcome.code == 1
    builds, *later, _ = outcome.out.splitlines()
    assert builds == "failed          builds          its process was ended by SIGSEGV"
    assert {line.partition("  ")[0] for line in later} == {"not applicable"}


def test_an_error_that_only_the_plugin_knows_is_a_line(vpbench):
    outcome = vpbench("check", "raises-a-local-error", "--plugin", CRASHERS)
    assert outcome.out.splitlines()[0] == "failed          builds          no weights"


def test_what_a_plugin_prints_goes_to_standard_error():
    command = [sys.executable, "-m", "vpbench", "check", "prints-in-colour", "--plugin", CRASHERS, "--json"]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    process = subprocess.run(command, capture_output=True, text=True, check=False, env=buffered)
    assert json.loads(process.stdout)["name"] == "prints-in-colour"
    assert "predicting" in process.stderr


@pytest.mark.slow
def test_settings_of_the_process_stay(vpbench):
    import torch

    before = torch.get_num_threads()
    outcome = vpbench("check", "predictor/sets_threads", "--plugin", BROKEN)
    assert "`predict` changes torch's number of threads" in outcome.out
    assert torch.get_num_threads() == before


@pytest.mark.slow
@pytest.mark.parametrize("name", ["repeat", "mse", "dis", "moving-digits"])
def test_plugins_pass_in_a_process_without_checked_types(name):
    """beartype, which checks shapes while tests run, draws random numbers: here it does not."""
    process = subprocess.run(
        [sys.executable, "-m", "vpbench", "check", name], capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stdout + process.stderr


def test_a_dataset_that_does_not_decode_fails_data_check(vpbench):
    """The index of this toy knows nothing of its damage: only reading shows it."""
    sound = vpbench("data", "check", "toy", "--plugin", TOYS)
    assert sound.code == 0
    assert "test: a clip decodes" in sound.out
    broken = vpbench("data", "check", "toy", "--plugin", TOYS, "-o", "toy.broken=10")
    assert broken.code == 1
    assert "seq010: does not decode" in broken.out


def test_a_decoder_that_crashes_fails_data_check_of_its_split(vpbench):
    outcome = vpbench("data", "check", "crashes-when-read", "--plugin", CRASHERS)
    assert outcome.code == 1
    assert "  the process that reads was ended by SIGSEGV at sequence 'test/a': get the file again" in outcome.out
    assert "train: a clip decodes  frames of 8x8" in outcome.out


def test_data_check_of_a_protocol_decodes_its_split(vpbench, toy):
    *plugin, _, path = toy(broken=10)
    outcome = vpbench("data", "check", path, *plugin)
    assert outcome.code == 1
    assert "test: a clip decodes" in outcome.out
    assert "train: a clip decodes" not in outcome.out
