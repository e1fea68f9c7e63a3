"""Tables of papers: held as printed, read strictly, shown as reported and never ranked."""

from __future__ import annotations

import math
import re
import tomllib
from pathlib import Path

import pytest

from vpbench.cli.main import _run
from vpbench.errors import DataError
from vpbench.output import markdown
from vpbench.pages.leaderboard import build_pages
from vpbench.pages.reported import CLIPS, HORIZON, load_reported, parse_table
from vpbench.plugin.loader import load_plugins
from vpbench.plugin.set_metric import SetMetric
from vpbench.protocol.protocol import Protocol

TOYS = Path(__file__).parents[1] / "toys.py"
REPORTED = Path(__file__).parents[2] / "leaderboards" / "reported"
PROTOCOLS = {  # names of the transcription to ours, with height and width of a frame
    "human36m_walking_128_4to4": ("human36m", 128, 128),
    "ucf101_frnn_64x88_10to10": ("ucf101-64x88-10to10", 64, 88),
    "ucf101_g19_120x160_4to10": ("ucf101-120x160-4to10", 120, 160),
    "cityscapes_fvs": ("cityscapes-video", 512, 1024),
    "kitti_raw_fvs": ("kitti-raw", 256, 832),
    "kitti_flow_dpg": ("kitti-flow", 128, 256),
    "cityscapes_semantic_f20": ("cityscapes-semantic", 512, 1024),
}
METRICS = {"ms_ssim": "ms-ssim", "params": "parameters", "params_reduction": "parameters-saved"}

TABLE = """
schema = 1
kind = "scores"
source = "ABC"
paper = "A paper"
table = "1"
about = "toys"
notes = ["How many clips is not said."]
[reasons]
blot = "A blot on `4 2`; read as 42."
same = "As in the appendix."
[columns.mse]
metric = "mse"
protocol = "toy"
horizon = "mean_to(2)"
better = "lower"
unit = "sum / 10"
factor = 1000.0
[columns.mse-1]
metric = "mse"
protocol = "toy"
horizon = "at(1)"
better = "lower"
unit = "sum / 10"
factor = 1000.0
[rows.Ours]
mse = { printed = "42.0", natural = 0.042, suspect = ["blot"] }
mse-1 = { printed = "40", natural = 0.04 }
[rows."Theirs (2019)"]
mse = { printed = "64", natural = 0.128, factor = 500.0, remarks = ["same"] }
"""


@pytest.fixture(scope="module")
def tables():
    return load_reported(REPORTED)


@pytest.fixture(scope="module")
def scores(tables):
    return [score for table in tables for score in table.scores()]


@pytest.fixture(scope="module")
def transcribed(shared):
    """Every row of the transcription, with its file's name."""
    files = sorted((shared / "reported").glob("*.toml"))
    return [row for path in files for row in tomllib.loads(path.read_text())["row"]]


def known_horizon(row):
    """The steps of a transcribed number, as far as the paper says."""
    if mean := re.fullmatch(r"mean\(t\+1\.\.t\+(\d+)\)", row["horizon"]):
        return f"mean_to({mean[1]})"
    if row["horizon"] == "none":
        return ""
    k = row["horizon"].removeprefix("t+")
    copied_from_fvs = row["protocol"] in ("cityscapes_fvs", "kitti_raw_fvs")
    return f"at_or_mean_to({k})" if copied_from_fvs and k != "1" else f"at({k})"


def match(row, scores):
    """The score that holds a transcribed row: exactly one."""
    parameters = row["metric"].startswith("params")
    matches = [
        s
        for s in scores
        if (s.source.lower(), s.table) == (row["source"], row["table"])
        and s.column.metric == METRICS.get(row["metric"], row["metric"])
        and s.column.protocol == ("" if parameters else PROTOCOLS[row["protocol"]][0])
        and s.column.horizon == ("" if parameters else known_horizon(row))
        and s.method.removeprefix("CDNet: ") == row["method"]
    ]
    assert len(matches) == 1, row
    return matches[0]


# --- the files of the project ---


def test_every_transcribed_row_is_there_as_printed_and_nothing_else_is(transcribed, scores):
    matches = [match(row, scores) for row in transcribed]
    of_both_papers = [score for score in scores if score.source in ("SADM", "CDNet")]
    assert len(matches) == len(set(map(id, matches))) == len(of_both_papers) == 267
    for row, score in zip(transcribed, matches, strict=True):
        assert float(score.printed) == row["value"], row
        assert (score.column.better == "higher") == row["higher_is_better"] or row["metric"] == "params_reduction"


