"""A real browser, which fails a test that logs an error or asks for anything outside of the site."""

from __future__ import annotations

import os
import shutil

import pytest


def refuse(reason):
    pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)


@pytest.fixture(scope="session")
def browser():
    """Chromium, started once: a process can drive one Playwright only."""
    chromium = shutil.which("chromium")
    if chromium is None:
        refuse("there is no chromium: apt-get install chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        refuse("Playwright is not installed: pip install playwright")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def browse(browser):
    """Open a page of a site from disk."""
    contexts, problems = [], []

    def call(path, fragment="", *, width=1440, theme="light", **settings):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme, **settings)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: problems.append(dialog.message))
        page.on("request", lambda request: None if request.url.startswith("file:") else problems.append(request.url))
        page.on("requestfailed", lambda request: problems.append(request.url))
        page.set_default_timeout(20_000)
        page.goto(path.as_uri() + fragment)
        return page

    yield call
    for context in contexts:
        context.close()
    assert not problems
