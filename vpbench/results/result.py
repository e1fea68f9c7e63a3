"""A finished result as plain values: what ``vpbench.load`` and ``vpbench.evaluate`` return."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vpbench.errors import ResultError
from vpbench.results.record import read_summary
from vpbench.results.store import Row, Store

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Result", "find_results", "label", "load"]

_DEPTH = 16
_FOLDERS = 100_000


class Result:
    """A result folder, opened for reading."""

    def __init__(self, store: Store) -> None:
        self.store = store

    @property
    def path(self) -> Path:
        """The folder."""
        return self.store.folder

    @property
    def run(self) -> Mapping[str, Any]:
        """The content of ``run.json``."""
        return self.store.run

    @property
    def label(self) -> str:
        """The predictor's name with its preset."""
        return label(self.run["predictor"], self.run["preset"])

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The content of ``summary.json``.

        Raises:
            ResultError: units are missing and no summary was written, or it belongs to another identity.
        """
        path = self.path / "summary.json"
        if not os.path.lexists(path):
            done = len(self.store.published())
            raise ResultError(
                f"{self.path} has no summary: {done} of {self.store.units} units are there; run the same command "
                f"again, or `vpbench merge --allow-partial {self.path}`"
            )
        summary = read_summary(path)
        if summary["identity"] != self.run["identity_hash"]:
            raise ResultError(f"{path} is of another run than run.json; `vpbench merge {self.path}` writes it again")
        return summary

    def at(self, metric: str, step: int) -> float | None:
        """Return the score of one step (1 = t+1); None where it is undefined."""
        return self._value(metric, "per_step", step)

    def mean_to(self, metric: str, step: int) -> float | None:
        """Return the mean of the scores of steps 1 to ``step``; None where it is undefined."""
        return self._value(metric, "mean_to", step)

    def _value(self, metric: str, which: str, step: int) -> float | None:
        summary = self.summary
        if metric not in summary["scores"]:
            reason = summary["skipped"].get(metric, "it was not measured")
            raise ResultError(f"{self.path} has no {metric}: {reason}")
        if step not in summary["steps"]:
            raise ResultError(f"{self.path} has no step {step}: scored are {summary['steps']}")
        values = summary["scores"][metric][which]
        value = values[summary["steps"].index(step)] if values else None
        return None if value is None else float(value)

    def rows(self) -> Iterator[Row]:
        """Yield every row: clip, step, metric, value, status."""
        return self.store.rows()

    def to_dataframe(self) -> pd.DataFrame:
        """Return the rows as a pandas DataFrame (pandas is not a dependency of vpbench: install it)."""
        import pandas as pd

        return pd.DataFrame(list(self.rows()))

    @property
    def training(self) -> str:
        """What is known of the clips that its weights were trained on: ``disjoint`` from these, ``overlap`` with them,
        ``unknown``; ``none`` where a learned predictor was not trained; "" for one that does not learn.
        """
        weights = self.run["weights"]
        return weights["clips"] if weights else ""

    def check(self) -> None:
        """Check that every file is what was published, but for the summary: ``vpbench verify`` computes that again.

        Raises:
            ResultError: names the first file that is not.
        """
        self.store.check_claims()

    def metric_code(self, metric: str) -> str:
        """Return the fingerprint of a metric; "" if its revision vouches for its code, since its plugin is released."""
        code = "" if self.run["metrics"][metric]["released"] else self.run["identity"]["metric_code"][metric]
        return str(code)

    def recordings(self) -> dict[str, str]:
        """Return the recording that each clip was cut from."""
        return {clip: recording for clip, _, recording in self.run["manifest"]}

    def mixed(self) -> list[str]:
        """Return the engines and devices where they are more than one."""
        return self.store.mixed()


def label(predictor: str, preset: str) -> str:
    """Return ``predictor`` or ``predictor-preset``: the name of a result's folder and of a leaderboard's row."""
    return f"{predictor}-{preset}" if preset else predictor


def load(path: str | Path) -> Result:
    """Open a result folder.

    Raises:
        ResultError: it is not one, or of a newer schema.
    """
    return Result(Store.open(Path(path)))


def find_results(root: Path) -> list[Path]:
    """Return every result folder at or below ``root``, sorted; links to folders are not followed.

    Raises:
        ResultError: a folder cannot be listed, or there are too many to look through.
    """
    found: list[Path] = []
    waiting = [(root, 0)]
    looked_at = 0
    while waiting:
        folder, depth = waiting.pop()
        looked_at += 1
        if depth > _DEPTH or looked_at > _FOLDERS:
            raise ResultError(
                f"{root}: more than {_FOLDERS} folders, or {_DEPTH} within each other, lie below it; "
                f"name the folder of the results themselves"
            )
        if os.path.lexists(folder / "run.json"):
            found.append(folder)  # no result lies within another one
            continue
        waiting += [(inner, depth + 1) for inner in _folders(folder)]
    return sorted(found)


def _folders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return [Path(entry) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ResultError(f"{folder} cannot be listed: {error.strerror}") from error
