"""The rows of results as CSV and Parquet: exact, of several results, in flat memory, and nothing half-written."""

from __future__ import annotations

import csv
import json
import sys
import tracemalloc
from dataclasses import replace

import folders
import pytest

import vpbench
from vpbench.cli.main import _run
from vpbench.results.export import COLUMNS, ExportedRow, exported_rows, write_csv, write_csv_file

SCORES = {"mse": [0.1, 1 / 3], "psnr": [20.0, None]}


@pytest.fixture
def path(tmp_path):
    return folders.make_result(tmp_path / "results", "model", SCORES, options={"depth": 2}, seed=7, reason="a\nb, “c”")


def export(capsys, *words):
    code = _run(["export", *map(str, words)])
    streams = capsys.readouterr()
    return code, streams.out, streams.err


def plain(result):
    """The rows of a result as they stand in its units."""
    return [(row["clip"], row["step"], row["metric"], row["status"], row["value"]) for row in result.rows()]


def test_csv_holds_every_row_exactly(path, tmp_path, capsys):
    code, out, _ = export(capsys, path, "--out", tmp_path / "rows.csv")
    assert (code, out) == (0, f"{tmp_path / 'rows.csv'}\n")
    text = (tmp_path / "rows.csv").read_text()
    rows = list(csv.DictReader(text.splitlines()))
    assert list(rows[0]) == list(COLUMNS)
    result = vpbench.load(path)
    values = [float(row["value"]) if row["value"] else None for row in rows]
    columns = [(row["clip"], int(row["step"]), row["metric"], row["status"]) for row in rows]
    assert [(*key, value) for key, value in zip(columns, values, strict=True)] == plain(result)
    assert {(row["protocol"], row["predictor"], row["options"], row["seed"], row["result"]) for row in rows} == {
        ("toy", "model", '{"depth":2}', "7", path.name)
    }
    assert {row["recording"] for row in rows if row["clip"] == "s003@0"} == {"r003"}
    assert {row["reason"] for row in rows if row["status"] == "undefined"} == {"a b, “c”"}
    assert {row["sample"] for row in rows} == {row["training_seed"] for row in rows} == {""}


def test_the_document_names_the_results_and_needs_a_file(path, tmp_path, capsys):
    code, out, _ = export(capsys, path, "--out", tmp_path / "rows.csv", "--json")
    assert code == 0
    results = [{"path": str(path), "label": "model"}]
    assert json.loads(out) == {"schema": 1, "out": str(tmp_path / "rows.csv"), "format": "csv", "results": results}
    code, out, err = export(capsys, path, "--json")
    assert (code, out) == (2, "") and "name it with --out" in err


def test_the_same_rows_go_to_standard_output(path, tmp_path, capsys):
    export(capsys, path, "--out", tmp_path / "rows.csv")
    code, out, err = export(capsys, path)
    assert (code, out, err) == (0, (tmp_path / "rows.csv").read_text(), "")


def test_parquet_holds_every_row_with_its_types(path, tmp_path, capsys):
    pandas = pytest.importorskip("pandas")
    code, _, _ = export(capsys, path, "--format", "parquet", "--out", tmp_path / "rows.parquet")
    assert code == 0
    frame = pandas.read_parquet(tmp_path / "rows.parquet")
    result = vpbench.load(path)
    expected = list(exported_rows([result]))
    assert list(frame.columns) == list(COLUMNS)
    assert frame["value"].dtype == "float64" and frame["step"].dtype == "int64"
    assert [None if value != value else value for value in frame["value"]] == [row.value for row in expected]
    assert frame["clip"].tolist() == [row.clip for row in expected]
    assert frame["sample"].isna().all()
    means = frame.groupby(["metric", "step"])["value"].mean()
    assert means["mse", 2] == pytest.approx(result.at("mse", 2))


