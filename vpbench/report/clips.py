"""Pages of clips: a viewer of truth and predictions side by side, and a gallery; from pictures of results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2.utils import htmlsafe_json_dumps

from vpbench.output import line
from vpbench.report.clip import (
    SHARED,
    TITLES,
    Clip,
    PredictorClip,
    Strip,
    directions,
    gallery_data,
    legends,
    score_rows,
    viewer_data,
)
from vpbench.report.pages import Pages
from vpbench.report.section import gallery_page, unique_slugs
from vpbench.results.clip_choice import clip_rows
from vpbench.results.pictures import (
    DESCRIPTION,
    ClipPictures,
    Kind,
    Sheet,
    pictured_clips,
    pictures_folder,
    pictures_root,
    read_pictures,
    read_sheet,
)
from vpbench.results.records import MetricRecord
from vpbench.results.result import Result


@dataclass(frozen=True)
class Contestant:
    """A predictor of the report, and the results that may have pictures of it."""

    name: str
    results: Sequence[Result]


def clip_pages(
    pages: Pages, folder: str, title: str, home: str, contestants: Sequence[Contestant], out: Path | None = None
) -> dict[str, str]:
    """Write a page per clip that has pictures, and the gallery ``<folder>/clips/index.html`` of all of them.

    Args:
        pages: the report.
        folder: folder of the pages of these results.
        title: their name.
        home: the page of these results, which leads to the gallery.
        contestants: predictors with results of one list of clips.
        out: folder of pictures that do not lie in the results.

    Returns:
        The page of each clip, a path below the report; empty if no clip has pictures.

    Raises:
        ResultError: pictures or rows cannot be read.
    """
    pictured = _pictured(contestants, out)
    if not pictured:
        return {}
    slugs = unique_slugs(["index", *pictured])[1:]
    names = zip(pictured, slugs, strict=True)
    clips = [_write_files(pages, folder, slug, clip, contestants, out) for clip, slug in names]
    for place, clip in enumerate(clips):
        pages.page(
            clip.page,
            "clip.html.j2",
            clip=clip,
            title=title,
            home=home,
            gallery=gallery_page(folder),
            before=clips[place - 1] if place else None,
            after=clips[place + 1] if place + 1 < len(clips) else None,
            directions=directions(clip),
            rows=score_rows(clip),
            legends=legends(clip),
            strips=[*clip.truth.values(), *(s for p in clip.predictors for s in p.strips.values())],
            data=htmlsafe_json_dumps(viewer_data(clip, clip.page.count("/"))),
        )
    _write_gallery(pages, folder, title, home, clips)
    return {clip.id: clip.page for clip in clips}


def _pictured(contestants: Sequence[Contestant], out: Path | None) -> list[str]:
    """Return the clips that have pictures of any predictor, in the order of the manifest."""
    results = [result for contestant in contestants for result in contestant.results]
    with_pictures = {clip for result in results for clip in pictured_clips(pictures_root(result, out), result.run)}
    return [entry.clip for entry in results[0].run.manifest if entry.clip in with_pictures] if results else []


class _Sheets:
    """The sheets of one clip in the report; those that all predictors share are written once."""

    def __init__(self, pages: Pages, folder: str) -> None:
        self._pages, self._folder = pages, folder
        self._contents: dict[Kind, bytes] = {}
        self.truth: dict[Kind, Strip] = {}
        self.remarks: list[str] = []

    def write(self, pictures: ClipPictures, root: Path, name: str, stem: str) -> dict[Kind, Strip]:
        """Write the sheets of a predictor into files that start with ``stem``; return those that it does not share."""
        strips: dict[Kind, Strip] = {}
        for kind, sheet in pictures.sheets.items():
            data = read_sheet(root, pictures.clip, kind)
            if kind in SHARED:
                self._share(name, kind, sheet, data)
            else:
                strips[kind] = self._strip(f"{name}, {TITLES[kind]}", f"{stem}.{kind}", sheet, data)
        return strips

    def _share(self, name: str, kind: Kind, sheet: Sheet, data: bytes) -> None:
        if kind not in self.truth:
            self.truth[kind], self._contents[kind] = self._strip(TITLES[kind], kind, sheet, data), data
        elif self._contents[kind] != data:
            self.remarks.append(f"{name}: its {TITLES[kind]} is of other data, or drawn in another size")

    def _strip(self, title: str, file: str, sheet: Sheet, data: bytes) -> Strip:
        source = f"{self._folder}/{file}.webp"
        self._pages.file(source, data)
        return Strip(title, source, sheet)


def _write_files(
    pages: Pages, folder: str, slug: str, clip: str, contestants: Sequence[Contestant], out: Path | None
) -> Clip:
    """Write the sheets of one clip."""
    sheets = _Sheets(pages, f"{folder}/clips/{slug}")
    predictors: list[PredictorClip] = []
    measured: dict[str, MetricRecord] = {}
    for contestant, stem in zip(contestants, unique_slugs([c.name for c in contestants]), strict=True):
        result = _with_pictures(contestant, clip, out)
        if result is None:
            continue
        root = pictures_root(result, out)
        pictures = read_pictures(root, clip)
        scores = _scores(result, clip, pictures.sample)
        measured |= {metric: result.run.metrics[metric] for metric in scores if metric not in measured}
        sample = pictures.sample if result.run.stochastic else None
        strips = sheets.write(pictures, root, contestant.name, stem)
        predictors.append(PredictorClip(contestant.name, strips, scores, sample))
    return Clip(clip, f"{folder}/clips/{slug}.html", sheets.truth, predictors, measured, sheets.remarks)


def _with_pictures(contestant: Contestant, clip: str, out: Path | None) -> Result | None:
    """Return the first result of a predictor that has pictures of a clip."""
    for result in contestant.results:
        if (pictures_folder(pictures_root(result, out), clip) / DESCRIPTION).is_file():
            return result
    return None


def _scores(result: Result, clip: str, sample: int) -> dict[str, dict[int, float]]:
    """Return the scores of one sample of a clip that are numbers, by metric and step."""
    scores: dict[str, dict[int, float]] = {}
    for row in clip_rows(result, clip):
        value = row["value"]
        if isinstance(value, int | float) and row["step"] and row.get("sample", sample) == sample:
            scores.setdefault(row["metric"], {})[row["step"]] = float(value)
    return {metric: scores[metric] for metric in result.run.metrics if metric in scores}


def _write_gallery(pages: Pages, folder: str, title: str, home: str, clips: Sequence[Clip]) -> None:
    """Write the page of all clips with pictures; those with the largest range of the first metric come first."""
    names = list(dict.fromkeys(predictor.name for clip in clips for predictor in clip.predictors))
    metrics = {metric: record.better for clip in clips for metric, record in clip.metrics.items()}
    first = next(iter(metrics), "")
    ordered = sorted(clips, key=lambda clip: -clip.range(first))
    data = {
        "names": [line(name) for name in names],
        "metrics": list(metrics.items()),
        "clips": [gallery_data(clip, names, gallery_page(folder).count("/")) for clip in ordered],
    }
    pages.page(
        gallery_page(folder),
        "gallery.html.j2",
        title=title,
        home=home,
        clips=ordered,
        names=names,
        metrics=list(metrics),
        first=first,
        data=htmlsafe_json_dumps(data),
    )