def test_natural_values_are_the_transcription_s_per_value(transcribed, scores):
    """A sum over a frame is divided by the values of that frame: H*W*3, and FRNN's by 64*85*3."""
    for row in transcribed:
        score = match(row, scores)
        natural = row["value"] * row["factor"]
        if row["scale"].startswith("per-frame sum"):
            _, height, width = PROTOCOLS[row["protocol"]]
            if (score.method, score.column.protocol) == ("FRNN", "ucf101-64x88-10to10"):
                width = 85
            natural /= height * width * 3
        assert score.natural == pytest.approx(natural, rel=1e-6), row
    frnn = next(s for s in scores if s.method == "FRNN" and s.factor == 1632)
    assert frnn.natural == pytest.approx(0.009084, abs=0.00001)  # the mean of the per-step values FRNN publishes


@pytest.fixture(scope="module")
def published(shared):
    """Rows of the collection of published numbers: its heading, the heads of the columns, the cells."""
    rows, heading, heads = [], "", []
    for line in (shared / "reported" / "published.md").read_text().splitlines():
        if line.startswith("**"):
            heading, heads = line, []
        elif not line.startswith("|"):
            heads = []
        elif not heads:
            heads = [head.strip() for head in line.strip("|").split("|")]
        elif not line.startswith(("| -", "|-")):
            rows.append((heading, heads, [cell.strip().replace("\\", "") for cell in line.strip("|").split("|")]))
    return rows


def printed(scores, source, table, method, metric):
    return [
        s.printed for s in scores if (s.source, s.table, s.method, s.column.metric) == (source, table, method, metric)
    ]


def test_frnn_s_steps_are_as_its_curves(published, scores):
    tables = {"UCF101": "UCF101 by step", "KTH": "KTH by step", "MMNIST": "Moving MNIST by step"}
    metrics = {"MSE": "mse", "PSNR": "psnr", "DSSIM": "ssim"}
    numbers = 0
    for heading, heads, (method, *cells) in published:
        if heads[:2] == ["method", "t+1"]:
            data, metric = re.match(r"\*\*(\w+) .*, (\w+)\*\*", heading).groups()
            assert printed(scores, "FRNN", tables[data], method, metrics[metric]) == cells
            numbers += len(cells)
    assert numbers == sum(score.source == "FRNN" for score in scores) == 726
    (score,) = [s for s in scores if (s.table, s.method) == ("UCF101 by step", "fRNN") and s.printed == "0.13055"]
    assert score.natural == pytest.approx(1 - 2 * 0.13055)


def test_openstl_s_tables_are_as_it_prints_them(published, scores):
    tables = {"MMNIST": "Moving MNIST", "KittiCaltech": "KittiCaltech", "KTH": "KTH", "Human3.6M": "Human3.6M"}
    metrics = {"MSE": "mse", "MAE": "mae", "SSIM": "ssim@openstl", "PSNR": "psnr", "LPIPS": "lpips"}
    values = {"MMNIST": 64 * 64, "KittiCaltech": 128 * 160 * 3, "KTH": 128 * 128, "Human3.6M": 256 * 256 * 3}
    numbers = 0
    for heading, heads, cells in published:
        if "Params" not in heads:
            continue
        data = heading[2:].split()[0]
        row = dict(zip(heads, cells, strict=False))
        table = tables[data] + (", MetaVP" if "MetaVP" in heading else "")
        method = cells[0] + (f", {row['Setting']}s" if data == "MMNIST" else "")
        for head, metric in metrics.items():
            expected = [row[head]] if row.get(head) else []
            assert printed(scores, "OpenSTL", table, method, metric) == expected, (table, method, head)
            numbers += len(expected)
        (mse,) = [s for s in scores if (s.table, s.method, s.column.metric) == (table, method, "mse")]
        assert mse.natural == pytest.approx(float(row["MSE"]) / values[data], rel=1e-6)
    assert numbers == sum(score.source == "OpenSTL" for score in scores) > 500


