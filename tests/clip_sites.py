"""Results with pictures of plain colours, and the pages of their clips."""

from __future__ import annotations

from pathlib import Path

import folders
import numpy as np

from vpbench.pages.films import Film
from vpbench.pages.sheets import write_pictures
from vpbench.report.clips import Contestant, clip_pages
from vpbench.report.pages import Pages
from vpbench.results.pictures import LegendEntry, pictures_folder
from vpbench.results.result import Result, load

STEPS = (1, 2, 3, 4)
SIZE = (24, 32)
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'{{ 7*7 }}"
TRUTH, CONTEXT = (0, 40, 0), (0, 0, 90)


def plain(steps, colour, **changes):
    """A film of plain pictures; red grows by 10 a step."""
    pictures = np.zeros((len(steps), *SIZE, 3), np.uint8)
    for place, step in enumerate(steps):
        pictures[place] = (colour[0] + 10 * max(step, 0), *colour[1:])
    return Film(pictures, tuple(steps), **changes)


def draw(result: Result, clip: str, blue: int, root: Path | None = None, *, truth=TRUTH, name="road") -> None:
    """Write pictures of a clip: the prediction has that much blue, its error that much green."""
    films = {
        "context": plain((-1, 0), CONTEXT),
        "truth": plain(STEPS, truth),
        "prediction": plain(STEPS, (0, 0, blue)),
        "error": plain(STEPS, (0, blue, 0), limit=0.5),
        "labels": plain(STEPS, (0, 200, 200), legend=(LegendEntry(name=name, colour=(0, 200, 200)),)),
    }
    if blue == 100:
        films["predicted-labels"] = plain(STEPS, (0, 100, 200), legend=(LegendEntry(name=name, colour=(0, 100, 200)),))
    write_pictures(pictures_folder(root or result.path, clip), clip, films, full_size=True, size=SIZE)


def make_results(root: Path, names=("alpha", "beta", "gamma"), clips=4, **changes) -> list[Result]:
    """Results of three predictors, the first the best; scores of clips differ by ``spread``."""
    scores = [[0.1 * (i + 1) + 0.01 * step for step in STEPS] for i in range(len(names))]
    spreads = [0.05, 0.01, 0.0]
    return [
        load(folders.make_result(root, name, {"mse": values}, clips=clips, spread=spread, **changes))
        for name, values, spread in zip(names, scores, spreads, strict=True)
    ]


def make_site(out: Path, results: list[Result], pictures: Path | None = None) -> dict[str, str]:
    """Write the pages of all clips with pictures, and the style and script; return the page of each clip."""
    out.mkdir(parents=True)
    pages = Pages(out)
    contestants = [Contestant(result.label, [result]) for result in results]
    clips = clip_pages(pages, "toy", "toy", "toy/index.html", contestants, pictures)
    pages.file("toy/index.html", "<!doctype html><title>toy</title>")
    pages.file("index.html", "<!doctype html><title>report</title>")
    pages.finish()
    return clips


def hostile_site(tmp_path: Path) -> tuple[str, dict[str, str]]:
    """A site of clips and classes with a hostile name; return the first clip and the page of each."""
    results = make_results(tmp_path / "r", sequences=lambda i: f"{HOSTILE}{i}")
    clip = results[0].run.manifest[0].clip
    for result, blue in zip(results, (100, 150, 200), strict=True):
        draw(result, clip, blue, name=HOSTILE)
    return clip, make_site(tmp_path / "site", results)
