"""The workflow of pull requests: least rights, pinned actions, and commands that exist and run here."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from vpbench.results.card import Card
from vpbench.results.result import load
from vpbench.submission.bundle import publish_bundle

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


def steps_of(path):
    return [step for job in yaml.safe_load(path.read_text())["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
class TestWorkflows:
    def test_it_can_only_read(self, path):
        workflow = yaml.safe_load(path.read_text())
        assert workflow["permissions"] == {"contents": "read"}
        assert not any("permissions" in job for job in workflow["jobs"].values())
        assert "secrets." not in path.read_text()
        assert "pull_request_target" not in path.read_text()

    def test_actions_are_pinned_and_keep_no_credentials(self, path):
        for step in steps_of(path):
            if "uses" in step:
                assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", step["uses"])
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False

    def test_no_text_of_a_pull_request_reaches_a_shell(self, path):
        assert not [step for step in steps_of(path) if "${{" in step.get("run", "")]

    def test_its_commands_are_targets_of_the_makefile(self, path):
        commands = [step["run"] for step in steps_of(path) if step.get("run", "").startswith("make ")]
        assert commands
        for command in commands:
            dry_run = subprocess.run([*command.split(), "-n"], cwd=ROOT, capture_output=True, text=True, check=False)
            assert dry_run.returncode == 0, dry_run.stderr


def test_results_come_from_the_merge_and_code_from_its_first_parent(tmp_path):
    pulled, parent, base, *_, review, _ = steps_of(ROOT / ".github/workflows/submissions.yml")
    assert (pulled["with"]["ref"], pulled["with"]["path"]) == ("${{ github.sha }}", "pulled")
    assert (base["with"]["ref"], base["with"]["path"]) == ("${{ steps.base.outputs.sha }}", "base")
    assert review["working-directory"] == "base"
    merge = "git init -qb main pulled; cd pulled; git commit -qm a --allow-empty; git checkout -qb submission; "
    merge += (
        "git commit -qm b --allow-empty; git checkout -q main; git commit -qm c --allow-empty; git rev-parse HEAD; "
    )
    user = {f"GIT_{role}_{field}": "a" for role in ("AUTHOR", "COMMITTER") for field in ("NAME", "EMAIL")}
    script = f"{merge} git merge -q submission; cd ..; {parent['run']}"
    environment = {**os.environ, **user, "GITHUB_OUTPUT": "output"}
    accepted = subprocess.run(
        ["sh", "-ec", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert (tmp_path / "output").read_text() == f"sha={accepted.stdout}"


@pytest.mark.parametrize("count", ["0", "-1", "x", "1.5"])
def test_a_wrong_number_of_clips_is_a_usage_error(monkeypatch, capsys, count):
    monkeypatch.setattr(sys, "argv", ["check.py", "pulled", f"--clips={count}"])
    with pytest.raises(SystemExit, match="2"):
        runpy.run_path(str(ROOT / "leaderboards/check.py"), run_name="__main__")
    assert f"'{count}' is no number of clips" in capsys.readouterr().err


@pytest.mark.slow
def test_the_target_reviews_a_submission(tmp_path):
    """A committed result is submitted to an archive without it; the command is the one of the Makefile."""
    dry_run = subprocess.run(
        ["make", "-n", "check-submissions", f"PULLED={tmp_path / 'pulled'}"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    (line,) = [line for line in dry_run.stdout.splitlines() if "leaderboards/check.py" in line]
    script, *arguments = line.split()[1:]
    accepted = tmp_path / "accepted"
    shutil.copytree(ROOT / "leaderboards/results/scenes-small/sadm-tiny", accepted / "scenes-small/sadm-tiny")
    shutil.copytree(accepted, tmp_path / "pulled")
    (original,) = (ROOT / "leaderboards/results/scenes-small/repeat").iterdir()
    result = load(original)
    card = {"contact": "me@example.org", "licence": "Apache-2.0", "identity": result.run.identity_hash}
    publish_bundle(result, tmp_path / "pulled", Card.model_validate(card))
    command = [sys.executable, str(ROOT / script), *arguments, "--accepted", str(accepted), "--clips", "2"]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout + process.stderr
    assert f"passed: scenes-small/repeat/{original.name}: a sound bundle" in process.stdout
    assert f"passed: scenes-small/repeat/{original.name}: 2 clips run again, tolerance 1e-06" in process.stdout
    assert "repeat" in (tmp_path / "review/leaderboards/scenes-small.md").read_text()
    assert (tmp_path / "review/site/index.html").is_file()