def test_several_results_stand_in_one_table_and_each_counts_once(path, tmp_path, capsys):
    second = folders.make_result(tmp_path / "results", "model", SCORES, samples=2, options={"depth": 3})
    link = tmp_path / "results" / "toy" / "model" / second.name
    code, out, _ = export(capsys, path, tmp_path / "results", link)
    rows = list(csv.DictReader(out.splitlines()))
    assert code == 0
    assert len(rows) == len(plain(vpbench.load(path))) + len(plain(vpbench.load(second)))
    assert {row["sample"] for row in rows if row["result"] == second.name} == {"0", "1"}


def test_seeds_of_trainings_and_vectors_have_columns(tmp_path):
    training = {"seed": 4, "steps": 10, "configuration": "c" * 64}
    use = {"sha256": "a" * 64, "protocol": "toy", "clips": "disjoint", "seen": 0, "training": training}
    from vpbench.select.weights_record import WeightsUse

    path = folders.make_result(tmp_path, "model", SCORES, weights=WeightsUse.model_validate(use))
    row = next(exported_rows([vpbench.load(path)]))
    assert row.training_seed == 4
    lines = []
    write_csv([replace(row, value=None, vector=[1.0, 2.5])], lines.append)
    (parsed,) = csv.DictReader(lines)
    assert json.loads(parsed["vector"]) == [1.0, 2.5]
    assert parsed["value"] == ""


def test_set_metrics_have_no_rows_of_single_clips(path):
    result = vpbench.load(path)
    whole = dict(next(result.rows())) | {"step": 0}
    rows = [*result.rows(), whole]
    result.rows = lambda: iter(rows)
    assert len(list(exported_rows([result]))) == len(rows) - 1


def test_memory_does_not_grow_with_the_rows(tmp_path):
    row = ExportedRow("p", "m", "{}", 0, None, "r", "c" * 100, "r", None, 1, "mse", "ok", 0.5, None, None)

    def peak(count):
        tracemalloc.start()
        write_csv_file((row for _ in range(count)), tmp_path / "rows.csv")
        memory = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return memory

    assert peak(4000) < peak(400) + 20_000
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 401


def test_a_missing_extra_is_one_line(path, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    code, _, err = export(capsys, path, "--format", "parquet", "--out", tmp_path / "rows.parquet")
    assert (code, err) == (1, "vpbench: Parquet needs pyarrow: pip install 'vpbench[pandas]'\n")
    assert not (tmp_path / "rows.parquet").exists()


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_nothing_is_half_written(path, tmp_path, capsys, kind):
    folders.edit_unit(path, lambda rows: rows[-1].update(step="x"), number=1)
    out = tmp_path / "rows"
    out.write_text("earlier")
    code, _, err = export(capsys, path, "--format", kind, "--out", out)
    assert code == 1 and "000001.jsonl" in err and len(err.splitlines()) == 1
    assert out.read_text() == "earlier"
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["rows"]


def test_rows_that_no_process_published_are_refused(path, capsys):
    unit = path / "units" / "000000.jsonl"
    unit.write_text(unit.read_text().replace('"metric":"mse"', '"metric":"mse" '))
    code, out, err = export(capsys, path)
    assert code == 1 and "is not what was published" in err
    assert len(out.splitlines()) == 1, "the header alone"


def test_bad_input_is_one_line(path, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    code, _, err = export(capsys, tmp_path / "empty")
    assert code == 1 and "there is no result" in err and len(err.splitlines()) == 1
    code, _, err = export(capsys, path, "--format", "parquet")
    assert code == 2 and "--out FILE.parquet" in err
    assert export(capsys, path, "--format", "xlsx")[0] == 2
    code, _, err = export(capsys, path, "--out", path / "run.json" / "rows.csv")
    assert code == 1 and "cannot write" in err and len(err.splitlines()) == 1


def test_units_that_are_missing_are_named(tmp_path, capsys):
    path = folders.make_result(tmp_path, "model", {"mse": [0.5]}, partial="one unit", units=[0])
    code, out, err = export(capsys, path)
    assert code == 0 and "1 of 2 units are there" in err
    assert len(out.splitlines()) == 17
