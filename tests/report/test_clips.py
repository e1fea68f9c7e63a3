"""Pages of clips: every picture once, scores of the clip, links that lead somewhere, texts of strangers as text."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import folders
import pytest
from clip_sites import SIZE, draw, hostile_site, make_results, make_site, plain

from vpbench.errors import ResultError
from vpbench.pages.candidates import collect
from vpbench.pages.sheets import write_pictures
from vpbench.report.site import write_site
from vpbench.results.pictures import pictures_folder, pictures_root


class Elements(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.elements, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)


def files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def viewer_data(page):
    return json.loads(re.search(r'id="clip-data">(.*?)</script>', page.read_text())[1])


@pytest.fixture
def results(tmp_path):
    all_results = make_results(tmp_path / "r")
    for result, blue in zip(all_results, (100, 150, 200), strict=True):
        for clip in ("s000@0", "s002@0"):
            draw(result, clip, blue)
    return all_results


def test_a_page_per_clip_with_pictures_and_a_gallery(results, tmp_path):
    pages = make_site(tmp_path / "site", results)
    assert pages == {"s000@0": "toy/clips/s000@0.html", "s002@0": "toy/clips/s002@0.html"}
    names = set(files(tmp_path / "site"))
    assert {*pages.values(), "toy/clips/index.html", "static/clips.js", "static/clips.css"} <= names
    below = {name.rpartition("/")[2] for name in names if "/s000@0/" in name}
    shared = {"context.webp", "truth.webp", "labels.webp"}
    predicted_sheets = {
        f"{name}.{kind}.webp" for name in ("alpha", "beta", "gamma") for kind in ("prediction", "error")
    }
    assert below == shared | predicted_sheets | {"alpha.predicted-labels.webp"}, "what all share lies there once"


def test_every_link_and_picture_exists(results, tmp_path):
    make_site(tmp_path / "site", results)
    for page in (tmp_path / "site" / "toy" / "clips").rglob("*.html"):
        for tag, attributes in Elements(page.read_text()).elements:
            address = attributes.get("href") or (attributes.get("src") if tag in ("img", "script") else None)
            if address and not address.startswith("#"):
                assert not urlsplit(address).scheme
                assert (page.parent / unquote(urlsplit(address).path)).is_file(), address
        assert all(attributes.get("alt") for tag, attributes in Elements(page.read_text()).elements if tag == "img")


def test_scores_are_those_of_the_clip(results, tmp_path):
    pages = make_site(tmp_path / "site", results)
    data = viewer_data(tmp_path / "site" / pages["s002@0"])
    assert data["metrics"] == [["mse", "lower"]]
    assert [p["name"] for p in data["predictors"]] == ["alpha", "beta", "gamma"]
    assert data["predictors"][0]["scores"]["mse"]["3"] == [pytest.approx(0.18), "0.1800"]
    text = (tmp_path / "site" / pages["s002@0"]).read_text()
    assert re.search(r'alpha</th><td class="num best"><b>0.1750</b></td>', text)
    assert re.search(r'beta</th><td class="num">0.2350</td>', text)


def test_views_are_those_with_pictures(results, tmp_path):
    pages = make_site(tmp_path / "site", results)
    data = viewer_data(tmp_path / "site" / pages["s000@0"])
    assert list(data["views"]) == ["frames", "error", "labels"]
    sheet = data["predictors"][1]["sheets"]["prediction"]
    assert (sheet["steps"], sheet["size"], sheet["columns"]) == ([1, 2, 3, 4], list(SIZE), 4)
    assert (
        "Mean absolute error over the channels, from 0 to 0.5 or more"
        in (tmp_path / "site" / pages["s000@0"]).read_text()
    )


def test_without_pictures_of_errors_there_is_no_view_of_them(tmp_path):
    result = make_results(tmp_path / "r")[0]
    films = {"truth": plain((1, 2), (0, 9, 0)), "prediction": plain((1, 2), (0, 0, 9))}
    write_pictures(pictures_folder(result.path, "s000@0"), "s000@0", films, full_size=True, size=SIZE)
    pages = make_site(tmp_path / "site", [result])
    assert list(viewer_data(tmp_path / "site" / pages["s000@0"])["views"]) == ["frames"]


def test_the_gallery_begins_with_the_clips_that_differ_most(tmp_path):
    results = make_results(tmp_path / "r", clips=3)
    for result in results:
        for clip in ("s000@0", "s001@0"):
            draw(result, clip, 100)
    make_site(tmp_path / "site", results)
    order = re.findall(r">(s00\d@0)</a>", (tmp_path / "site/toy/clips/index.html").read_text())
    assert order == ["s001@0", "s000@0"], "alpha is best where its spread is subtracted"


def test_same_results_same_bytes(results, tmp_path):
    for name in ("a", "b"):
        make_site(tmp_path / name, results)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert str(tmp_path).encode() not in b"".join(files(tmp_path / "a").values())


def test_a_truth_that_differs_is_left_out_and_named(results, tmp_path):
    draw(results[1], "s000@0", 150, truth=(0, 90, 0))
    pages = make_site(tmp_path / "site", results)
    assert (
        "beta: its truth is of other data, or drawn in another size"
        in (tmp_path / "site" / pages["s000@0"]).read_text()
    )
    assert "other data" not in (tmp_path / "site" / pages["s002@0"]).read_text()
    assert len(list((tmp_path / "site" / "toy/clips/s000@0").glob("*truth*"))) == 1


def test_predictors_without_pictures_of_a_clip_are_left_out(tmp_path):
    results = make_results(tmp_path / "r")
    draw(results[1], "s001@0", 150)
    pages = make_site(tmp_path / "site", results)
    assert [p["name"] for p in viewer_data(tmp_path / "site" / pages["s001@0"])["predictors"]] == ["beta"]


def test_without_pictures_there_is_no_page(tmp_path):
    assert make_site(tmp_path / "site", make_results(tmp_path / "r")) == {}
    assert not (tmp_path / "site/toy/clips").exists()


def test_pictures_may_lie_elsewhere(tmp_path):
    results = make_results(tmp_path / "r")
    draw(results[0], "s001@0", 100, pictures_root(results[0], tmp_path / "p"))
    assert make_site(tmp_path / "a", results) == {}
    assert list(make_site(tmp_path / "b", results, tmp_path / "p")) == ["s001@0"]


def test_forged_pictures_end_the_report_in_one_line(results, tmp_path):
    (results[0].path / "pictures/s000@0/error.webp").write_text("<svg/>")
    with pytest.raises(ResultError, match=r"error\.webp is no WebP file"):
        make_site(tmp_path / "site", results)


def test_hostile_texts_are_text(tmp_path):
    clip, pages = hostile_site(tmp_path)
    for page in ("toy/clips/index.html", pages[clip]):
        parsed = Elements((tmp_path / "site" / page).read_text())
        assert not [a for _, attributes in parsed.elements for a in attributes if a.startswith("on")]
        assert {a.get("src", "").rpartition("/")[2] for tag, a in parsed.elements if tag == "script"} == {
            "report.js",
            "clips.js",
            "",
        }
        assert "alert(1)" in "".join(parsed.texts) and "{{ 7*7 }}" in "".join(parsed.texts)
    assert all(re.fullmatch(r"[\w.@+=/-]+", name) for name in files(tmp_path / "site")), "no text leaves its folder"


def test_clips_whose_names_collide_have_pages_of_their_own(tmp_path):
    results = make_results(tmp_path / "r", sequences=lambda i: ["a/b", "a b", "A-b", "index.html"][i])
    for entry in results[0].run.manifest:
        draw(results[0], entry.clip, 100)
    pages = make_site(tmp_path / "site", results)
    assert len({page.lower() for page in pages.values()}) == 4
    assert len(list((tmp_path / "site/toy/clips").glob("*.html"))) == 5


def test_the_report_leads_to_the_clips(tmp_path):
    results = make_results(tmp_path / "r")
    partial = folders.make_result(tmp_path / "r", "delta", {"mse": [0.1]}, clips=2, partial="a look")
    for result in results:
        draw(result, "s001@0", 100)
    from vpbench.results.result import load

    draw(load(partial), "s000@0", 100)
    write_site(collect([tmp_path / "r"], folders.plugins()), folders.plugins(), [], tmp_path / "site")
    page = (tmp_path / "site/toy/index.html").read_text()
    assert 'href="../toy/clips/index.html"' in page
    assert (
        len(re.findall(r'href="\.\./toy/partial-[0-9a-f-]+/clips/index\.html">Pictures: 1 clips? of delta', page)) == 1
    )
    assert 'href="../../toy/clips/s001%400.html"' in (tmp_path / "site/toy/predictors/alpha.html").read_text()
