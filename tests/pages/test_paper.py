"""Tables for papers: marks and ties as on the boards, seeds joined, LaTeX that no name can break."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess

import folders
import pytest

from vpbench.cli.main import _run
from vpbench.errors import ResultError, UsageError
from vpbench.pages.candidates import collect
from vpbench.pages.latex import latex
from vpbench.pages.paper import Choice, PaperCell, PaperColumn, PaperRow, PaperTable, make_paper_table
from vpbench.pages.paper_formats import csv_table, latex_table, markdown_table
from vpbench.pages.standings import Score
from vpbench.results.records import MetricRecord

HOSTILE = r"a_b & \input{x} % $y$ #1 {z} ~^ <u> | `q' " + '" \u4e2d \u202e [0] -- \u00e9'


@pytest.fixture
def add(tmp_path):
    def make(predictor, scores, **settings):
        return folders.make_result(tmp_path / "results", predictor, scores, **settings)

    return make


def table(tmp_path, *metrics, steps=(), mean=False):
    candidates = collect([tmp_path / "results"], folders.plugins())
    return make_paper_table(candidates, folders.plugins(), Choice(metrics, steps, mean))


def cells(paper, column=0):
    """The mark of each row, with ``~`` for a tie, by name."""
    return {
        row.label: cell.mark + "~" * cell.tied
        for row, cell in zip(paper.rows, paper.columns[column].cells, strict=True)
    }


def values(paper, column=0):
    return [cell.score.value for cell in paper.columns[column].cells]


def test_columns_follow_the_metrics_and_steps_that_are_asked_for(add, tmp_path):
    add("last", {"mse": [0.1, 0.3], "psnr": [20.0, 10.0]})
    add("good", {"mse": [0.1, 0.2], "psnr": [19.0, 10.0]})
    paper = table(tmp_path, "psnr", "mse", steps=(2, 1), mean=True)
    heads = [(column.title, column.head) for column in paper.columns]
    assert heads == [(m, head) for m in ("psnr", "mse") for head in ("t+2", "t+1", "mean")]
    assert [row.name for row in paper.rows] == ["last", "good"], "in the order of the first metric"
    assert values(paper, 2) == pytest.approx([15.0, 14.5])
    assert values(paper, 4) == pytest.approx([0.1, 0.1])
    assert [(c.title, c.head) for c in table(tmp_path).columns] == [("mse", "mean"), ("psnr", "mean")]


def test_best_and_second_of_each_column_are_marked(add, tmp_path):
    add("a", {"mse": [0.1, 0.9]})
    add("b", {"mse": [0.2, 0.3]})
    add("c", {"mse": [0.5, 0.6]})
    paper = table(tmp_path, steps=(1, 2))
    assert cells(paper) == {"b": "second", "a": "best", "c": ""}
    assert cells(paper, 1) == {"b": "best", "a": "", "c": "second"}


def test_higher_is_better_where_the_metric_says_so(add, tmp_path):
    add("a", {"psnr": [10.0]})
    add("b", {"psnr": [20.0]})
    assert cells(table(tmp_path)) == {"b": "best", "a": "second"}


def test_equal_scores_share_a_mark_and_take_the_next_one(add, tmp_path):
    for name, score in (("a", 0.1), ("b", 0.1), ("c", 0.2), ("d", 0.2)):
        add(name, {"mse": [score]})
    assert cells(table(tmp_path)) == {"a": "best", "b": "best", "c": "", "d": ""}
    add("e", {"mse": [0.05]})
    assert cells(table(tmp_path)) == {"e": "best", "a": "second", "b": "second", "c": "", "d": ""}


def test_a_difference_that_may_be_chance_is_a_tie_at_that_step_alone(add, tmp_path):
    add("last", {"mse": [0.1, 0.1]})
    add("noisy", {"mse": [0.1005, 0.2]}, spread=0.03)
    paper = table(tmp_path, steps=(1, 2), mean=True)
    assert [cells(paper, column)["noisy"] for column in range(3)] == ["second~", "second", "second"]
    assert any("covers zero" in sentence for sentence in paper.caption)
    assert not any("covers zero" in sentence for sentence in table(tmp_path, steps=(2,)).caption)


def test_a_tie_is_one_with_the_best_score_of_that_step(add, tmp_path):
    add("early", {"mse": [0.1, 0.5]})
    add("late", {"mse": [0.1005, 0.1]}, spread=0.03)
    paper = table(tmp_path, steps=(1,))
    assert cells(paper) == {"late": "second~", "early": "best"}


def test_seeds_are_one_row_with_mean_and_spread(add, tmp_path):
    for seed, score in enumerate((0.1, 0.3)):
        add("net", {"mse": [score]}, stochastic=True, seed=seed)
    paper = table(tmp_path)
    assert [row.label for row in paper.rows] == ["net (mean of 2 seeds)"]
    score = paper.columns[0].cells[0].score
    assert (score.value, score.spread) == (pytest.approx(0.2), pytest.approx(0.2 / 2**0.5))
    assert "±: standard deviation over seeds." in paper.caption
    assert r"\textbf{0.2000} {\scriptsize $\pm$ 0.1414}" in latex_table(paper)
    assert "| **0.2000** ± 0.1414" in markdown_table(paper)


def test_rows_without_a_rank_are_marked_and_never_best(add, tmp_path):
    add("last", {"mse": [0.2]})
    add("seer", {"mse": [0.1]}, sees_truth=True)
    add("new", {"mse": [0.05]}, weights={"clips": "none", "seen": 0})
    add("some", {"mse": [0.01]}, partial="5 of 20 clips", clips=5)
    paper = table(tmp_path)
    assert cells(paper) == {"last": "best", "new": "", "seer": "", "some": ""}
    remarks = {row.name: row.remark for row in paper.rows}
    assert remarks == {
        "last": "",
        "new": "not trained",
        "seer": "ceiling",
        "some": "partial, 5 clips: 5 of 20 clips",
    }
    assert values(paper) == pytest.approx([0.2, 0.05, 0.1, 0.012])
    assert (paper.clips, paper.recordings) == (20, 20), "of the complete results"
    assert "Rows with a remark have no rank." in paper.caption
    text = latex_table(paper)
    assert text.index(r"\midrule", text.index("seer")) < text.index("some {[}partial, 5 clips")
    assert text.count(r"\midrule") == 2


def test_partial_results_alone_have_no_best(add, tmp_path):
    add("a", {"mse": [0.2]}, partial="a look", clips=5)
    add("b", {"mse": [0.1]}, partial="a look", clips=5)
    paper = table(tmp_path)
    assert cells(paper) == {"a": "", "b": ""} or cells(paper) == {"b": "", "a": ""}
    assert all(row.remark.startswith("partial") for row in paper.rows)


def test_a_metric_of_another_definition_has_a_column_of_its_own(add, tmp_path):
    add("a", {"mse": [0.2]})
    add("b", {"mse": [0.1]}, metrics={"mse": {"revision": 2}})
    add("c", {"psnr": [20.0]})
    paper = table(tmp_path, "mse")
    assert [column.title for column in paper.columns] == ["mse", "mse (revision 1)"]
    assert [row.name for row in paper.rows] == ["b", "a"], "c has no such score, so no row"
    assert [value is None for value in values(paper)] == [False, True]


def test_without_means_the_last_step_stands_for_the_predictor(add, tmp_path):
    add("last", {"mse": [0.1, 0.3]}, cumulative=False)
    (column,) = table(tmp_path).columns
    assert (column.head, column.cells[0].score.value) == ("t+2", pytest.approx(0.3))
    with pytest.raises(UsageError, match="toy has no mean over steps"):
        table(tmp_path, mean=True)


def test_results_that_do_not_compare_are_refused(add, tmp_path):
    add("last", {"mse": [0.1]})
    with pytest.raises(UsageError, match="no metric 'msee'; did you mean 'mse'"):
        table(tmp_path, "msee")
    with pytest.raises(UsageError, match=r"toy has no step 3: scored are \[1\]"):
        table(tmp_path, steps=(3,))
    add("last", {"mse": [0.1]}, clips=10)
    with pytest.raises(ResultError, match="several lists of clips"):
        table(tmp_path)
    add("last", {"mse": [0.1]}, protocol={"version": 2})
    with pytest.raises(ResultError, match=r"several protocols: toy version 1 .*, toy version 2"):
        table(tmp_path)


def test_the_caption_says_what_was_evaluated(add, tmp_path):
    path = add("last", {"mse": [0.1]}, recordings=lambda i: f"r{i % 4}")
    run = folders.Store.open(path).run
    digest, clips = run.identity.protocol[:12], run.identity.manifest[:12]
    expected = f"toy, version 1: 20 clips of 4 recordings (protocol {digest}, clips {clips})."
    paper = table(tmp_path)
    assert paper.caption[0] == expected
    assert f"\\caption{{{expected} Best in bold.}}" in latex_table(paper)
    assert expected in markdown_table(paper)


def test_arrows_and_units_head_the_columns(add, tmp_path):
    add("last", {"mse": [0.1, 0.2], "psnr": [20.0, 10.0]})
    paper = table(tmp_path, steps=(1, 2))
    heads = r" & \multicolumn{2}{c}{mse $\downarrow$} & \multicolumn{2}{c}{psnr (dB) $\uparrow$} \\"
    assert heads in latex_table(paper)
    assert r"\cmidrule(lr){2-3} \cmidrule(lr){4-5}" in latex_table(paper)
    assert "mse ↓ t+1" in markdown_table(paper)


def test_csv_has_full_precision_and_the_marks(add, tmp_path):
    add("last", {"mse": [1 / 3]})
    add("noisy", {"mse": [1 / 3 + 0.0005]}, spread=0.03)
    first, second = csv.DictReader(csv_table(table(tmp_path)).splitlines())
    assert float(first["mse mean"]) == pytest.approx(1 / 3, abs=1e-15)
    assert (first["mse mean mark"], second["mse mean mark"]) == ("best", "second tie")
    assert (first["protocol"], first["version"], len(first["protocol_hash"])) == ("toy", "1", 64)
    assert (first["seeds"], first["mse mean spread"], first["remark"]) == ("1", "", "")


# --- LaTeX ---


def hostile_table(run):
    spec = MetricRecord(revision=1, better="lower", unit=HOSTILE, decimals=4, released=True)
    entries = [PaperCell(Score(0.1), "best"), PaperCell(Score(-0.2, spread=1e-6), "second", tied=True)]
    rows = [PaperRow(HOSTILE, 1, "", False), PaperRow("*\\\\[1cm]", 2, HOSTILE, True)]
    columns = [PaperColumn(HOSTILE, HOSTILE, spec, entries), PaperColumn(HOSTILE, "t+1", spec, entries)]
    return PaperTable(run, 1, 1, rows, columns)


def test_every_special_character_is_escaped():
    text = latex(HOSTILE)
    assert text == (
        r"a\_b \& \textbackslash{}input\{x\} \% \$y\$ \#1 \{z\} \textasciitilde{}\textasciicircum{} "
        r"\textless{}u\textgreater{} \textbar{} \textasciigrave{}q\symbol{39} \symbol{34} U+4E2D "
        r"\textbackslash{}u202e {[}0{]} -{}- é"
    )
    assert latex("---") == "-{}-{}-"
    assert latex("≈ ± →\n*") == r"$\approx$ $\pm$ $\rightarrow$ {*}"
    assert latex("ð Þ ÷") == "U+00F0 U+00DE U+00F7", "plain fonts lack them"


def test_no_character_reaches_latex_as_a_command():
    commands = r"\\(?:text[a-z]+\{\}|symbol\{\d\d\}|[{}&%$#_]|dots\{\})"
    allowed = commands + r"|\$\\?[a-z^2]+\$|\{[\[\]*]\}|-\{\}|[^\\{}&%$#_~^<>|`\"'\[\]*]"
    for code in [*range(1, 0x180), 0x2028, 0x4E2D, 0x1F600]:
        text = latex(f"a{chr(code)}b")
        assert re.fullmatch(f"(?:{allowed})*", text), text
        assert all(c.isascii() or 0xC0 <= ord(c) <= 0xFF for c in text), text


def test_a_hostile_name_stays_in_its_cell(add, tmp_path):
    run = folders.Store.open(add("last", {"mse": [0.1]})).run
    lines = latex_table(hostile_table(run)).splitlines()
    rows = [line for line in lines if line.endswith(r"\\")]
    assert [len(re.findall(r"(?<!\\)&", row)) for row in rows] == [1, 2, 2, 2]
    assert not any("\\input" in line for line in lines)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_the_table_compiles(add, tmp_path):
    run = folders.Store.open(add("last", {"mse": [0.1]})).run
    everything = " ".join(latex(chr(code)) for code in range(1, 0x2400))
    body = f"\\documentclass{{article}}\\usepackage{{booktabs}}\\begin{{document}}{latex_table(hostile_table(run))}"
    (tmp_path / "paper.tex").write_text(f"{body}\n\n{everything}\\end{{document}}", encoding="utf-8")
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "paper.tex"]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert process.returncode == 0, process.stdout.decode(errors="replace")[-2000:]


# --- the command ---


def test_the_command_prints_or_writes(add, tmp_path, capsys):
    add("last", {"mse": [0.1, 0.2], "psnr": [20.0, 10.0]})
    words = ["table", str(tmp_path / "results"), "--metrics", "mse", "--steps", "1,2"]
    assert _run([*words, "--format", "markdown"]) == 0
    printed = capsys.readouterr().out
    assert printed == markdown_table(table(tmp_path, "mse", steps=(1, 2)))
    assert _run([*words, "--format", "markdown", "--out", str(tmp_path / "t.md")]) == 0
    assert (tmp_path / "t.md").read_text() == printed
    assert _run(words) == 0
    assert r"\begin{tabular}{lrr}" in capsys.readouterr().out
    assert _run([*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in document["rows"]] == ["last"]
    paper = table(tmp_path, "mse", steps=(1, 2))
    scores = [column["cells"][0]["score"]["value"] for column in document["columns"]]
    assert scores == [*values(paper, 0), *values(paper, 1)]
    assert document["out"] is None


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--steps", "1,x"], 2, "'x' is no step"),
        (["--steps", "9"], 2, "no step 9"),
        (["--metrics", "psnr"], 2, "no metric 'psnr'"),
        (["--format", "html"], 2, "html"),
    ],
)
def test_bad_input_is_one_line(add, tmp_path, capsys, words, code, message):
    add("last", {"mse": [0.1]})
    assert _run(["table", str(tmp_path / "results"), *words, "--out", str(tmp_path / "t")]) == code
    err = capsys.readouterr().err
    assert message in err and len(err.splitlines()) == 1
    assert not (tmp_path / "t").exists()
