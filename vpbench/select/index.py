"""Print the index of a dataset as a process of its own, which shares no state with the one that asks.

Reads a JSON object on standard input: ``extra`` plugins, ``name``, ``options`` and ``roots``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from vpbench.files import parse_json
from vpbench.output import say
from vpbench.plugin.dataset import Dataset
from vpbench.plugin.loader import load_plugins
from vpbench.select.data import open_dataset


def index_of(dataset: Dataset) -> dict[str, list[list[Any]]]:
    """Return names, frame counts, first and last frames, and stamps of the sequences of every split."""
    return {split: [_entry(sequence) for sequence in dataset.sequences(split)] for split in dataset.info.splits}


def _entry(sequence: Any) -> list[Any]:
    frames = sequence.frames
    ends = [int(frames[0]), int(frames[-1])] if len(frames) else []
    return [sequence.name, len(frames), ends, sequence.stamp, sequence.source]


def _main() -> None:
    request, printed = parse_json(sys.stdin.read()), sys.stdout
    sys.stdout = sys.stderr  # what a plugin prints
    plugins = load_plugins(request["extra"])
    roots = {name: Path(path) for name, path in request["roots"].items()}
    index = index_of(open_dataset(plugins, request["name"], request["options"], roots))
    sys.stdout = printed
    say(json.dumps(index))


if __name__ == "__main__":
    _main()
