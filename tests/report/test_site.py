"""The report: links lead to pages, texts of strangers are shown as text, and an output folder is replaced whole."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import folders
import pytest

from vpbench.errors import ResultError
from vpbench.pages.candidates import collect
from vpbench.pages.reported import parse_table
from vpbench.report.charts import class_multiples
from vpbench.report.section import make_results
from vpbench.report.site import write_site

MARKUP = "<script>alert(1)</script> <img src=x onerror=y>\n\"'>{{ 7 * 7 }} \x1b[31mred \u202egnp"
TABLE = """
schema = 1
kind = "scores"
source = "A<b>"
paper = "A paper <i>"
table = "1"
about = "scores"
notes = ["note <u>"]
[reasons]
doubt = "doubt <s>"
[columns.mse]
metric = "mse"
protocol = "toy"
horizon = "at(1)"
better = "lower"
unit = "x 1000"
factor = 1000.0
[rows.'<method>'.mse]
printed = "10"
natural = 0.01
suspect = ["doubt"]
"""


class Elements(HTMLParser):
    """The elements of a page: (tag, attributes)."""

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))


def elements(path):
    return Elements(path.read_text()).elements


def report(root, out, reported=()):
    write_site(collect([root], folders.plugins()), folders.plugins(), reported, out)
    return out


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A report on results with hostile texts, an older version of the protocol, a partial result, and papers."""
    root = tmp_path_factory.mktemp("results")
    hostile = {
        "paper": f"https://example.org/{MARKUP}",
        "skipped": {"ssim": MARKUP},
        "metrics": {"mse": {"unit": MARKUP}},
        "protocol": {"summary": MARKUP, "version": 2},
    }
    scores = {"mse": [0.1, 0.2, 0.3], "psnr": [20.0, 19.0, 18.0]}
    for predictor, factor in (("last", 1.0), ("net", 0.5), ("drop", 2.0)):
        values = {name: [factor * value for value in curve] for name, curve in scores.items()}
        folders.make_result(
            root, predictor, values, options={"width": MARKUP}, parameters=10 * len(predictor), **hostile
        )
    folders.make_result(root, "net", {"mse": [0.3, 0.2, None]}, reason=MARKUP, options={"width": "2"}, **hostile)
    folders.make_result(root, "look", {"mse": [0.1, 0.2, 0.3]}, partial=MARKUP, **hostile)
    folders.make_result(root, "last", {"mse": [0.4, 0.2, 0.1]}, clips=18)
    return report(root, root.parent / "site", [parse_table(TABLE, "table.toml")])


