"""The report in a real browser: sorting, filtering, both widths, both themes, keyboard, links, accessibility.

Needs Playwright and Debian's chromium. No request may leave the folder of the report, and no page may print an error.
"""

from __future__ import annotations

import re
from pathlib import Path

import folders
import pytest

from vpbench.pages.candidates import collect
from vpbench.report.site import write_site

pytestmark = pytest.mark.slow
WIDTHS, THEMES = (360, 1440), ("light", "dark")
PREDICTORS = {"net": 0.5, "last": 1.0, "wide": 0.7, "drop": 2.0}


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """A report of four predictors: two of them trained, one stochastic, with regions, classes and a hostile name."""
    root = tmp_path_factory.mktemp("results")
    for predictor, factor in PREDICTORS.items():
        scores = {"mse": [0.1 * factor, 0.2 * factor, 0.3 * factor], "psnr": [30 - 9 * factor, 20 - factor, 18.0]}
        trained = {"clips": "disjoint", "seen": 0, "protocol": "toy"} if predictor in ("net", "wide") else None
        settings = {"samples": 2, "stochastic": True} if predictor == "wide" else {}
        folders.make_result(
            root, predictor, scores, parameters=int(10**6 * factor), weights=trained,
            options={"note": "<b>bold</b> " * 9}, **settings,
        )  # fmt: skip
    folders.make_result(root, "look", {"mse": [0.1, 0.2, 0.3]}, partial="limited to 3 clips")
    write_site(collect([root], folders.plugins()), folders.plugins(), (), root.parent / "site")
    return root.parent / "site"


class Visit:
    """A page of the report, with the requests that left the folder and the errors that the browser printed."""

    def __init__(self, browser, site, width=1440, theme="light", script=True):
        self.site = site.resolve()
        self.context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=theme, java_script_enabled=script
        )
        self.context.set_default_timeout(10_000)
        self.page = self.context.new_page()
        self.faults: list[str] = []
        self.page.route("**/*", self._route)
        self.page.on("console", lambda message: self.faults.append(message.text))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))

    def _route(self, route):
        url = route.request.url
        if url.startswith(f"file://{self.site}/"):
            route.continue_()
        else:
            self.faults.append(f"request of {url}")
            route.abort()

    def open(self, name):
        self.page.goto((self.site / name).as_uri())
        return self.page


@pytest.fixture
def visit(browser, site):
    visits = []

    def start(name, **settings):
        visits.append(Visit(browser, site, **settings))
        return visits[-1].open(name)

    yield start
    for visited in visits:
        visited.context.close()
        assert not visited.faults


def names(page):
    """The predictors of the overview that can be seen, in their order."""
    rows = page.locator("table.overview tbody tr:visible th a")
    return [text.split(" (")[0] for text in rows.all_text_contents()]


def pages_of(site):
    return sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html"))


def test_every_page_fits_both_widths_in_both_themes_without_an_error(visit, site):
    for width in WIDTHS:
        for theme in THEMES:
            visited = visit("index.html", width=width, theme=theme)
            for name in pages_of(site):
                visited.goto((site / name).resolve().as_uri())
                widths = visited.evaluate("[document.documentElement.scrollWidth, innerWidth]")
                assert widths[0] <= widths[1], f"{name} is wider than {width} pixels"
                assert visited.locator("h1").count() == 1
                assert visited.evaluate("document.title").endswith("vpbench")


def test_axe_finds_nothing_serious(visit, site):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    kinds = {Path(name).parent.name: name for name in pages_of(site)}
    assert {"", "toy", "metrics", "predictors", "pairs"} <= kinds.keys()
    for theme in THEMES:
        for name in kinds.values():
            page = visit(name, theme=theme)
            page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
            violations = axe.run(page, options={"preload": False}).response["violations"]
            serious = [(v["id"], v["nodes"][0]["html"]) for v in violations if v["impact"] in ("serious", "critical")]
            assert not serious, f"{name}, {theme}"


def test_a_click_on_a_head_sorts_best_first_then_worst_first(visit):
    page = visit("toy/index.html")
    assert names(page) == ["net", "wide", "last", "drop"]
    head = page.locator("th", has=page.get_by_role("button", name="psnr"))
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    best_first = names(page)
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert names(page) == best_first[::-1]
    page.get_by_role("button", name="predictor").click()
    assert names(page) == sorted(PREDICTORS)
    assert page.locator("[aria-sort]").count() == 1


def test_the_keyboard_sorts_too(visit):
    page = visit("toy/index.html")
    page.get_by_role("button", name="predictor").focus()
    page.keyboard.press("Enter")
    assert names(page) == sorted(PREDICTORS)
    page.keyboard.press("Space")
    assert names(page) == sorted(PREDICTORS)[::-1]
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid", "the focus is visible"


def test_the_first_tab_leads_to_the_content(visit):
    page = visit("toy/index.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    page.wait_for_url("**/toy/index.html#main")


@pytest.mark.parametrize(
    ("label", "value", "left"),
    [
        ("trained on", "toy", {"net", "wide"}),
        ("parameters", "up to 10 million", {"drop"}),
        ("kind", "stochastic", {"wide"}),
        ("kind", "deterministic", {"net", "last", "drop"}),
    ],
)
def test_a_filter_leaves_the_predictors_that_fit(visit, label, value, left):
    page = visit("toy/index.html")
    choice = page.locator(f"label:has-text('{label}') select")
    choice.select_option(value)
    assert set(names(page)) == left
    assert page.locator("form output").text_content() == f"{len(left)} of 4 predictors"
    choice.select_option("any")
    assert set(names(page)) == set(PREDICTORS)


def test_names_are_searched_and_filters_combine(visit):
    page = visit("toy/index.html")
    page.get_by_label("name").fill("W")
    assert names(page) == ["wide"]
    page.locator("select[name=training]").select_option("never")
    assert names(page) == []


def test_the_theme_can_be_switched_and_is_remembered(visit):
    page = visit("toy/index.html", theme="light")
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.get_by_role("button", name="Switch between light and dark").click()
    dark = page.evaluate(background)
    assert dark != light
    page.reload()
    assert page.evaluate(background) == dark
    page.get_by_role("button", name="Switch between light and dark").click()
    assert page.evaluate(background) == light


def test_the_dark_scheme_of_the_system_is_followed(visit):
    background = "getComputedStyle(document.body).backgroundColor"
    assert visit("index.html", theme="dark").evaluate(background) == "rgb(14, 18, 22)"
    assert visit("index.html", theme="light").evaluate(background) == "rgb(255, 255, 255)"


def test_without_a_script_all_numbers_are_there_and_nothing_useless(visit):
    page = visit("toy/index.html", script=False)
    assert set(names(page)) == set(PREDICTORS)
    assert not page.locator("form.filter").is_visible()
    assert not page.locator("button:visible").count()


def test_links_lead_from_the_first_page_to_the_clips_that_differ(visit, site):
    page = visit("index.html")
    page.get_by_role("link", name="toy").first.click()
    page.get_by_role("link", name="net against last").first.click()
    page.get_by_role("heading", name="Clips that differ most").wait_for()
    page.get_by_role("link", name="net", exact=True).first.click()
    page.get_by_role("heading", level=1, name=re.compile("^net\\b")).wait_for()
    page.get_by_role("link", name="vpbench report").click()
    page.wait_for_url(f"{site.resolve().as_uri()}/index.html")
