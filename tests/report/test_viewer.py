"""The viewer and the gallery in a real browser: mouse and keyboard, both widths and themes, without script."""

from __future__ import annotations

import io

import pytest
from clip_sites import draw, hostile_site, make_results, make_site
from PIL import Image

pytestmark = pytest.mark.slow
WIDTHS, THEMES = (360, 1440), ("light", "dark")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    results = make_results(folder / "r")
    for result, blue in zip(results, (100, 150, 200), strict=True):
        for clip in ("s000@0", "s001@0", "s003@0"):
            draw(result, clip, blue)
    make_site(folder / "site", results)
    return folder / "site" / "toy" / "clips"


def colours(page):
    """The colour in the middle of each picture, once all are loaded."""
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(150)
    shots = [Image.open(io.BytesIO(canvas.screenshot())) for canvas in page.query_selector_all(".panes canvas")]
    return [shot.convert("RGB").getpixel((shot.width // 2, shot.height // 2)) for shot in shots]


def captions(page):
    return [caption.inner_text() for caption in page.query_selector_all(".panes figcaption")]


def step(page):
    return page.inner_text("#viewer output").split()[0]


def test_truth_and_two_predictors_stand_side_by_side_at_the_first_step(browse, site):
    page = browse(site / "s000@0.html")
    assert (step(page), captions(page)) == ("t+1", ["truth", "alpha", "beta"])
    assert colours(page) == [(10, 40, 0), (10, 0, 100), (10, 0, 150)]
    assert page.inner_text(".panes figure:nth-child(2) dl").split() == ["mse", "0.1600"]
    weights = [
        page.eval_on_selector(f".panes figure:nth-child({i}) dd", "e => getComputedStyle(e).fontWeight") for i in (2, 3)
    ]
    assert weights == ["700", "400"], "the better score is bold"


def test_the_mouse_chooses_predictors_views_and_steps(browse, site):
    page = browse(site / "s000@0.html")
    page.check('[name=predictor][value="2"]')
    page.uncheck('[name=predictor][value="0"]')
    page.fill("[name=step]", "4")
    assert (step(page), captions(page)) == ("t+3", ["truth", "beta", "gamma"])
    assert colours(page) == [(30, 40, 0), (30, 0, 150), (30, 0, 200)]
    page.check("[name=view][value=error]")
    assert colours(page) == [(30, 40, 0), (30, 150, 0), (30, 200, 0)]
    assert page.is_visible("text=Mean absolute error over the channels")
    page.check("[name=view][value=labels]")
    assert captions(page) == ["truth labels", "beta no labels", "gamma no labels"]
    assert page.is_visible(".legend >> text=road") and not page.is_visible("text=Mean absolute error")


def test_the_context_stands_before_the_first_step(browse, site):
    page = browse(site / "s000@0.html")
    page.keyboard.press("ArrowLeft")
    assert step(page) == "t" and captions(page) == ["truth context", "alpha context", "beta context"]
    assert set(colours(page)) == {(0, 0, 90)}
    assert page.query_selector(".panes dl div") is None


def test_the_keyboard_steps_plays_and_swaps(browse, site):
    page = browse(site / "s000@0.html")
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    assert step(page) == "t+3"
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    assert step(page) == "t−1", "the last step leads to the first"
    page.keyboard.press(" ")
    assert page.get_attribute('[name="play"]', "aria-pressed") == "true"
    page.wait_for_function("document.querySelector('#viewer output').textContent.startsWith('t+2')")
    page.keyboard.press(" ")
    stopped = step(page)
    page.wait_for_timeout(600)
    assert step(page) == stopped and page.inner_text('[name="play"]') == "Play"
    page.keyboard.press("b")
    assert captions(page)[0].split()[0] == "alpha" and len(captions(page)) == 1
    page.keyboard.press("b")
    assert captions(page)[0].split()[0] == "beta"


def test_every_control_is_reached_with_the_tab_key(browse, site):
    page = browse(site / "s000@0.html")
    names = set()
    for _ in range(25):
        page.keyboard.press("Tab")
        names.add(page.evaluate("document.activeElement.name || ''"))
    assert {"view", "mode", "predictor", "play", "step"} <= names
    page.focus('[name="step"]')
    page.keyboard.press("ArrowRight")
    assert step(page) == "t+2", "the slider steps once"
    page.focus('[name="play"]')
    page.keyboard.press(" ")
    assert page.inner_text('[name="play"]') == "Pause", "the button is pressed once"


def test_two_pictures_are_swapped_and_blink_in_one_place(browse, site):
    page = browse(site / "s000@0.html")
    page.check("[name=mode][value=swap]")
    assert colours(page) == [(10, 0, 100)]
    page.click("[name=swap]")
    assert captions(page) == ["beta"] and colours(page) == [(10, 0, 150)]
    page.select_option("[name=second]", label="truth")
    assert captions(page) == ["truth"]
    page.check("[name=blink]")
    page.wait_for_function("document.querySelector('.panes figcaption').textContent === 'alpha'")
    page.wait_for_function("document.querySelector('.panes figcaption').textContent === 'truth'")
    page.check("[name=mode][value=side]")
    page.wait_for_timeout(1000)
    assert captions(page) == ["truth", "alpha", "beta"], "nothing blinks side by side"


def test_the_gallery_orders_clips_and_links_to_the_two(browse, site):
    page = browse(site / "index.html")

    def order():
        return [link.inner_text() for link in page.query_selector_all("#gallery a")]

    assert order() == ["s001@0", "s003@0", "s000@0"]
    assert page.inner_text("#gallery li:nth-child(1) .thumbs").split() == ["truth", "alpha", "0.0750", "beta", "0.2150"]
    page.select_option("[name=first]", label="beta")
    page.select_option("[name=second]", label="gamma")
    page.select_option("[name=order]", "worst")
    assert order()[0] == "s000@0"
    page.select_option("[name=order]", "best")
    assert order()[0] == "s001@0"
    page.click("#gallery li:nth-child(1) a")
    page.wait_for_selector(".panes canvas")
    assert captions(page) == ["truth", "beta", "gamma"]


def test_without_script_all_pictures_are_strips(browse, site):
    page = browse(site / "s000@0.html", java_script_enabled=False)
    assert not page.is_visible("#viewer")
    titles = [caption.inner_text() for caption in page.query_selector_all(".strips figcaption")]
    assert titles[:3] == ["context", "truth", "true labels"] and "gamma, error" in titles
    page.locator(".strips img").nth(1).scroll_into_view_if_needed()
    picture = page.locator(".strips img").nth(1).bounding_box()
    assert picture["height"] == 128 and picture["width"] == pytest.approx(128 * 4 * 32 / 24, abs=1)
    gallery = browse(site / "index.html", java_script_enabled=False)
    assert gallery.locator("#gallery .thumb").count() == 9 and not gallery.is_visible("#gallery-order")


def test_a_thumb_shows_the_last_step_alone(browse, site):
    page = browse(site / "index.html", java_script_enabled=False)
    box = page.locator("#gallery .box").nth(1)
    box.scroll_into_view_if_needed()
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(300)
    shot = Image.open(io.BytesIO(box.screenshot())).convert("RGB")
    assert shot.getpixel((shot.width // 2, shot.height // 2)) == (40, 0, 100)
    assert shot.width / shot.height == pytest.approx(32 / 24, rel=0.05)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("theme", THEMES)
def test_pages_fit_both_widths_and_themes(browse, site, width, theme):
    for name in ("s000@0.html", "index.html"):
        page = browse(site / name, width=width, theme=theme)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        ink, paper = page.evaluate(
            "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
        )
        assert (sum(map(int, ink[4:-1].split(","))) > sum(map(int, paper[4:-1].split(",")))) is (theme == "dark")
    columns = page.evaluate("getComputedStyle(document.querySelector('#gallery')).gridTemplateColumns").split()
    assert len(columns) == (1 if width == 360 else 2)


@pytest.mark.parametrize("name", ["s000@0.html", "index.html"])
def test_nothing_serious_is_inaccessible(browse, site, name):
    from axe_playwright_python.sync_playwright import Axe

    for theme in THEMES:
        page = browse(site / name, theme=theme)
        page.evaluate("document.querySelectorAll('details').forEach((e) => { e.open = true; })")
        violations = Axe().run(page, options={"preload": False}).response["violations"]
        assert not [v["id"] for v in violations if v["impact"] in ("serious", "critical")]


def test_hostile_texts_are_shown_as_text(browse, tmp_path):
    clip, pages = hostile_site(tmp_path)
    page = browse(tmp_path / "site" / pages[clip])
    assert page.inner_text("h1") == clip
    page.check("[name=view][value=labels]")
    assert "alert(1)" in page.inner_text(".legend:visible")
    assert page.query_selector("img[src=x]") is None
    page = browse(tmp_path / "site/toy/clips/index.html")
    assert page.inner_text("#gallery a") == clip and page.query_selector("img[src=x]") is None