def test_far_and_predrnn_are_as_their_readmes_print_them(published, scores):
    numbers = 0
    for _, heads, cells in published:
        if cells[0] == "FAR-B":
            table = f"Short-video prediction, {cells[2].split()[0]}"
            for metric, value in zip(("psnr", "ssim", "lpips@predrnn", "fvd@context"), cells[3:7], strict=True):
                assert printed(scores, "FAR", table, "FAR-B", metric) == [value]
                numbers += 1
        if "KTH LPIPS" in heads:
            for data, value in zip(("Moving MNIST", "KTH"), cells[1:], strict=True):
                assert printed(scores, "PredRNN", f"LPIPS, {data}", cells[0], "lpips@predrnn") == [value]
                numbers += 1
    assert numbers == sum(score.source in ("FAR", "PredRNN") for score in scores) == 12


def test_iam4vp_s_epochs_are_as_its_readme_prints_them(published, scores):
    cells = [cells for _, _, cells in published if cells[0] == "Moving MNIST"]
    cells.insert(0, ["Moving MNIST", "100", "31.04"])  # the list has no heads
    rows = {f"IAM4VP, {epochs} epochs": mse.split(" ")[0] for _, epochs, mse in cells}
    assert {s.method: s.printed for s in scores if s.source == "IAM4VP"} == rows
    assert len(rows) == 11


def test_semantic_forecasts_are_as_their_readmes_print_them(published, scores):
    """Short term is the first step of three frames, mid term the third."""
    sources = {"S2S, AR": "S2S", "S2S-dil, AR, fine-tune": "S2S", "F2F": "F2F", "Terwilliger et al.": "Terwilliger"}
    numbers = 0
    for _, heads, (system, *cells) in published:
        if "short term mIoU" in heads and (method := system.partition(" (")[0]) in sources:
            terms = {s.column.horizon: s.printed for s in scores if (s.source, s.method) == (sources[method], method)}
            assert terms == {"at(1)": cells[0].split(" ")[0], "at(3)": cells[1].split(" ")[0]}
            numbers += 2
    assert numbers == sum(score.source in sources.values() for score in scores) == 8


def test_numbers_of_threads_are_as_cited_and_all_in_doubt(published, scores):
    """Every number of a row about WALDO, SVG, SRVP or MCVD stands in its cells, some without the leading 0."""
    threads = [score for score in scores if score.source.endswith(", threads")]
    cited = {cells[0].split()[0]: " ".join(cells) for _, heads, cells in published if "rerun" in heads}
    cited["WALDO"] = " ".join(" ".join(c) for _, h, c in published if "rerun" in h and c[0].startswith("WALDO"))
    assert len(threads) == 9 + 3 + 8
    for score in threads:
        name = score.method.partition(",")[0]
        assert score.printed.removeprefix("0") in cited[name], score
        assert score.suspect, score


def test_what_the_transcription_flags_is_suspect_for_that_reason(transcribed, scores):
    words = {"garbled": "arbled", "scale_suspect": "x 100,", "horizon_suspect": "t+3"}
    for row in transcribed:
        for flag in filter(None, row.get("flag", "").split(", ")):
            assert any(words[flag] in reason for reason in match(row, scores).suspect), row


@pytest.mark.parametrize(
    ("source", "table", "method", "word"),
    [
        ("SADM", "1", "SADM", "resolution"),
        ("SADM", "5", "SADM-20", "resolution"),
        ("SADM", "2", "SADM", "152 drives"),
        ("SADM", "4", "SADM", "nine classes"),
        ("CDNet", "1", "MIM", "two blocks"),
        ("CDNet", "3", "FRNN", "64x80"),
    ],
)
def test_rows_that_do_not_compare_say_why(scores, source, table, method, word):
    rows = [s for s in scores if (s.source, s.table, s.method) == (source, table, method)]
    assert len(rows) >= 3
    assert all(word in " ".join(score.suspect) for score in rows)


def cells_with(scores, *metrics):
    """Scores of several metrics that stand in one row and column of a table: (value, half a unit of its last digit)."""
    rows: dict[tuple[str, ...], dict[str, tuple[float, float]]] = {}
    for s in scores:
        half = 0.5 * 10.0 ** -len(s.printed.partition(".")[2]) / s.factor
        key = (s.source, s.table, s.method, s.column.protocol, s.column.horizon)
        rows.setdefault(key, {})[s.column.metric] = (s.natural, half)
    pairs = [[cells[m] for m in metrics] for cells in rows.values() if set(metrics) <= set(cells)]
    assert len(pairs) > 10
    return pairs


