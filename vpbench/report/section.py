"""One version of a protocol and one list of clips: the results that one page of the report compares."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from vpbench.names import slug
from vpbench.pages.alerts import Alert, find_alerts
from vpbench.pages.boards import Board, make_boards, mean_of, result_name
from vpbench.pages.candidates import Candidate
from vpbench.pages.costs import measured_devices, standing_costs
from vpbench.pages.overview import Sets, order_standings
from vpbench.pages.set_tables import make_set_tables
from vpbench.pages.standings import Line, Standing, group_standings
from vpbench.pages.ties import Ties
from vpbench.plugin.loader import Plugins
from vpbench.results.costs import CostRecord
from vpbench.results.records import RunRecord
from vpbench.results.seeds import seeds_of


@dataclass(frozen=True)
class Section:
    """Complete results that may be compared, in the order of the overview."""

    folder: str
    """Folder of its pages: the protocol's name, with digests for an older version or another list of clips."""
    standings: Sequence[Standing]
    boards: Sequence[Board]
    sets: Sets
    ties: Mapping[str, Sequence[Line]]
    """By the title of a board, the rows that differ from the best one by chance."""
    clips: dict[str, str] = field(default_factory=dict)
    """The page of each clip that has pictures, by its id: a path below the report."""

    @property
    def run(self) -> RunRecord:
        """The record of one of its results."""
        return self.standings[0].results[0].run

    @cached_property
    def recordings(self) -> dict[str, str]:
        """The recording that each clip was cut from."""
        return self.run.recordings

    @cached_property
    def alerts(self) -> list[Alert]:
        """The warnings of all results."""
        return find_alerts(candidate for standing in self.standings for candidate in standing.candidates)

    @cached_property
    def costs(self) -> list[dict[str, CostRecord]]:
        """The measured costs of each predictor by device."""
        return list(map(standing_costs, self.standings))

    @property
    def devices(self) -> list[str]:
        """The devices that some predictor's cost was measured on: then no page shows the times of runs."""
        return measured_devices(self.costs)

    @property
    def page(self) -> str:
        """The path of its page."""
        return f"{self.folder}/index.html"

    @property
    def gallery(self) -> str:
        """The path of the page of all clips with pictures."""
        return gallery_page(self.folder)

    @cached_property
    def names(self) -> list[str]:
        """The names of the predictors, each with the settings that distinguish it from others of the same label."""
        results = [standing.results[0] for standing in self.standings]
        return [
            result_name(standing.results[0], results, seed=False) + mean_of(_seeds(standing))
            for standing in self.standings
        ]

    @cached_property
    def seed_names(self) -> list[str]:
        """The names of the predictors where their first seeds alone are shown."""
        results = [standing.results[0] for standing in self.standings]
        return [result_name(result, results, seed=False) for result in results]

    @cached_property
    def predictor_pages(self) -> list[str]:
        """The paths of the predictors' pages."""
        return [f"{self.folder}/predictors/{name}.html" for name in unique_slugs(self.names)]

    @cached_property
    def metric_pages(self) -> list[str]:
        """The paths of the boards' pages."""
        return [f"{self.folder}/metrics/{name}.html" for name in unique_slugs([b.title for b in self.boards])]


@dataclass(frozen=True)
class Results:
    """The results of one protocol."""

    name: str
    sections: Sequence[Section]
    """The newest version first; none if all results are partial."""
    partial: Sequence[Standing]

    @property
    def summary(self) -> str:
        """A description of the protocol; "" if nothing was measured on it."""
        standings = [*(standing for section in self.sections for standing in section.standings), *self.partial]
        return standings[0].results[0].run.protocol.summary if standings else ""


def make_results(candidates: Sequence[Candidate], plugins: Plugins) -> dict[str, Results]:
    """Group results by protocol, then by its version and the list of clips.

    Raises:
        ResultError: two results that must agree do not; names both.
    """
    by_protocol: dict[str, list[Standing]] = defaultdict(list)
    for standing in group_standings(candidates):
        by_protocol[standing.results[0].run.protocol.name].append(standing)
    return {name: _results(name, by_protocol[name], plugins) for name in sorted(by_protocol)}


def _results(name: str, standings: Sequence[Standing], plugins: Plugins) -> Results:
    groups: dict[tuple[int, str, str], list[Standing]] = defaultdict(list)
    partial: list[Standing] = []
    for standing in standings:
        if standing.candidates[0].complete:
            run = standing.results[0].run
            groups[-run.protocol.version, run.identity.protocol, run.identity.manifest].append(standing)
        else:
            partial.append(standing)
    sections = []
    for place, key in enumerate(sorted(groups)):
        folder = f"{name}-{key[1][:8]}-{key[2][:8]}" if place else name
        sections.append(_section(folder, groups[key], plugins))
    return Results(name, sections, partial)


def _section(folder: str, standings: Sequence[Standing], plugins: Plugins) -> Section:
    boards, sets = make_boards(standings), make_set_tables(standings)
    by_chance = Ties(plugins)
    ties = {board.title: by_chance.lines(board, Line.overall_score, board.steps) for board in boards}
    ordered = order_standings(boards, sets)
    ordered += [standing for standing in standings if standing not in ordered]
    return Section(folder, ordered, boards, sets, ties)


def gallery_page(folder: str) -> str:
    """Return the path of the page of all clips with pictures, below a folder of pages."""
    return f"{folder}/clips/index.html"


def unique_slugs(texts: Sequence[str]) -> list[str]:
    """Return a name of a file for each text, unique even where upper and lower case are the same."""
    names: list[str] = []
    lowered: set[str] = set()
    for text in texts:
        name, number = slug(text), 2
        while name.lower() in lowered:
            name, number = f"{slug(text)[:90]}-{number}", number + 1
        names.append(name)
        lowered.add(name.lower())
    return names


def _seeds(standing: Standing) -> int:
    return len({seeds_of(result) for result in standing.results})
