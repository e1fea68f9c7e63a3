"""Write bundles: a finished result with compressed rows and a card, without names of machines and folders.

A bundle is a result folder like any other::

    run.json, summary.json     as the run wrote them
    card.json                  the statements of the authors; results of this repository have none
    units/000017.jsonl.gz      the rows of 16 clips
    features/000017.safetensors   vectors of set metrics
    attempts/00.json           processes that published units, without host, process number and command line
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from vpbench.errors import ResultError
from vpbench.files import UNIT, write_atomic, write_errors, zip_bytes
from vpbench.names import below
from vpbench.results.card import CARD, Card
from vpbench.results.costs import costs_of, write_cost
from vpbench.results.reading import read_bytes, read_text
from vpbench.results.records import AttemptRecord
from vpbench.results.result import Result, find_results, load
from vpbench.results.store import Store


def bundle_folder(root: Path, result: Result) -> Path:
    """Return the place of a result's bundle below a folder."""
    return below(root, result.run.protocol.name, result.label, result.run.identity_hash[:12])


def write_bundle(result: Result, root: Path, card: Card | None = None) -> Path:
    """Write the bundle of a result below a folder and return its place; the same result gives the same bytes.

    Without ``card``, the result's own card is copied if it has one.

    Raises:
        ResultError: a file of the result cannot be read, or the folder cannot be written.
    """
    store, folder = result.store, bundle_folder(root, result)
    for name in ("run.json", "summary.json"):
        write_atomic(folder / name, read_text(result.path / name, UNIT))
    if card is not None:
        write_atomic(folder / CARD, json.dumps(card.to_json(), indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    elif os.path.lexists(result.path / CARD):
        write_atomic(folder / CARD, read_text(result.path / CARD, UNIT))
    for number in store.published():
        rows = read_text(store.unit_path(number), UNIT).encode()
        write_atomic(folder / "units" / f"{number:06d}.jsonl.gz", zip_bytes(rows))
        if (features := store.features_path(number)).exists():
            write_atomic(folder / "features" / features.name, read_bytes(features, UNIT))
    for name, text in public_attempts(store).items():
        write_atomic(folder / "attempts" / name, text)
    return folder


def public_attempts(store: Store) -> dict[str, str]:
    """Return the records of the processes that published units by file, without names of machines and folders."""
    published = [attempt for attempt in store.attempts() if attempt.units]
    digits = max(2, len(str(len(published) - 1)))  # names in the order of numbers: a bundle of a bundle is equal
    texts = [json.dumps(_public(attempt).to_json(), indent=1, sort_keys=True) + "\n" for attempt in published]
    return {f"{number:0{digits}d}.json": text for number, text in enumerate(texts)}


def _public(attempt: AttemptRecord) -> AttemptRecord:
    return attempt.model_copy(update={"host": "", "pid": 0, "command": ()})


def publish_bundle(result: Result, root: Path, card: Card) -> Path:
    """Write a bundle whole or not at all, as :func:`write_bundle`; an earlier one of the same bytes stays.

    Raises:
        ResultError: as :func:`write_bundle`, or its place holds something else.
    """
    folder = bundle_folder(root, result)
    with write_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=".bundle-") as scratch:
            written = write_bundle(result, Path(scratch), card)
            if os.path.lexists(folder):
                if _content(folder) == _content(written):
                    return folder
                raise ResultError(f"{folder} exists and holds something else: remove it, or choose another folder")
            folder.parent.mkdir(parents=True, exist_ok=True)
            written.rename(folder)
    return folder


def _content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def archive_results(roots: Sequence[Path], archive: Path, *, add: bool = False) -> list[Path]:
    """Copy every result below some folders into an archive as bundles, with its costs; return the new folders.

    Costs that the archive has of a copied result's predictor and weights stay, unless they were measured again.

    Args:
        roots: folders of results.
        archive: where they are copied to.
        add: keep earlier results of the same predictor and preset.

    Raises:
        ResultError: there is none, one is not complete, or a folder shares results with the archive.
    """
    if shared := [root for root in roots if _share(root.resolve(), archive.resolve())]:
        raise ResultError(f"{shared[0]} and the archive {archive} contain one another: name another folder of results")
    results = [load(folder) for root in roots for folder in find_results(root)]
    if not results:
        raise ResultError("no result lies below these folders: name a folder that `vpbench run` wrote")
    for result in results:
        if result.summary.partial:
            raise ResultError(f"{result.path} is partial ({result.summary.partial_reason}): run it on all clips")
        result.store.check_claims()
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix=f".{archive.name}-") as new:
        copies = [write_bundle(result, Path(new)).relative_to(new) for result in results]
        places = [archive / copied for copied in copies], [result.path for result in results]  # the newer ones last
        costs = [
            record
            for folders in places
            for folder, result in zip(folders, results, strict=True)
            for record in costs_of(folder, result.run)
        ]
        for folder in {copied if add else copied.parent for copied in copies}:
            shutil.rmtree(archive / folder, ignore_errors=True)
            (archive / folder).parent.mkdir(parents=True, exist_ok=True)
            (Path(new) / folder).rename(archive / folder)
    for record in costs:
        write_cost(archive, record)
    return [archive / copied for copied in copies]


def _share(root: Path, archive: Path) -> bool:
    return root.is_relative_to(archive) or archive.is_relative_to(root)
