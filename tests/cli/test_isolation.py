"""``vpbench run --isolate``: real crashes cost one predictor, and the bytes of the others are the same."""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent.parent
CRASHERS, ROGUES = str(TESTS / "crashers.py"), str(TESTS / "rogues.py")
MSE = ["--metric", "mse", "--json"]


@pytest.fixture
def run(vpbench, toy, tmp_path):
    def call(*args, out="r"):
        return vpbench("run", *toy(), "--plugin", CRASHERS, "--plugin", ROGUES, *MSE, *args, "--out", tmp_path / out)

    return call


def contents(document: dict) -> dict[str, bytes]:
    """Every file that must not depend on how a predictor runs."""
    folder = Path(document["path"])
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "attempts" not in path.parts
    }


def units(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*.jsonl"))


@pytest.mark.slow
def test_crashes_cost_their_predictor_its_unit_and_nobody_else(run, tmp_path):
    names = ["segfaults", "leaves", "last"]
    outcome = run(*(word for name in names for word in ("-m", name)), "--isolate")
    assert outcome.code == 1
    lines = [line for line in outcome.err.splitlines() if line.startswith("vpbench: ")]
    assert lines == [
        "vpbench: toy: segfaults: the process of predictor 'segfaults' was ended by SIGSEGV on the 4 clips from "
        "'test/seq016@0'",
        "vpbench: toy: leaves: the process of predictor 'leaves' ended with exit code 3 on the 4 clips from "
        "'test/seq016@0'",
    ]
    (last,) = outcome.json["results"]
    (single,) = run("-m", "last", out="alone").json["results"]
    assert contents(last) == contents(single)
    assert units(tmp_path / "r/toy/segfaults") == ["000000.jsonl"], "what was published stays"


@pytest.mark.slow
def test_a_predictor_that_hangs_is_ended_and_the_next_runs(run, tmp_path):
    outcome = run("-m", "hangs", "-m", "last", "--timeout", "20")
    assert outcome.code == 1
    assert outcome.error == (
        "vpbench: toy: hangs: predictor 'hangs' took more than 20 seconds on the 4 clips from 'test/seq016@0', and was "
        "ended: it hangs, or needs more time"
    )
    assert [document["predictor"] for document in outcome.json["results"]] == ["last"]


@pytest.mark.slow
def test_a_leak_is_ended_at_its_limit(run):
    outcome = run("-m", "leaks", "--memory", "2")
    assert outcome.code == 1
    assert "predictor 'leaks' used more than 2 GiB of memory on the 4 clips from 'test/seq016@0'" in outcome.error


@pytest.mark.slow
def test_a_crash_while_a_predictor_is_built_is_refused_before_the_run(run, tmp_path):
    outcome = run("-m", "crashes-when-built", "-m", "last", "--isolate")
    assert outcome.code == 1
    (line,) = [line for line in outcome.err.splitlines() if line.startswith("vpbench: ")]
    assert "the process of predictor 'crashes-when-built' was ended by SIGSEGV while it was built" in line
    assert not (tmp_path / "r").exists()


@pytest.mark.slow
def test_every_kind_of_predictor_has_the_same_bytes(run):
    names = ["noisy", "seer", "needs-flow", "slightly-bright", "flow-extrapolation"]
    args = [word for name in names for word in ("-m", name)] + ["--samples", "2", "--save-predictions"]
    isolated, plain = run(*args, "--isolate", out="a"), run(*args, out="b")
    assert (isolated.code, plain.code) == (0, 0), isolated.err
    pairs = [list(map(contents, outcome.json["results"])) for outcome in (isolated, plain)]
    assert pairs[0][:-1] == pairs[1][:-1]
    # Tests check the shapes of this plugin's functions, but not in its process: that is other code in run.json.
    moved = [{name: data for name, data in files[-1].items() if name.endswith(("jsonl", "npy"))} for files in pairs]
    assert moved[0] == moved[1] and len(moved[0]) > 20


@pytest.mark.slow
def test_broken_promises_are_the_same_lines(run):
    names = ["dislikes-one-clip", "torch-random", "remembers", "too-bright"]
    args = [word for name in names for word in ("-m", name)]
    isolated, plain = run(*args, "--isolate", out="a"), run(*args, out="b")
    assert isolated.code == plain.code == 1
    assert isolated.err == plain.err
    assert len(plain.err.splitlines()) == 4
    debugged = run("-m", "dislikes-one-clip", "--isolate", "--debug", out="c")
    assert 'raise ValueError("no")' in debugged.err