def test_mean_psnr_is_at_least_the_psnr_of_the_mean_mse(scores):
    """-log is convex (Jensen), so that no mean of PSNRs with a peak of 1 can be below; nor is any far above."""
    doubted = [s for s in scores if any("PSNR of the mean MSE" in reason for reason in s.suspect)]
    assert sorted(s.printed for s in doubted if s.source == "OpenSTL") == ["37.97", "38.35", "39.84"]
    assert {(s.table, s.method) for s in doubted if s.source == "FRNN"} == {("Moving MNIST by step", "Mathieu")}
    scores = [score for score in scores if score not in doubted]
    for (psnr, half_psnr), (mse, half_mse) in cells_with(scores, "psnr", "mse"):
        assert psnr + half_psnr >= 10 * math.log10(1 / (mse + half_mse))
        assert psnr - half_psnr <= 10 * math.log10(1 / (mse - half_mse)) + 6


def test_mean_absolute_error_lies_between_mse_and_its_root(scores):
    """e**2 <= |e| on [0,1], and the mean of |e| is at most the root of the mean of e**2."""
    for (mae, half_mae), (mse, half_mse) in cells_with(scores, "mae", "mse"):
        assert mse - half_mse <= mae + half_mae
        assert mae - half_mae <= math.sqrt(mse + half_mse)


def test_scores_are_in_the_range_of_their_metric(scores):
    for score in scores:
        if score.column.metric in ("ssim", "ms-ssim", "lpips", "miou", "mse", "mae"):
            assert 0 < score.natural < 1, score


def test_columns_fit_the_metrics_and_protocols_that_are_installed(tables):
    plugins = load_plugins()
    columns = [c for table in tables if table.kind == "scores" for c in table.columns.values()]
    for column in columns:
        info = plugins.load("metric", column.metric).info
        assert info.better == column.better, column
    names = {column.protocol for column in columns} & {entry.name for entry in plugins.of("protocol")}
    protocols = {name: Protocol.read(plugins.load("protocol", name)) for name in names}
    checked = [column for column in columns if column.protocol in protocols]
    assert len(checked) >= 10
    for column in checked:
        protocol = protocols[column.protocol]
        whole_clips = issubclass(plugins.load("metric", column.metric), SetMetric)
        assert (column.horizon == CLIPS) == whole_clips, column
        assert whole_clips or int(HORIZON.fullmatch(column.horizon)[2]) in protocol.steps, column
        metric = column.metric.partition("@")[0]
        assert column.factor in (protocol.display.get(metric, 1), 1) or column.offset, column


# --- bad files ---


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("schema = 1", "schema = 2", r"schema 2 is newer than this vpbench reads \(schema 1\); upgrade"),
        ("schema = 1", "", r"schema: Field required"),
        ('about = "toys"', 'about = "toys"\nyear = 2020', r"year: is unknown"),
        ("natural = 0.04 }", "natural = 0.04, best = true }", r"rows\.Ours\.mse-1\.best: is unknown"),
        ('[rows."Theirs (2019)"]', "[rows.Ours]", r"not valid TOML.*Ours"),
        ('horizon = "at(1)"', 'horizon = "mean_to(2)"', r"columns\.mse-1 is a duplicate of columns\.mse"),
        ('horizon = "at(1)"', 'horizon = "t+1"', r"columns\.mse-1\.horizon: "),
        ('horizon = "at(1)"', 'horizon = "at(0)"', r"columns\.mse-1\.horizon: "),
        ('horizon = "at(1)"', 'horizon = "clips(1)"', r"columns\.mse-1\.horizon: "),
        ('horizon = "at(1)"\n', "", r"columns\.mse-1: tables of scores, .* a protocol and a horizon"),
        ('kind = "scores"', 'kind = "parameters"', r"columns\.mse: tables of scores, and they alone"),
        ('suspect = ["blot"]', 'suspect = ["stain"]', r"rows\.Ours\.mse: there is no reasons\.stain"),
        (', suspect = ["blot"]', "", r"reasons\.blot is used by no cell"),
        ("mse-1 = {", "mse-3 = {", r"rows\.Ours\.mse-3: there is no columns\.mse-3"),
        ("natural = 0.042,", "natural = 0.0421,", r"rows\.Ours\.mse: natural 0\.0421 x 1000 is not the printed 42\.0"),
        (", factor = 500.0", "", r"natural 0\.128 x 1000 is not the printed 64"),
        ('printed = "40"', "printed = 40", r"rows\.Ours\.mse-1\.printed: "),
        ('printed = "40"', 'printed = "~40"', r"rows\.Ours\.mse-1\.printed: "),
        ("factor = 1000.0", "factor = 0.0", r"columns\.mse: factor must be above 0"),
        ("factor = 1000.0", "factor = -1000.0", r"columns\.mse: factor must be above 0"),
        (
            "factor = 1000.0",
            "factor = -1000.0\noffset = 1.0",
            r"mse: natural 0\.042 x -1000 \+ 1 is not the printed 42",
        ),
        ("natural = 0.04 }", "natural = nan }", r"rows\.Ours\.mse-1\.natural: "),
        ('about = "toys"', "about = ", r"not valid TOML"),
    ],
)
def test_a_bad_file_is_one_line_that_names_the_field(old, new, error):
    assert old in TABLE
    with pytest.raises(DataError, match=error) as caught:
        parse_table(TABLE.replace(old, new, 1), "abc.toml")
    assert str(caught.value).startswith("abc.toml")
    assert "\n" not in str(caught.value)


