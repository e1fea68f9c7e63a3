"""A result in Python: what it prints, its rows as a table, its curve; and what to install for them."""

from __future__ import annotations

import sys

import folders
import pytest

import vpbench
from vpbench.cli.main import _run
from vpbench.errors import ResultError, UsageError, VpbenchError

SCORES = {"mse": [0.25, 0.5], "psnr": [20.0, None]}


@pytest.fixture
def result(tmp_path):
    return vpbench.load(folders.make_result(tmp_path, "model", SCORES))


def test_it_prints_what_it_is_of_and_its_scores(result, tmp_path):
    text = "Summary(20 clips of 20 recordings, t+1 to t+2; mse 0.375; psnr undefined)"
    assert repr(result.summary) == text
    assert repr(result) == f"Result(model on toy: {text})"
    assert repr(result.run) == "RunRecord(model on toy, 20 clips)"
    partial = folders.make_result(tmp_path / "p", "model", {"mse": [0.25]}, cumulative=False, partial="a look")
    assert repr(vpbench.load(partial).summary) == ("Summary(20 clips of 20 recordings, t+1, partial: a look; mse 0.25)")
    (result.path / "summary.json").unlink()
    assert repr(vpbench.load(result.path)) == "Result(model on toy: no summary)"


def test_a_path_is_a_text_or_a_path():
    with pytest.raises(UsageError, match=r"^load: path must be str or Path, not 3$"):
        vpbench.load(3)


def test_a_folder_of_results_names_them(tmp_path):
    paths = [folders.make_result(tmp_path / "all", f"model{i}", {"mse": [0.25]}) for i in range(4)]
    with pytest.raises(ResultError, match=f"all is not a result; below it there are {paths[0]}, .* and 1 more$"):
        vpbench.load(tmp_path / "all")
    with pytest.raises(ResultError, match=f"is not a result; below it there is {paths[0]}$"):
        vpbench.load(paths[0].parent)
    (tmp_path / "none").mkdir()
    with pytest.raises(ResultError, match=r"none is not a result: there is no run\.json in it"):
        vpbench.load(tmp_path / "none")


def test_compare_and_show_name_the_results_below_a_folder(tmp_path, monkeypatch, capsys):
    path = folders.make_result(tmp_path / "results", "model", {"mse": [0.25]})
    monkeypatch.chdir(tmp_path)
    for command in (["compare", "results", str(path)], ["show", "results"]):
        assert _run(command) == 1
        assert f"results is not a result; below it there is {path.relative_to(tmp_path)}" in capsys.readouterr().err
    assert _run(["show", "reslts"]) == 2


def test_scores_by_name(result):
    assert (result.at("mse", 2), result.mean_to("mse", 2)) == (pytest.approx(0.5), pytest.approx(0.375))
    assert result.at("psnr", 2) is None
    assert result.summary.scores["mse"].per_step == pytest.approx((0.25, 0.5))
    with pytest.raises(ResultError, match="has no ssim: it was not measured"):
        result.at("ssim", 1)
    with pytest.raises(ResultError, match=r"has no step 3: scored are \[1, 2\]"):
        result.at("mse", 3)


def test_rows_become_a_table(result):
    table = result.to_dataframe()
    assert len(table) == 20 * 2 * 2
    means = table[table.status == "ok"].groupby(["metric", "step"]).value.mean()
    assert means["mse", 2] == pytest.approx(0.5)


def test_the_curve_has_every_step_with_its_interval(result, tmp_path):
    axes = result.plot("mse")
    (curve,) = axes.get_lines()
    assert curve.get_xdata().tolist() == [1, 2]
    assert curve.get_ydata() == pytest.approx([0.25, 0.5])
    (band,) = axes.collections
    corners = band.get_paths()[0].vertices
    low, high = result.summary.scores["mse"].ci95[0]
    assert {low, high} <= set(corners[corners[:, 0] == 1][:, 1])
    assert (axes.get_ylabel(), axes.get_title()) == ("mse", "toy")
    assert result.plot("psnr", axes) is axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["model", "model"]
    axes.figure.savefig(tmp_path / "curve.png")


@pytest.mark.parametrize(
    ("module", "call", "extra"),
    [
        ("pandas", lambda result: result.to_dataframe(), "to_dataframe needs pandas: pip install 'vpbench[pandas]'"),
        ("matplotlib.figure", lambda result: result.plot("mse"), "plot needs matplotlib: pip install 'vpbench[plot]'"),
    ],
)
def test_without_the_library_the_extra_is_named(result, monkeypatch, module, call, extra):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(VpbenchError) as caught:
        call(result)
    assert str(caught.value) == extra
