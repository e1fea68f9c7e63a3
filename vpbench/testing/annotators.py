"""The checks of an annotator, on windows of synthetic clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vpbench.clips.annotations import annotate
from vpbench.plugin.annotator import Annotator, AnnotatorInfo
from vpbench.plugin.loader import Plugins
from vpbench.plugin.modality import merge_declarations
from vpbench.plugin.process_state import other_randomness, settings_changes
from vpbench.select.component import Component, choose_annotator
from vpbench.select.options import Options
from vpbench.testing.check import BreachError, Check, NotApplicableError, checks_into
from vpbench.testing.components import check_identity, check_options, check_presets, pickled, report_changes
from vpbench.testing.material import Pictures

CHECKS: list[Check[AnnotatorSubject]] = []
"""In the order in which they run."""
_check = checks_into(CHECKS)
_SIZE = (128, 160)
"""Height and width of the frames: networks of flow refuse small ones."""
_SEQUENCE = "test/drawn0"
_ENTRIES = 3
_TOLERANCE = 0.01
"""Mean difference of flow in pixels, or the part of the labels, that batches of other sizes may round otherwise."""


@dataclass(frozen=True)
class AnnotatorSubject:
    """A registered annotator, and what it is tried on."""

    plugins: Plugins
    text: str
    """``NAME[:PRESET]``"""
    options: Options = field(default_factory=dict)

    @cached_property
    def component(self) -> Component:
        """The annotator, built once."""
        return choose_annotator(self.plugins, self.text, self.options)

    @property
    def info(self) -> AnnotatorInfo:
        """Its description."""
        info: AnnotatorInfo = self.component.info
        return info

    @property
    def keys(self) -> list[tuple[int, ...]]:
        """The frames, or pairs of frames, that are annotated."""
        pairwise = self.info.spec.pairwise
        return [(frame, frame + 1) if pairwise else (frame,) for frame in range(_ENTRIES)]

    def windows(self) -> list[dict[str, NDArray[Any]]]:
        """Return the arrays of each entry, newly drawn."""
        dataset = Pictures(_SIZE, self.info.declares)
        specs = merge_declarations({"the annotator": self.info.declares})
        lacking = [m for m in self.info.needs if m not in specs]
        if lacking:
            raise NotApplicableError(f"synthetic clips have no {lacking[0]}")
        needs = sorted({"frames", *self.info.needs})
        return [{m: dataset.read(_SEQUENCE, key, m) for m in needs} for key in self.keys]

    def annotations(self, places: Sequence[int], annotator: Annotator | None = None) -> NDArray[Any]:
        """Return the checked annotations of some entries, in this order (raises DataError)."""
        windows, keys = self.windows(), self.keys
        value: Annotator = annotator or self.component.value
        return annotate(value, [windows[i] for i in places], _SEQUENCE, [keys[i] for i in places], "synthetic clips")

    @cached_property
    def whole(self) -> NDArray[Any]:
        """The annotations of all entries, made once."""
        return self.annotations(range(_ENTRIES))

    def raw(self) -> tuple[Mapping[str, NDArray[Any]], list[str]]:
        """Return the window and the names of a call without the harness's copies."""
        windows = self.windows()
        window = {m: np.stack([window[m] for window in windows]) for m in self.info.needs}
        return window, [f"{_SEQUENCE}@{'-'.join(map(str, key))}" for key in self.keys]


def _agree(first: NDArray[Any], second: NDArray[Any], circumstance: str, advice: str) -> None:
    if first.dtype.kind == "f":
        finite = np.isfinite(first) & np.isfinite(second)
        difference = float(np.abs(first[finite] - second[finite]).mean()) if finite.any() else 0.0
        difference = difference if np.array_equal(np.isfinite(first), np.isfinite(second)) else float("inf")
    else:
        difference = float((first != second).mean())
    if difference > _TOLERANCE:
        raise BreachError(f"{circumstance}: the annotations differ by {difference:.2g} on average. {advice}")


