"""The project's site: complete, without a dead link, and nothing in it comes from another host."""

from __future__ import annotations

import re
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from vpbench.plugin.loader import load_plugins

pytest.importorskip("mkdocs", reason="the site needs MkDocs: pip install 'vpbench[site]'")
ROOT = Path(__file__).parents[1]


class Page(HTMLParser):
    """The links, the loaded files and the anchors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.loaded: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.add(values["href"])
        if tag in ("img", "script", "iframe", "source") and "src" in values:
            self.loaded.add(values["src"])
        if tag == "link" and values.get("rel") in ("stylesheet", "icon", "preload"):
            self.loaded.add(values["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site") / "built"
    command = [sys.executable, str(ROOT / "docs" / "build_site.py"), "--out", str(out)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return out


@pytest.fixture(scope="module")
def pages(site):
    return {path: Page(path.read_text()) for path in sorted(site.rglob("*.html"))}


def test_a_default_with_markup_is_one_cell(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import plugin_pages
    from markdown import markdown

    text = "a|b <i> `c` *d* \\| &amp; e_f_g"
    option = {"required": False, "default": text, "type": "text", "description": "words"}
    html = markdown(plugin_pages._options({"name": option}), extensions=["tables"])
    cells = re.findall(r"<td>(.*?)</td>", html)
    assert [unescape(cell) for cell in cells] == ["<code>name</code>", f"<code>{text}</code>", "text", "words"]


@pytest.mark.slow
def test_every_registered_name_has_a_page(site):
    entries = load_plugins().entries.values()
    paths = {site / "plugins" / f"{entry.kind}s" / f"{entry.name}.html" for entry in entries if entry.kind != "network"}
    assert len(paths) > 60
    assert not [path for path in paths if not path.is_file()]


@pytest.mark.slow
def test_a_page_of_a_predictor_shows_options_presets_and_results(site):
    text = (site / "plugins" / "predictors" / "cdnet.html").read_text()
    for words in ("integer, at least 1", "without-mask", "submitted to ICLR 2022", "scenes-static"):
        assert words in text


@pytest.mark.slow
def test_every_public_name_is_in_the_reference(pages):
    import vpbench

    anchors = set().union(*(page.anchors for path, page in pages.items() if path.parent.name == "reference"))
    homes = {name: f"{home}.{name}" for name, home in vpbench._HOME.items()}
    assert not [name for name, anchor in homes.items() if anchor not in anchors]


@pytest.mark.slow
def test_links_lead_somewhere(site, pages):
    dead = []
    for path, page in pages.items():
        for link in page.links | page.loaded:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or path.name == "404.html":
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file() or (
                parts.fragment and target in pages and not anchored(pages[target], parts.fragment)
            ):
                dead.append(f"{path.relative_to(site)}: {link}")
    assert not dead


def anchored(page: Page, fragment: str) -> bool:
    return unquote(fragment) in page.anchors or fragment.startswith("__")  # tabs of the theme


@pytest.mark.slow
def test_nothing_is_loaded_from_another_host(site, pages):
    assert not [(path, url) for path, page in pages.items() for url in page.loaded if urlsplit(url).netloc]
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\((?!data:)[\"']?(https?:)?//", sheet.read_text()), sheet


@pytest.mark.slow
def test_another_folder_is_not_replaced(tmp_path):
    (tmp_path / "mine.txt").write_text("kept")
    command = [sys.executable, str(ROOT / "docs" / "build_site.py"), "--out", str(tmp_path)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 1
    assert "is no site of this command" in finished.stderr
    assert (tmp_path / "mine.txt").read_text() == "kept"
