"""Tables on a terminal and in a pipe: at most 100 columns, whatever the number of steps and the length of names."""

from __future__ import annotations

import io
import re

import folders
import pytest

from vpbench.output import Strong, say_table
from vpbench.pages.comparison import print_comparison
from vpbench.pages.result import print_result
from vpbench.pages.terminal import print_results
from vpbench.results.comparison import compare
from vpbench.results.result import find_results, load

LONG = "a-predictor-with-a-name-of-eighty-letters-that-nobody-would-type-but-somebody-makes"
ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def printed(monkeypatch, capsys):
    """Return the lines that a function prints, on a terminal of some columns or (0) in a pipe."""

    def show(columns, function, *args):
        if not columns:
            capsys.readouterr()
            function(*args)
            return capsys.readouterr().out.splitlines()
        with monkeypatch.context() as patch:
            patch.setenv("COLUMNS", str(columns))
            patch.setenv("TERM", "xterm-256color")
            patch.setattr("sys.stdout", terminal := Terminal())
            function(*args)
        return terminal.getvalue().splitlines()

    return show


def plain(lines):
    return [ESCAPE.sub("", line) for line in lines]


def results(root, steps, names=("last", LONG, LONG[:-1] + "x", "ours")):
    return [
        load(
            folders.make_result(
                root,
                name,
                {
                    "mse": [0.01 * (1 + place) + 0.001 * k for k in range(steps)],
                    "psnr": [30.0 - place - 0.1 * k for k in range(steps)],
                },
                spread=0.002,
            )
        )
        for place, name in enumerate(names)
    ]


@pytest.mark.parametrize("columns", [0, 100, 200])
@pytest.mark.parametrize("steps", [1, 5, 10, 40])
def test_every_table_fits_into_100_columns(tmp_path, printed, steps, columns):
    several = results(tmp_path, steps)
    comparisons = [compare(several, plugins=folders.plugins()), compare(several[:2], plugins=folders.plugins())]
    tables = [
        printed(columns, print_results, several),
        *(printed(columns, print_comparison, comparison) for comparison in comparisons),
        printed(columns, print_result, several[1], folders.plugins()),
        printed(columns, print_result, several[1], folders.plugins(), "psnr"),
    ]
    for lines in tables:
        table = [line for line in plain(lines) if "  " in line.strip()]
        assert len(table) > 2
        assert max(map(len, table)) <= 100
        assert "\x1b" not in "".join(lines) or columns, "no escape sequence in a pipe"


def test_a_narrow_terminal_gets_fewer_steps(tmp_path, printed):
    several = results(tmp_path, 10, names=("last", "ours"))
    wide, narrow = (plain(printed(columns, print_results, several)) for columns in (100, 60))
    assert max(map(len, narrow[1:6])) <= 60
    assert wide[1].count("t+") > narrow[1].count("t+") >= 2
    assert narrow[1].split()[-2:] == ["t+10", "mean"], "the last step is always there"


def test_all_steps_that_fit_are_printed_in_a_pipe(tmp_path, printed):
    lines = printed(0, print_results, results(tmp_path, 5, names=("last", "ours")))
    assert lines[0] == "toy v1: 20 clips of 20 recordings"
    assert lines[1].split() == ["metric", "predictor", "t+1", "t+2", "t+3", "t+4", "t+5", "mean"]
    assert lines[3].split() == ["mse", "last", "0.0100", "0.0110", "0.0120", "0.0130", "0.0140", "0.0120"]
    assert not [line for line in lines if "are shown" in line]


def test_steps_that_do_not_fit_are_counted(tmp_path, printed):
    lines = printed(0, print_results, results(tmp_path, 40, names=("last", "ours")))
    assert any(re.fullmatch(r"\d+ of 40 steps are shown; summary.json has all", line) for line in lines)
    assert {"t+1", "t+40"} <= set(lines[1].split())


def test_names_that_are_cut_stay_different_and_stand_in_full_below(tmp_path, printed):
    lines = printed(0, print_results, results(tmp_path, 5))
    names = [line.split()[1] for line in lines[3:7]]
    assert len(set(names)) == 4
    assert [line for line in lines if line.startswith(f"{LONG}: ")]


def test_the_best_scores_are_bold_on_a_terminal(tmp_path, printed):
    lines = printed(100, print_results, results(tmp_path, 2, names=("last", "ours")))
    rows = [line for line in lines if plain([line])[0].startswith(("mse", "psnr"))]
    assert [row.count("\x1b[1m") for row in rows] == [3, 0, 3, 0], "the first is better by both metrics"
    single = printed(100, print_results, results(tmp_path, 2, names=("last",)))
    assert not [line for line in single if "\x1b[1m" in line], "nothing to be better than"


def test_an_oracle_is_not_the_best(tmp_path, printed):
    kinds = {"truth": {"sees_truth": True}, "last": {}, "ours": {}}
    several = [
        load(folders.make_result(tmp_path, name, {"mse": [0.1 * place]}, **kinds[name]))
        for place, name in enumerate(kinds, 1)
    ]
    rows = printed(100, print_results, several)[3:6]
    assert [("\x1b[1m" in row) for row in rows] == [False, True, False]


def test_curves_have_one_scale_per_metric(tmp_path, printed):
    lines = plain(printed(100, print_results, results(tmp_path, 5, names=("last", "ours"))))
    curves = [line.split()[2] for line in lines[3:5]]
    assert curves[0][0] == "▁"
    assert curves[1][-1] == "█"
    assert max(curves[0]) < min(curves[1]), "the first is better at every step"


def test_cells_of_numbers_are_aligned_to_the_right_on_a_terminal(printed):
    lines = plain(printed(100, say_table, [["a", "1.5"], ["b", Strong("10.25")], ["c", "—"]], ["name", "score"]))
    assert [line.rstrip() for line in lines[2:]] == ["a       1.5", "b     10.25", "c         —"]


def test_markup_and_escape_sequences_are_text_on_a_terminal(printed):
    lines = printed(100, say_table, [["[red]x[/red]\x1b[31m", "é"]], ["[b]h", "\x07"])
    assert "[red]x[/red]\\x1b[31m" in lines[-1]
    assert "\\x07" in plain(lines)[0]
    assert "[b]h" in plain(lines)[0]


def test_a_metric_that_is_missing_everywhere_is_named_once(tmp_path, printed):
    shared = {"lpips": "no weights"}
    for name, skipped in (("last", shared | {"truth-rank": "one sample"}), ("noisy", shared)):
        folders.make_result(tmp_path, name, {"mse": [0.1]}, skipped=skipped)
    lines = printed(0, print_results, list(map(load, find_results(tmp_path))))
    remarks = [line for line in lines if "not measured" in line]
    assert remarks == ["not measured: lpips (no weights)", "last: not measured: truth-rank (one sample)"]
