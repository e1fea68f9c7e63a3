"""Bad input gets one clear line (what, where, what to do next), the right exit code, and leaves nothing half-done."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_video import known_frames, write_video

from vpbench.results.result import find_results

MSE = ["--metric", "mse"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["-m", "lats"], ["no predictor 'lats'", "did you mean 'last'?"]),
        (["-m", "last", "--metric", "msee"], ["no metric 'msee'", "did you mean 'mse'?"]),
        (["-m", "with-options:wid"], ["no preset 'wid'", "did you mean 'wide'?"]),
        (["-m", "with-options", "-o", "with-options.widht=3"], ["no option 'widht'", "did you mean 'width'?"]),
        (["-m", "with-options", "-o", "with-options.width=0"], ["width", "greater than or equal to 1"]),
        (["-m", "with-options", "-o", "width=3"], ["-o width=3", "NAME.OPTION=VALUE"]),
        (["-m", "last", "-o", "with-options.width=3"], ["'with-options' does not take part"]),
        (["-m", "last", "-o", "last.width=3"], ["'last' takes no options"]),
        (["-m", "last", "-m", "last"], ["'last' is asked for twice"]),
        (["-m", "last", "--shard", "4/3"], ["shard 4/3", "0 to 2"]),
        (["-m", "last", "--shard", "one"], ["shard one", "I/N"]),
        (["-m", "last", "--annotate", "flwo=still"], ["flwo=still: the annotator 'still' gives flow"]),
        (["-m", "last", "--annotate", "flow"], ["--annotate flow", "NAME=VALUE"]),
        (["-m", "short"], ["'short' predicts at most 1 steps", "4"]),
        (["-m", "last", "--clips", "0"], ["--clips", "x>=1"]),
        (["-m", "last", "--seed", "9" * 23], ["--seed", "0<=x<="]),
        (["-m", "last", "--plgin", "x"], ["--plgin", "--plugin"]),
        (["-m", "last", "--device", "tpu"], ["--device", "tpu"]),
    ],
)
def test_usage_errors(vpbench, toy, tmp_path, args, words):
    outcome = vpbench("run", *toy(), *args, "--out", tmp_path / "r")
    assert outcome.code == 2
    for word in words:
        assert word in outcome.error
    assert not (tmp_path / "r").exists()


@pytest.mark.skipif("__import__('torch').cuda.is_available()", reason="there is a GPU here")
def test_a_gpu_that_is_not_there(vpbench, toy, tmp_path):
    outcome = vpbench("run", *toy(), "-m", "last", "--device", "cuda", "--out", tmp_path / "r")
    assert outcome.code == 2
    assert "torch sees no GPU" in outcome.error


def test_unknown_protocol_and_command(vpbench, tmp_path):
    outcome = vpbench("run", "-p", "ucf101-120x160-4to11", "-m", "repeat", "--out", tmp_path / "r")
    assert outcome.code == 2
    assert "did you mean 'ucf101-120x160-4to10'?" in outcome.error
    assert "did you mean 'run'?" in vpbench("rum").error


# --- data ---


def ucf(root: Path, *names: str, frames: int = 40) -> Path:
    for name in names:
        write_video(root / "UCF-101" / name.split("_")[1] / f"{name}.avi", known_frames(frames, 32, 32))
    return root


UCF = ["run", "-p", "ucf101-120x160-4to10", "-m", "repeat", *MSE]


def test_no_data_root_says_what_to_type_and_where_to_get_it(vpbench, tmp_path, monkeypatch):
    monkeypatch.setenv("VPBENCH_CONFIG", str(tmp_path / "none.toml"))
    monkeypatch.delenv("VPBENCH_DATA", raising=False)
    outcome = vpbench(*UCF, "--out", tmp_path / "r")
    assert outcome.code == 1
    assert "--data-root ucf101=DIR" in outcome.error
    assert "crcv.ucf.edu" in outcome.error


def test_a_data_root_with_some_of_the_clips_needs_allow_partial(vpbench, tmp_path):
    root = ucf(tmp_path / "data", "v_Archery_g21_c01", "v_Archery_g22_c01")
    outcome = vpbench(*UCF, "--data-root", root, "--out", tmp_path / "r")
    assert outcome.code == 1
    assert "has 3160 clips, the data give 2" in outcome.error
    assert "allow a partial result" in outcome.error
    outcome = vpbench(*UCF, "--data-root", root, "--out", tmp_path / "r", "--allow-partial", "--json")
    assert outcome.code == 0
    assert outcome.json["results"][0]["summary"]["partial_reason"] == "2 of 3160 clips"


def test_a_video_that_does_not_open_is_named_before_any_work(vpbench, tmp_path):
    root = ucf(tmp_path / "data", "v_Archery_g21_c01", "v_Archery_g22_c01")
    broken = root / "UCF-101" / "Archery" / "v_Archery_g21_c01.avi"
    broken.write_bytes(b"")
    outcome = vpbench(*UCF, "--data-root", root, "--out", tmp_path / "r")
    assert outcome.code == 1
    assert "v_Archery_g21_c01.avi" in outcome.error
    assert "allow a partial result" in outcome.error
    assert not (tmp_path / "r").exists()
    outcome = vpbench(*UCF, "--data-root", root, "--out", tmp_path / "r", "--allow-partial", "--json")
    summary = outcome.json["results"][0]["summary"]
    assert summary["clips"] == 1
    assert "1 unreadable sequences left out" in summary["partial_reason"]


@pytest.mark.slow
def test_unreadable_clips_can_be_left_out(vpbench, toy, tmp_path):
    args = ["run", *toy(sequences=40, broken=20), "-m", "last", *MSE, "--out", tmp_path / "r"]
    outcome = vpbench(*args)
    assert outcome.code == 1
    assert "seq020: does not decode" in outcome.error
    assert [p.name for p in (tmp_path / "r").rglob("units/*")] == ["000000.jsonl"]
    outcome = vpbench(*args, "--allow-partial", "--json")
    assert outcome.code == 0
    assert "unit 1 left out: test/seq020: does not decode" in outcome.err
    summary = outcome.json["results"][0]["summary"]
    assert (summary["clips"], summary["partial_reason"]) == (24, "2 of 3 units")


def test_sequences_too_short_are_dropped_by_name(vpbench, tmp_path):
    root = ucf(tmp_path / "data", "v_Archery_g21_c01")
    ucf(root, "v_Archery_g22_c01", frames=10)
    outcome = vpbench(*UCF, "--data-root", root, "--out", tmp_path / "r", "--allow-partial", "--json")
    (result,) = outcome.json["results"]
    assert json.loads((Path(result["path"]) / "run.json").read_text())["dropped"] == ["Archery/v_Archery_g22_c01"]


# --- results ---


@pytest.fixture
def result(vpbench, toy, tmp_path):
    args = ["run", *toy(), "-m", "last", *MSE, "--out", str(tmp_path / "r")]
    assert vpbench(*args).code == 0
    return args, find_results(tmp_path / "r")[0]


def test_a_result_of_a_newer_schema_is_refused_and_kept(vpbench, result):
    args, folder = result
    run = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(run | {"schema": 99}))
    for command in (args, ["verify", folder], ["merge", folder], ["leaderboard", folder], ["show", folder]):
        outcome = vpbench(*command)
        assert outcome.code == 1
        assert "schema 99" in outcome.error
        assert "upgrade vpbench" in outcome.error
    assert json.loads((folder / "run.json").read_text())["schema"] == 99


@pytest.mark.slow
def test_a_unit_that_is_not_what_was_published(vpbench, result):
    args, folder = result
    path = folder / "units" / "000001.jsonl"
    good = path.read_text()
    path.write_text(good.replace('"value":0.', '"value":0.0', 1))
    for command in (args, ["verify", folder], ["merge", folder]):
        outcome = vpbench(*command)
        assert outcome.code == 1
        assert str(path) in outcome.error
        assert "remove the file and run again" in outcome.error
    path.unlink()
    assert vpbench(*args).code == 0
    assert path.read_text() == good
    assert vpbench("verify", folder).code == 0


def test_a_folder_that_cannot_be_written(vpbench, toy, tmp_path):
    (tmp_path / "file").write_text("")
    outcome = vpbench("run", *toy(), "-m", "last", *MSE, "--out", tmp_path / "file" / "r")
    assert outcome.code == 1
    assert "cannot write" in outcome.error
    assert "--out" in outcome.error


@pytest.mark.slow
def test_a_full_disk_loses_nothing_and_the_run_goes_on_when_there_is_space(vpbench, toy, tmp_path):
    metrics = ["--metric", "mse", "--metric", "mae", "--metric", "psnr"]
    args = ["run", *toy(sequences=40), "-m", "last", *metrics, "--out", str(tmp_path / "r")]

    def small_files() -> None:  # room for run.json, but not for a unit of 16 clips
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))

    outcome = subprocess.run(
        [sys.executable, "-m", "vpbench", *args], preexec_fn=small_files, capture_output=True, text=True, check=False
    )
    assert outcome.returncode == 1, outcome.stderr
    (line,) = outcome.stderr.strip().splitlines()
    assert "cannot write" in line
    assert "free some space" in line
    assert "run the same command again" in line
    assert not list((tmp_path / "r").rglob("*.jsonl"))
    assert not list((tmp_path / "r").rglob("*.tmp"))
    assert vpbench(*args).code == 0
    assert vpbench("verify", tmp_path / "r").code == 0


@pytest.mark.parametrize("command", ["verify", "merge", "leaderboard"])
def test_a_folder_without_results(vpbench, tmp_path, command):
    outcome = vpbench(command, tmp_path)
    assert outcome.code == 1
    assert str(tmp_path) in outcome.error


@pytest.mark.slow
def test_a_stale_leaderboard_page_fails_the_check(vpbench, result, tmp_path):
    _, folder = result
    boards = ["leaderboard", folder, "--out", tmp_path / "boards"]
    assert vpbench(*boards).code == 0
    assert vpbench(*boards, "--check").code == 0
    page = tmp_path / "boards" / "toy.md"
    page.write_text(page.read_text() + "better!\n")
    outcome = vpbench(*boards, "--check")
    assert outcome.code == 1
    assert "toy.md" in outcome.error


# --- plugins ---

REGISTER = (
    "import vpbench\n@vpbench.hookimpl\ndef register_predictors(register):\n    register('{}', 'no_such:Thing')\n"
)


@pytest.mark.parametrize(
    ("text", "command", "words"),
    [
        ("import no_such_module\n", ["list"], ["broken_plugin.py", "no_such_module"]),
        (REGISTER.format("repeat"), ["list"], ["'repeat'", "vpbench", "broken_plugin.py", "VPBENCH_PLUGINS"]),
        (REGISTER.format("ghost"), ["show", "ghost"], ["'ghost'", "no_such"]),
    ],
)
def test_a_plugin_that_is_broken_is_named(vpbench, tmp_path, monkeypatch, text, command, words):
    monkeypatch.delitem(sys.modules, "broken_plugin", raising=False)
    path = tmp_path / "broken_plugin.py"
    path.write_text(text)
    outcome = vpbench(*command, "--plugin", path)
    assert outcome.code == 1
    assert all(word in outcome.error for word in words)
