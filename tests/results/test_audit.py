"""Forged and laundered results: whatever contradicts itself is refused, by ``verify`` and before a ranking."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import folders
import pytest

from vpbench.errors import ResultError
from vpbench.pages.candidates import collect
from vpbench.plugin.loader import load_plugins
from vpbench.protocol.units import hash_entries
from vpbench.results.store import Store
from vpbench.results.summarise import merge
from vpbench.results.verify import verify

SCORES = {"mse": [0.1, 0.2], "psnr": [20.0, 10.0]}


@pytest.fixture
def folder(tmp_path):
    return folders.make_result(tmp_path / "results", "model", SCORES, context="labels")


def refused(folder, words):
    """Check that both commands refuse a folder, in one line that names it."""
    for check in (lambda: verify(Store.open(folder), folders.plugins()), lambda: collect([folder], folders.plugins())):
        with pytest.raises(ResultError, match=words) as caught:
            check()
        assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_a_sound_result_passes(folder):
    words = "2 of 2 units, each as published; the summary follows from them"
    assert verify(Store.open(folder), folders.plugins()) == words
    (candidate,) = collect([folder], folders.plugins())
    assert candidate.complete and not candidate.doubts


def test_a_result_without_attempts_or_units_is_refused(folder):
    shutil.rmtree(folder / "attempts")
    refused(folder, "is not what this result was computed with, or attempts/ is missing")
    shutil.rmtree(folder / "units")
    refused(folder, "has a summary, but no rows")


def test_units_of_another_predictor_are_refused(folder, tmp_path):
    foreign = folders.make_result(tmp_path / "other", "better", {"mse": [0.0, 0.0], "psnr": [99.0, 99.0]}, context="x")
    for number in (0, 1):
        shutil.copy(foreign / f"units/{number:06d}.jsonl", folder / f"units/{number:06d}.jsonl")
    refused(folder, r"000000\.jsonl is not what was published")
    for record in (foreign / "attempts").iterdir():
        shutil.copy(record, folder / "attempts")
    refused(folder, r"000000\.jsonl is not what was published")


def forge_manifest(run, change):
    """Edit the clip list, and the digest of it in the identity."""
    change(run["manifest"])
    run["identity"]["manifest"] = hash_entries(run["manifest"])


RUN = {
    "renamed predictor": (lambda run: run.update(predictor="sota"), "predictor is 'sota', the identity says 'model'"),
    "partial": (
        lambda run: run.update(partial="limited to 3 of 20 clips"),
        "partial is 'limited to 3 of 20 clips', the identity says ''",
    ),
    "other clips": (lambda run: run["manifest"].pop(), "the manifest is not the one"),
    "other recordings": (lambda run: run["manifest"][3].__setitem__(2, "x"), "the manifest is not the one"),
    "steps of a clip": (
        lambda run: forge_manifest(run, lambda manifest: manifest[3].__setitem__(1, [1])),
        r"clip 's003@0' has the steps \[1\], which are not the protocol's",
    ),
    "a clip twice": (
        lambda run: forge_manifest(run, lambda manifest: manifest.__setitem__(3, manifest[2])),
        "the manifest has one clip twice",
    ),
    "other protocol": (lambda run: run["protocol"].update(quantise=True), "the protocol is not the one"),
    "steps": (lambda run: run["protocol"]["sampling"].update(horizon=1), "the protocol is not the one"),
    "cumulative": (lambda run: run.update(cumulative=False), "cumulative is False"),
    "revision": (lambda run: run["metrics"]["mse"].update(revision=2), "metrics are others than those"),
    "one metric less": (lambda run: run["metrics"].pop("mse"), "metrics are others than those"),
    "direction": (lambda run: run["metrics"]["mse"].update(better="higher"), "the metric declares 'lower'"),
    "skipped and measured": (lambda run: run["skipped"].update(mse="no"), "mse is both measured and skipped"),
    "stochastic": (lambda run: run.update(stochastic=True), "stochastic is True in run.json, which the sample"),
    "samples": (lambda run: run["identity"].update(samples=2), "2 samples of a predictor that is not stochastic"),
    "overlap": (lambda run: run.update(weights={"clips": "disjoint", "seen": 3}), "'disjoint', but 3 sequences"),
}


@pytest.mark.parametrize("name", RUN)
def test_a_run_json_that_contradicts_itself_is_refused_although_all_digests_fit(folder, name):
    change, words = RUN[name]
    folders.edit_run(folder, change, rehash=True)
    refused(folder, words)


@pytest.mark.parametrize("name", ["other protocol", "seed"])
def test_a_run_json_that_was_edited_is_refused(folder, name):
    folders.edit_run(folder, RUN[name][0] if name in RUN else lambda run: run["identity"].update(seed=1))
    refused(folder, r"run\.json was changed after it was written")


def test_clips_missing_from_a_protocol_that_counts_them_are_partial(tmp_path):
    folder = folders.make_result(
        tmp_path, "model", {"mse": [0.1]}, protocol={"clips": 20}, clips=8, partial="8 of 20 clips"
    )

    def launder(run):
        run.update(partial="")
        run["identity"].update(partial="")

    folders.edit_run(folder, launder, rehash=True)
    summary = (folder / "summary.json").read_bytes()
    with pytest.raises(ResultError, match="partial is empty, but the manifest has 8"):
        merge(Store.open(folder), folders.plugins(), allow_partial=False)
    assert (folder / "summary.json").read_bytes() == summary, "no summary is written for it"
    folders.edit_summary(folder, lambda summary: summary.update(partial=False, partial_reason=""))
    refused(folder, "partial is empty, but the manifest has 8 of the protocol's 20 clips")


ROWS = {
    "value is not finite": (lambda row: row.update(value=float("inf")), r"not a row \(.*Infinity"),
    "a field less": (lambda row: row.pop("data"), r"not a row \(data\)"),
    "a sample": (lambda row: row.update(sample=0), "stochastic is False in run.json, which the sample"),
    "data of another clip": (lambda row: row.update(data="0" * 16), "another digest of the data"),
    "other context": (lambda row: row.update(context="0" * 16), "another digest of the context"),
    "no context": (lambda row: row.pop("context"), "only some rows"),
    "clamped": (lambda row: row.update(clamped=True), "clamped for one metric and not for another"),
}


@pytest.mark.parametrize("line", [0, 5])
@pytest.mark.parametrize("name", ROWS)
def test_a_row_that_contradicts_the_others_is_refused_although_all_digests_fit(folder, name, line):
    change, words = ROWS[name]
    folders.edit_unit(folder, lambda rows: change(rows[line]))
    refused(folder, words)


def test_rows_out_of_order_are_refused(folder):
    folders.edit_unit(folder, lambda rows: rows.reverse())
    refused(folder, "out of order")


def test_verify_sees_a_line_that_vpbench_would_write_otherwise(folder):
    unit = folder / "units/000001.jsonl"
    digest = hashlib.sha256(unit.read_bytes()).hexdigest()
    unit.write_text(unit.read_text().replace('"step":1', '"step": 1', 1))
    (attempt,) = (folder / "attempts").iterdir()
    edited = hashlib.sha256(unit.read_bytes()).hexdigest()
    attempt.write_text(attempt.read_text().replace(digest, edited))
    with pytest.raises(ResultError, match=r"000001\.jsonl is not written as vpbench writes it"):
        verify(Store.open(folder), folders.plugins())


@pytest.mark.parametrize("name", ["000002.jsonl", "000000.json", "notes.txt", "000000.jsonl.bak"])
def test_files_of_no_unit_are_refused(folder, name):
    shutil.copy(folder / "units/000000.jsonl", folder / "units" / name)
    refused(folder, f"{name} belongs to none of the 2 units")


def test_leftovers_of_a_killed_process_are_no_units_and_a_merge_removes_them(folder):
    leftovers = [folder / "units/.000000.jsonl.77-abcdef.tmp", folder / "attempts/.a.json.78-abcdef.tmp"]
    for path in leftovers:
        path.write_text("{")
    verify(Store.open(folder), folders.plugins())
    merge(Store.open(folder), folders.plugins(), allow_partial=False)
    assert not any(path.exists() for path in leftovers)


def test_a_record_of_units_that_the_result_does_not_have_is_refused(folder):
    (attempt,) = (folder / "attempts").iterdir()
    record = json.loads(attempt.read_text())
    attempt.write_text(json.dumps(record | {"units": record["units"] | {"2": "0" * 64}}))
    refused(folder, "a record of another result")


SUMMARY = {
    "per_step": lambda s: s["scores"]["mse"].update(per_step=[0.01, 0.2]),
    "mean": lambda s: s["scores"]["mse"].update(mean=0.01),
    "mean_to": lambda s: s["scores"]["mse"].update(mean_to=[0.1, 0.01]),
    "hidden metric": lambda s: s["scores"].pop("psnr"),
    "undefined": lambda s: s["scores"]["mse"].update(undefined={"dark": 3}),
    "recordings": lambda s: s["scores"]["mse"].update(recordings=400),
    "data of a metric": lambda s: s["scores"]["mse"].update(data="0" * 16),
    "data": lambda s: s.update(data="0" * 16),
    "context": lambda s: s.update(context=""),
    "clips": lambda s: s.update(clips=500),
    "partial": lambda s: s.update(partial=True, partial_reason="a look"),
    "steps": lambda s: s.update(steps=[1, 3]),
    "skipped": lambda s: s["skipped"].update(ssim="no"),
    "clamped": lambda s: s.update(clamped_frames=1),
    "interval turned": lambda s: s["scores"]["mse"].update(ci95=[[1.0, 0.0], None]),
}


@pytest.mark.parametrize("name", SUMMARY)
def test_a_summary_that_does_not_follow_from_the_rows_is_refused(folder, name):
    folders.edit_summary(folder, SUMMARY[name])
    refused(folder, r"summary\.json does not follow from the rows.*`vpbench merge")


def test_a_summary_of_other_types_is_refused(folder):
    """The reader refuses it before a ranking; ``verify`` compares the text and reads nothing of it."""
    folders.edit_summary(folder, lambda summary: summary.update(trust=1))
    with pytest.raises(ResultError, match=r"summary\.json: trust: is unknown.*`vpbench merge"):
        collect([folder], folders.plugins())
    with pytest.raises(ResultError, match=r"summary\.json does not follow from the rows.*`vpbench merge"):
        verify(Store.open(folder), folders.plugins())


def test_rows_and_summary_that_were_edited_alike_need_every_digest(folder):
    """Someone who also edits attempts/ leaves no trace: docs/verify.md says so."""
    unit = folder / "units/000000.jsonl"
    unit.write_text(unit.read_text().replace("0.11", "0.01"))
    refused(folder, "is not what was published")


WEIGHTS = {"sha256": "x", "protocol": "toy", "clips": "overlap", "seen": 5}


@pytest.mark.parametrize(
    ("plugin", "predictor", "truth", "lie", "words"),
    [
        ("toys", "seer", {"sees_truth": True}, {"sees_truth": False},
         "sees_truth is False, the installed predictor of that name says True"),
        ("toy_trainable", "learner", {"weights": WEIGHTS}, {"weights": None},
         "the weights field is empty, but the installed predictor of that name is trained"),
    ],
)  # fmt: skip
def test_what_the_installed_predictor_says_of_itself_is_compared(tmp_path, plugin, predictor, truth, lie, words):
    plugins = load_plugins([str(Path(__file__).parents[1] / f"{plugin}.py")])
    folder = folders.make_result(tmp_path, predictor, {"mse": [0.0]}, **truth)
    verify(Store.open(folder), plugins)
    folders.edit_run(folder, lambda run: run.update(lie), rehash=True)
    for check in (lambda: verify(Store.open(folder), plugins), lambda: collect([folder], plugins)):
        with pytest.raises(ResultError, match=f"predictor '{predictor}': {words}"):
            check()


def test_an_option_that_a_predictor_calls_weights_is_its_own_business(tmp_path):
    folder = folders.make_result(tmp_path, "model", {"mse": [0.1]}, options={"weights": "file.onnx"})
    verify(Store.open(folder), folders.plugins())
