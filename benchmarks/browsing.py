"""Measure how soon pages of a report are interactive in Chromium on a slowed processor.

    vpbench report RESULTS --out site
    python benchmarks/browsing.py site [--slowdown 6] [--rounds 5]

Each round opens the first page and the largest page of a protocol from disk in a new context, and clicks on a head of a
table. ``loaded`` is the time from the start of the navigation to the end of the load event, and ``sorted`` the time
from the click to the next painted frame. On a busy machine the clock counts other programs, too. ``processor`` is
therefore the processor time of the page's main thread, without throttling, times the slowdown.
The least of all rounds is printed, since other programs only add to it. Needs Playwright and a chromium on the path.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

from playwright.sync_api import Browser, CDPSession, sync_playwright

LOADED = "performance.getEntriesByType('navigation')[0].loadEventEnd"
SORTED = """() => {
    const button = document.querySelector("table.sortable th button")
    if (button === null) return 0
    const start = performance.now()
    button.click()
    if (!button.closest("th").ariaSort) throw new Error("the click did not sort")
    return new Promise(done => requestAnimationFrame(() => setTimeout(() => done(performance.now() - start))))
}"""
"""Sorts the first table of the page; 0 if it has none."""


class Times(NamedTuple):
    """Milliseconds until a page is loaded and until a click is handled, on the clock and of its main thread."""

    loaded: float
    loaded_processor: float
    handled: float
    handled_processor: float


def measured_pages(site: Path) -> list[Path]:
    """Return the first page and the largest page of a protocol."""
    protocols = [path for path in site.glob("*/index.html") if path.is_file()]
    if not protocols:
        sys.exit(f"{site}: there is no report with a page of a protocol; write one with `vpbench report --out {site}`")
    return [site / "index.html", max(protocols, key=lambda path: path.stat().st_size)]


def visit(browser: Browser, page: Path, slowdown: float) -> Times:
    """Open a page and sort its first table."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    tab = context.new_page()
    session = context.new_cdp_session(tab)
    session.send("Emulation.setCPUThrottlingRate", {"rate": slowdown})
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    tab.goto(page.resolve().as_uri())
    tab.wait_for_function(f"{LOADED} > 0")
    loaded, processor = tab.evaluate(LOADED), busy(session)
    handled = tab.evaluate(SORTED)
    times = Times(loaded, processor, handled, busy(session) - processor)
    context.close()
    return times


def busy(session: CDPSession) -> float:
    """Return the milliseconds of the processor that the page's main thread has taken."""
    metrics = {metric["name"]: metric["value"] for metric in session.send("Performance.getMetrics")["metrics"]}
    return 1000 * float(metrics["TaskDuration"])


def main() -> None:
    """Print a line per page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("site", type=Path, help="a report")
    parser.add_argument("--slowdown", type=float, default=6, help="factor by which the processor is slowed")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        print(f"slowed {arguments.slowdown:g} times; the least of {arguments.rounds} rounds in milliseconds")
        print("page                                kB   loaded: clock processor   sorted: clock processor")
        for page in measured_pages(arguments.site):
            slowed, full = (
                [visit(chromium, page, x) for _ in range(arguments.rounds)] for x in (arguments.slowdown, 1)
            )
            clock, processor = (
                Times(*map(min, zip(*slowed, strict=True))),
                Times(*map(min, zip(*full, strict=True))),
            )
            name, size = page.relative_to(arguments.site).as_posix(), page.stat().st_size / 1000
            loaded = f"{clock.loaded:13.0f} {arguments.slowdown * processor.loaded_processor:9.0f}"
            handled = f"{clock.handled:15.0f} {arguments.slowdown * processor.handled_processor:9.0f}"
            print(f"{name:30} {size:7.0f}  {loaded}  {handled}")
        chromium.close()


if __name__ == "__main__":
    main()