def test_one_table_of_a_paper_in_two_files_is_refused(tmp_path):
    (tmp_path / "a.toml").write_text(TABLE)
    (tmp_path / "b.toml").write_text(TABLE.replace("42.0", "42.00"))
    with pytest.raises(DataError, match=r"b\.toml: ABC, Table 1, is a duplicate of .*a\.toml"):
        load_reported(tmp_path)


def test_a_folder_without_tables_and_a_file_that_is_no_text(tmp_path):
    with pytest.raises(DataError, match=r"no table of a paper .*another folder of published tables"):
        load_reported(tmp_path)
    (tmp_path / "a.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"a\.toml cannot be read"):
        load_reported(tmp_path)


# --- pages ---


def build(tables):
    return build_pages([], load_plugins(), tables)


@pytest.fixture
def page():
    return build([parse_table(TABLE, "abc.toml")])["toy.md"]


def lines(page):
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in page.splitlines() if line.startswith("|")]


def test_a_reported_section_shows_natural_and_printed_values_by_horizon(page):
    heads, _, first, second = lines(page)
    assert heads == ["", "method", "source", "t+1", "mean 1-2"]
    assert first[:3] == ["*reported*", "Ours", "ABC, Table 1"]
    assert first[3:] == ["0.040<br><sub>printed 40</sub>", "0.0420 <sup>?1</sup><br><sub>printed 42.0</sub>"]
    assert second[3:] == ["—", "0.128 <sup>2</sup><br><sub>printed 64</sub>"]
    assert "lower is better; printed: sum / 10 (natural value times 1000 or 500)" in page
    assert "- <sup>?1</sup> A blot on \\`4 2\\`; read as 42.\n- <sup>2</sup> As in the appendix.\n" in page
    assert "- ABC, Table 1: How many clips is not said." in page


def test_a_score_of_whole_clips_has_a_column_without_a_step():
    """A set metric such as FVD has no step; with other columns, it is the first."""
    page = build([parse_table(TABLE.replace('horizon = "at(1)"', 'horizon = "clips"'), "abc.toml")])["toy.md"]
    heads, _, first, _ = lines(page)
    assert heads == ["", "method", "source", "all clips", "mean 1-2"]
    assert first[3].startswith("0.040<br>")


def test_a_number_that_is_printed_in_natural_units_stands_there_once_with_its_digits(tables):
    rows = [cells for cells in lines(build(tables)["kitti-flow.md"]) if cells[1] == "Repeat"]
    assert [cells[3] for cells in rows] == [
        "16.5",
        "0.489<br><sub>printed 48.9</sub>",
        "0.190<br><sub>printed 19.0</sub>",
    ]


def test_reported_rows_have_no_rank_no_bold_and_the_order_of_the_paper(tables):
    built = build(tables)
    assert "**" not in "".join(built.values())
    first = {cells[0] for name, page in built.items() if name != "README.md" for cells in lines(page)}
    assert {cell for cell in first if cell.strip("-")} == {"*reported*"}
    kitti = [cells[1] for cells in lines(built["kitti-flow.md"]) if cells[0] == "*reported*"]
    assert kitti[:9] == ["Repeat", "PredNet", "SVG-LP", "MCNet", "MoCoGAN", "DVF", "CtrlGen", "DPG", "SADM"]


