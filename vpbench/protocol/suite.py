"""The suite: data, not code. A validated TOML value that lists predictors and the protocols to evaluate them on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import ConfigDict, Field, PrivateAttr, TypeAdapter, model_validator

from vpbench.errors import UsageError, did_you_mean
from vpbench.files import read_toml
from vpbench.names import Selector
from vpbench.plugin.training import Recipe
from vpbench.protocol.protocol import MAX_SAMPLES, ProtocolName, Seed
from vpbench.validation import Strict, parse_document

_RECIPE = {
    name: TypeAdapter[Any](annotation, config=ConfigDict(strict=True))
    for name, annotation in get_type_hints(Recipe).items()
}


Names = Annotated[tuple[str, ...], Field(min_length=1, strict=False)]
Seeds = Annotated[tuple[Seed, ...], Field(min_length=1, strict=False)]
Samples = Annotated[int, Field(ge=1, le=MAX_SAMPLES)]


class Entry(Strict):
    """One predictor of a suite, in one form; fields that are left out are the suite's."""

    name: str = Field(min_length=1)
    """``NAME`` or ``NAME:PRESET``."""
    options: dict[str, Any] = Field(default_factory=dict)
    weights: str = ""
    """A file of weights; another way to set the option of that name."""
    train: bool | dict[str, Any] = False
    """Whether ``vpbench train`` makes the weights, per protocol and seed; or so, with other values of the recipe."""
    protocols: Names | None = None
    """The protocols of the suite that it is evaluated on."""
    seeds: Seeds | None = None
    samples: Samples | None = None
    annotate: dict[str, str] = Field(default_factory=dict)
    """Annotators by modality, which replace data of the dataset."""

    @model_validator(mode="after")
    def _weights_from_one_place(self) -> Entry:
        places = {"weights": self.weights, "train": self.train is not False, "options": "weights" in self.options}
        if len(named := [name for name, value in places.items() if value]) > 1:
            raise ValueError(f"{self.name}: weights come from one place, not from both {named[0]} and {named[1]}")
        if isinstance(self.train, dict):
            for name, value in self.train.items():
                if name not in _RECIPE:
                    raise ValueError(f"{self.name}: train: a recipe has no {name!r}{did_you_mean(name, _RECIPE)}")
                _RECIPE[name].validate_python(value)
            Recipe(**self.train)
            if {"epochs", "steps"} <= set(self.train):
                raise ValueError(f"{self.name}: train: either epochs or steps says how long")
        return self

    @property
    def selector(self) -> Selector:
        """The predictor and its preset."""
        return Selector.parse(self.name)

    @property
    def label(self) -> str:
        """The name and everything that differs from the suite's other entries."""
        values = {**self.options, **self.annotate}
        values |= {"weights": self.weights} if self.weights else {}
        values |= {"samples": self.samples} if self.samples else {}
        return " ".join([self.name, *(f"{name}={value}" for name, value in values.items())])


@dataclass(frozen=True, eq=False)
class Job:
    """One entry on one protocol with one seed: one result, and where the entry is trained one training."""

    protocol: str
    """A name, or a path."""
    entry: Entry
    seed: int
    samples: int
    folder: Path
    """The folder that relative paths of the entry start from."""
    annotate: Mapping[str, str]
    """The suite's annotators, for what the dataset lacks and the predictor requires."""

    @property
    def label(self) -> str:
        """The entry's label, and the seed where it is not 0."""
        return f"{self.entry.label} seed {self.seed}" if self.seed else self.entry.label


class Suite(Strict):
    """Predictors and protocols, and how each is evaluated. Relative paths start from the suite's file."""

    schema_: Literal[1] = Field(alias="schema")
    name: ProtocolName
    summary: str = ""
    source: str = ""
    notes: tuple[str, ...] = Field(default=(), strict=False)
    protocols: Names
    predictors: tuple[Entry, ...] = Field(min_length=1, strict=False)
    seeds: Seeds = (0,)
    samples: Samples = 1
    annotate: dict[str, str] = Field(default_factory=dict)
    """Annotators by modality, for what a dataset lacks and a predictor requires; a protocol's own come first."""
    _folder: Path = PrivateAttr(default=Path())

    @model_validator(mode="after")
    def _entries_narrow(self) -> Suite:
        for entry in self.predictors:
            for name in entry.protocols or ():
                if name not in self.protocols:
                    hint = did_you_mean(name, self.protocols)
                    raise ValueError(f"{entry.name}: {name!r} is not among the suite's protocols{hint}")
        return self

    @classmethod
    def read(cls, path: Path) -> Suite:
        """Read a TOML file.

        Raises:
            UsageError: it cannot be read, is not TOML or not a suite.
        """
        suite = parse_document(cls, read_toml(path, "suite file"), f"suite file {path}", UsageError)
        suite._folder = path.parent
        return suite

    def narrowed(self, protocols: Sequence[str], predictors: Sequence[str]) -> Suite:
        """Return the suite with these protocols and predictors only; an empty sequence selects all.

        ``NAME`` takes every entry of that predictor, ``NAME:PRESET`` those of that preset. A protocol's file is named
        by a path that starts here.

        Raises:
            UsageError: one that the suite does not have, or nothing is left.
        """
        places = {_resolved(_path(self._folder, text)): text for text in self.protocols}
        selected = {places[_resolved(text)] for text in protocols if _resolved(text) in places}
        if unknown := [text for text in protocols if _resolved(text) not in places]:
            raise UsageError(f"suite {self.name}: no protocol {unknown[0]!r}{did_you_mean(unknown[0], self.protocols)}")
        forms = {form for entry in self.predictors for form in (entry.name, entry.selector.name)}
        if unknown := [text for text in predictors if text not in forms]:
            raise UsageError(f"suite {self.name}: no predictor {unknown[0]!r}{did_you_mean(unknown[0], forms)}")
        narrow = self.model_copy(
            update={
                "protocols": tuple(p for p in self.protocols if not protocols or p in selected),
                "predictors": tuple(
                    entry
                    for entry in self.predictors
                    if not predictors or {entry.name, entry.selector.name} & set(predictors)
                ),
            }
        )
        if not narrow.jobs():
            raise UsageError(f"suite {self.name}: it evaluates none of these predictors on any of these protocols")
        return narrow

    def jobs(self, seed: int | None = None, samples: int | None = None) -> list[Job]:
        """Return every job, protocol by protocol; ``seed`` and ``samples`` override those of the suite."""
        return [
            Job(
                _path(self._folder, name),
                entry,
                entry_seed,
                samples or entry.samples or self.samples,
                self._folder,
                self.annotate,
            )
            for name in self.protocols
            for entry in self.predictors
            if entry.protocols is None or name in entry.protocols
            for entry_seed in ((seed,) if seed is not None else entry.seeds or self.seeds)
        ]


def _path(folder: Path, protocol: str) -> str:
    return str(folder / protocol) if protocol.endswith(".toml") else protocol


def _resolved(protocol: str) -> str:
    return str(Path(protocol).resolve()) if protocol.endswith(".toml") else protocol