@_check("builds", "The annotator can be built, and its `info` is a `vpbench.AnnotatorInfo`.", gate=True)
def _builds(subject: AnnotatorSubject) -> None:
    assert subject.component.info is not None


@_check("presets", "Every preset can be built.")
def _presets(subject: AnnotatorSubject) -> None:
    check_presets(subject.plugins, "annotator", subject.component.name, choose_annotator)


@_check("options", "Options survive JSON, since results record them so.")
def _options(subject: AnnotatorSubject) -> None:
    check_options(subject.plugins.load("annotator", subject.component.name), subject.component)


@_check("identity", "Two builds have the same values, so that an earlier result is reused.")
def _identity(subject: AnnotatorSubject) -> None:
    check_identity(subject.component, choose_annotator(subject.plugins, subject.text, subject.options))


@_check(
    "output",
    "It returns an entry per frame, or pair, with the declared shape and type; flow is finite.",
    gate=True,
)
def _output(subject: AnnotatorSubject) -> None:
    if subject.whole.dtype.kind == "f" and not np.isfinite(subject.whole).any():
        raise BreachError(f"its {subject.info.gives} has no finite value: NaN may mark unknown values only")


@_check("batch", "The other entries of a batch do not decide about an entry.")
def _batch(subject: AnnotatorSubject) -> None:
    for place in range(_ENTRIES):
        single = subject.annotations([place])
        advice = "Treat each entry separately, and seed random numbers with its name"
        _agree(subject.whole[place], single[0], f"entry {place + 1} of a batch and alone", advice)


@_check("order", "The order of the entries in a batch does not matter.")
def _order(subject: AnnotatorSubject) -> None:
    turned = subject.annotations(list(reversed(range(_ENTRIES))))
    _agree(subject.whole, turned[::-1], "the entries in the opposite order", "Treat each entry separately")


@_check("repeated calls", "A second call with the same entries gives the same annotations.")
def _repeat(subject: AnnotatorSubject) -> None:
    with other_randomness(1):
        first = subject.annotations(range(_ENTRIES))
    with other_randomness(1):
        second = subject.annotations(range(_ENTRIES))
    _agree(first, second, "a second call", "Keep no state between calls, and read no clocks")


@_check("randomness", "Global random states do not decide: random numbers are seeded with the names in `clips`.")
def _randomness(subject: AnnotatorSubject) -> None:
    for seed in (1, 2):
        with other_randomness(seed):
            entries = subject.annotations(range(_ENTRIES))
        advice = "Seed a generator with the name of each entry"
        _agree(subject.whole, entries, "global random states with another seed", advice)


@_check("input", "A call leaves the arrays of the window as they are.")
def _input(subject: AnnotatorSubject) -> None:
    window, names = subject.raw()
    before = {name: array.copy() for name, array in window.items()}
    with torch.inference_mode():
        subject.component.value.annotate(window, names, "cpu")
    if changed := [name for name, array in before.items() if not np.array_equal(array, window[name])]:
        raise BreachError(f"it writes into window[{changed[0]!r}]: copy it first")


@_check("state", "A call leaves settings and random states of the process as they are.")
def _state(subject: AnnotatorSubject) -> None:
    window, names = subject.raw()
    with settings_changes() as changes:
        subject.component.value.annotate(window, names, "cpu")
    report_changes("annotate", changes)


@_check("pickling", "It can be pickled, since reading processes hold copies; the copy annotates the same.")
def _pickling(subject: AnnotatorSubject) -> None:
    entries = subject.annotations(range(_ENTRIES), pickled(subject.component.value))
    _agree(subject.whole, entries, "its pickled copy", "Let __getstate__ hold all that decides")


@_check("device", "It annotates on the GPU that it is asked to use.")
def _device(subject: AnnotatorSubject) -> None:
    if not torch.cuda.is_available():
        raise NotApplicableError("there is no GPU here")
    window, names = subject.raw()
    on_gpu = subject.component.value.annotate(window, names, "cuda")
    _agree(subject.whole, np.asarray(on_gpu), "on a GPU", "Do not let the device decide about values")