def test_a_row_that_a_paper_prints_twice_is_shown_once(tables):
    tables = [table for table in tables if table.source == "SADM"]
    rows = [cells for cells in lines(build(tables)["cityscapes-video.md"]) if cells[0] == "*reported*"]
    assert [cells[2] for cells in rows if cells[1] == "FVS"] == ["SADM, Tables 1, 5"] * 2
    assert len(rows) == 2 * 9
    assert re.search(r"\(cityscapes-video\.md\) .* 0 *\| 0 *\| 9 *\|", build(tables)["README.md"])
    assert "t+5 or mean 1-5" in build(tables)["cityscapes-video.md"]


def test_every_score_is_on_its_protocol_s_page_and_parameters_are_on_none(tables, scores):
    built = build(tables)
    names = {score.column.protocol for score in scores} - {""}
    assert set(built) == {"README.md", *(f"{name}.md" for name in names)}
    assert all(f"[{name}]({name}.md)" in built["README.md"] for name in names)
    for score in scores:
        page = built.get(f"{score.column.protocol}.md", "")
        row = [c for c in lines(page) if c[1] == markdown(score.method) and score.printed in " ".join(c[3:])]
        assert bool(row) == bool(score.column.protocol), score
        assert all(markdown(reason) in page for reason in score.suspect if page)
    assert "STMFA" not in "".join(built.values())


# --- the command ---


@pytest.fixture
def boards(tmp_path, cache, capsys):
    """Measure a toy; then make its pages, ``boards(*arguments) -> (exit code, standard error, pages by name)``."""
    protocol = tmp_path / "toy.toml"
    protocol.write_text(
        'schema = 1\nname = "toy"\nversion = 1\nsummary = "toys"\nreference = "last"\n[dataset]\nname = "toy"\n'
        '[sampling]\nkind = "first"\ncontext = 3\nhorizon = 2\n'
    )
    run = ["run", "--plugin", str(TOYS), "-p", str(protocol), "-m", "last", "--metric", "mse"]
    assert _run([*run, "--out", str(tmp_path / "r")]) == 0

    def make(*arguments):
        out = tmp_path / "boards"
        capsys.readouterr()
        code = _run(["leaderboard", str(tmp_path / "r"), "--out", str(out), *map(str, arguments)])
        return code, capsys.readouterr().err, {path.name: path.read_text() for path in out.glob("*.md")}

    return make


def test_reported_rows_stand_below_the_measured_and_change_nothing_above(boards, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, without = boards()
    assert (code, set(without)) == (0, {"README.md", "toy.md"})
    assert re.search(r"toys *\| 1 *\| 0 *\| 0 *\|", without["README.md"])
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "abc.toml").write_text(TABLE)
    code, _, extended = boards("--reported", "papers")
    assert code == 0
    measured, _, reported = extended["toy.md"].partition("\n## Reported by papers\n")
    assert measured == without["toy.md"]
    assert "**" not in reported and "last" not in reported
    assert re.search(r"toys *\| 1 *\| 0 *\| 2 *\|", extended["README.md"])
    assert boards("--reported", "papers", "--check")[0] == 0
    code, err, _ = boards("--check")
    assert code == 1 and "toy.md" in err


def test_tables_beside_the_pages_of_the_working_directory_are_the_default(boards, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "leaderboards" / "reported"
    folder.mkdir(parents=True)
    (folder / "abc.toml").write_text(TABLE.replace('"toy"', '"other"'))
    code, _, pages = boards()
    assert (code, set(pages)) == (0, {"README.md", "toy.md", "other.md"})
    assert re.search(r"\[other\]\(other\.md\) *\| not measured yet *\| 0 *\| 0 *\| 2 *\|", pages["README.md"])


def test_a_bad_table_stops_the_command_in_one_line_and_writes_nothing(boards, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, err, pages = boards("--reported", tmp_path / "nowhere")
    assert (code, pages) == (1, {})
    assert err.startswith("vpbench: ") and "nowhere" in err and err.count("\n") == 1
    (tmp_path / "bad.toml").write_text(TABLE.replace("[reasons]", "[excuses]"))
    code, err, pages = boards("--reported", tmp_path)
    assert (code, pages) == (1, {})
    assert "bad.toml" in err and err.count("\n") == 1