def test_every_link_leads_to_a_file_of_the_report_and_every_page_is_linked(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 10
    linked = set()
    for page in pages:
        for _, attributes in elements(page):
            for address in filter(None, (attributes.get("href"), attributes.get("src"))):
                parts = urlsplit(address)
                if parts.scheme:
                    assert parts.scheme == "https" and not parts.path.endswith(">")
                    continue
                target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
                assert target.is_relative_to(site.resolve()) and target.is_file(), f"{page}: {address}"
                linked.add(target)
                if parts.fragment:
                    assert f'id="{parts.fragment}"' in target.read_text()
    assert {page.resolve() for page in pages} <= linked


def test_no_text_becomes_markup(site):
    for page in site.rglob("*.html"):
        text = page.read_text()
        assert all(c.isprintable() or c == "\n" for c in text)
        tags = {tag for tag, _ in elements(page)}
        assert not tags & {"img", "s", "u", "method"}
        assert {tuple(a) for tag, a in elements(page) if tag == "script"} == {("src",)}
        assert not [name for _, attributes in elements(page) for name in attributes if name.startswith("on")]


def test_elements_and_classes_are_those_of_the_style(site):
    style = "".join((site / "static" / name).read_text() for name in ("report.css", "report.js"))
    tags, classes = set(), set()
    for page in site.rglob("*.html"):
        for tag, attributes in elements(page):
            tags.add(tag)
            classes |= set(attributes.get("class", "").split())
    assert "details" in tags and not [tag for tag in tags if len(tag) > 10]
    assert not {name for name in classes - {"protocols"} if f".{name}" not in style}


def test_texts_are_shown_as_they_were_typed(site):
    page, index = (site / "toy/index.html").read_text(), (site / "index.html").read_text()
    escaped = "&lt;script&gt;alert(1)&lt;/script&gt;"
    assert escaped in index and page.count(escaped) > 3
    for text in ("A&lt;b&gt;", "A paper &lt;i&gt;", "note &lt;u&gt;", "doubt &lt;s&gt;", "&lt;method&gt;"):
        assert text in page
    (page,) = [path for path in (site / "toy/predictors").glob("net*.html") if "mean" not in path.name][:1]
    assert page.read_text().count(escaped) >= 2
    assert "Paper</a>" not in page.read_text(), "its address holds markup"


def test_a_page_shows_the_best_score_the_curves_and_the_papers(site):
    page = (site / "toy/index.html").read_text()
    assert re.search(r"<b>0\.1000</b>", page) and "≈" in page
    assert page.count('role="img"') >= 3
    assert "Reported by papers" in page and "0.010" in page and "printed 10" in page
    assert "Partial results, not ranked" in page and "version 1" in page


@pytest.mark.parametrize(("count", "title"), [(2, "mse by class"), (40, "mse by class, the first 32 of 40")])
def test_classes_have_a_panel_each_and_a_title_says_which_are_shown(tmp_path, count, title):
    folders.make_result(tmp_path, "net", {"mse": [0.1, 0.2]})
    (section,) = make_results(collect([tmp_path], folders.plugins()), folders.plugins())["toy"].sections
    scores = section.standings[0].results[0].summary.scores
    absent = {"class without a score": None}
    details = tuple(absent | {f"class {i}": float(step) for i in range(count)} for step in (1, 2))
    scores["mse"] = scores["mse"].model_copy(update={"details": details})
    (multiples,) = class_multiples(section)
    assert multiples.title == title
    assert [panel.title for panel in multiples.panels] == [f"class {i}" for i in range(min(count, 32))]
    assert all(panel.svg.count("c0 line") == 1 for panel in multiples.panels)


def test_partial_results_of_one_label_are_named_by_their_settings(tmp_path):
    for width in (1, 2):
        folders.make_result(tmp_path / "r", "net", {"mse": [0.1 * width]}, partial="3 clips", options={"width": width})
    page = (report(tmp_path / "r", tmp_path / "site") / "toy/index.html").read_text()
    rows = re.findall(r'<th scope="row">(net.*?)</th>.*<td>(mse.*?)</td>', page)
    assert rows == [("net (width=1)", "mse 0.1000"), ("net (width=2)", "mse 0.2000")]


def test_equal_results_give_equal_bytes_wherever_they_are(tmp_path):
    for root in ("a", "b/c"):
        for predictor in ("net", "last"):
            folders.make_result(tmp_path / root, predictor, {"mse": [0.1, 0.2]})
    first, second = report(tmp_path / "a", tmp_path / "one"), report(tmp_path / "b", tmp_path / "two")
    assert content(first) == content(second)
    assert str(tmp_path).encode() not in b"".join(content(first).values())


def test_an_earlier_report_is_replaced_whole(tmp_path):
    folders.make_result(tmp_path / "a", "net", {"mse": [0.1, 0.2]})
    folders.make_result(tmp_path / "b", "last", {"mse": [0.1, 0.2]})
    site = report(tmp_path / "a", tmp_path / "site")
    assert (site / "toy/predictors/net.html").is_file()
    report(tmp_path / "b", site)
    assert sorted(path.name for path in (site / "toy/predictors").iterdir()) == ["last.html"]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("name", ["notes.txt", "toy/notes.txt"])
def test_a_folder_with_other_files_is_refused_and_not_touched(tmp_path, name):
    folders.make_result(tmp_path / "a", "net", {"mse": [0.1, 0.2]})
    site = report(tmp_path / "a", tmp_path / "site")
    (site / name).write_text("mine")
    before = content(site)
    with pytest.raises(ResultError, match=rf"{Path(name).name}, which `vpbench report` did not write"):
        report(tmp_path / "a", site)
    assert content(site) == before
