"""Every check can fail: plugins that break their contract in one way each fail the check of it, and others pass."""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path

import pytest

from vpbench.plugin.loader import load_plugins
from vpbench.testing.check import Outcome, run_check, run_checks
from vpbench.testing.conformance import CHECKS, Request

FILES = [str(Path(__file__).with_name(name)) for name in ("broken.py", "broken_datasets.py")]
PLUGINS = load_plugins(FILES)
MODULES = [sys.modules[name] for name in ("broken", "broken_datasets")]
FAULTS = {key: fault for module in MODULES for key, fault in module.FAULTS.items()}
CONFORMING = [key for module in MODULES for key in module.CONFORMING]
GATES = {
    "predictor": ["builds", "output"],
    "dataset": ["builds", "sequences", "decoding"],
    "metric": ["builds", "applies", "input", "output"],
    "annotator": ["builds", "output"],
}
"""Checks after which the later ones are of no use, if they fail."""
GPU_ONLY = {("annotator", "device")}
"""Checks that need a GPU to fail."""


def outcomes(kind: str, name: str, root: Path, without: Collection[str] = ()) -> dict[str, Outcome]:
    """Run all checks but those that a case does not need."""
    checks = [check for check in CHECKS[kind] if check.name not in without]
    subject = Request(PLUGINS, kind, name, {}, {"": root}, FILES[1:]).subject()
    return {outcome.check: outcome for outcome in run_checks(checks, lambda check: run_check(check, subject))}


def other_checks(kind: str, fault: str) -> list[str]:
    """Return the names of the checks that are neither a gate nor the one that fails."""
    return [check.name for check in CHECKS[kind] if check.name not in (*GATES[kind], fault)]


@pytest.mark.parametrize("key", sorted(FAULTS), ids="-".join)
def test_a_broken_plugin_fails_its_check(key, tmp_path):
    outcome = outcomes(*key, tmp_path, other_checks(key[0], FAULTS[key]))[FAULTS[key]]
    assert outcome.status == "failed", outcome.detail
    assert outcome.error is not None
    assert outcome.detail
    assert "\n" not in outcome.detail


@pytest.mark.parametrize(("kind", "gate"), [(kind, gate) for kind, gates in GATES.items() for gate in gates])
def test_no_check_runs_after_a_gate_that_fails(kind, gate, tmp_path):
    name = next(name for (key, name), fault in sorted(FAULTS.items()) if (key, fault) == (kind, gate))
    checks = [check.name for check in CHECKS[kind]]
    earlier, later = checks[: checks.index(gate)], checks[checks.index(gate) + 1 :]
    statuses = outcomes(kind, name, tmp_path, set(earlier) - set(GATES[kind]))
    assert statuses[gate].status == "failed" and later
    assert {(statuses[name].status, statuses[name].detail) for name in later} == {
        ("not applicable", f"the check {gate!r} failed")
    }


@pytest.mark.slow
@pytest.mark.parametrize("key", CONFORMING, ids="-".join)
def test_a_conforming_plugin_passes_every_check(key, tmp_path):
    assert {o.detail for o in outcomes(*key, tmp_path).values() if o.status == "failed"} == set()


def test_a_metric_without_a_value_on_synthetic_clips_has_no_score_to_check(tmp_path):
    results = outcomes("metric", "undefined", tmp_path, ["batch", "order", "extremes"])
    reasons = {results[name].detail for name in ("score", "resample")}
    assert reasons == {"it has no value on synthetic clips"}


def test_a_metric_that_needs_other_clips_does_not_apply(tmp_path):
    outcome = outcomes("metric", "longclips", tmp_path)["applies"]
    expected = "it measures no synthetic clips: it needs 30 steps or more"
    assert (outcome.status, outcome.detail) == ("not applicable", expected)


def test_a_metric_without_its_weights_does_not_apply(tmp_path):
    outcome = outcomes("metric", "offline", tmp_path)["applies"]
    assert (outcome.status, outcome.detail) == ("not applicable", "its weights are not here: get them elsewhere")


def test_every_check_is_failed_by_some_plugin():
    checks = {(kind, check.name) for kind, checks in CHECKS.items() for check in checks}
    assert checks - GPU_ONLY == {(kind, fault) for (kind, _), fault in FAULTS.items()}
