"""Splits of a user's sequences: by patterns and lists of their names, or by a fraction of them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from vpbench.errors import DataError, did_you_mean
from vpbench.files import read_text

_LIST_BYTES = 2**20


def split_by_patterns(root: Path, patterns: Mapping[str, Sequence[str]], names: Collection[str]) -> dict[str, str]:
    """Return the split of each sequence that a pattern matches.

    Args:
        root: the data root, for messages and lists.
        patterns: by split, names in which ``*`` stands for any text, or ``@FILE``: a list of names in a file.
        names: names of all sequences.

    Raises:
        DataError: a pattern matches no sequence, a list cannot be read, or a sequence has two splits.
    """
    splits: dict[str, str] = {}
    for split, written in patterns.items():
        for pattern, source in _listed(root, written):
            matching = [name for name in names if fnmatchcase(name, pattern)]
            if not matching:
                hint = did_you_mean(pattern, names)
                raise DataError(f"{root}: {split} = {source}{pattern!r} matches no sequence{hint}")
            for name in matching:
                if splits.setdefault(name, split) != split and split != "test":
                    raise DataError(f"{root}: {name} is in {splits[name]} and in {split}: name it in one of them")
    return splits


def split_by_fraction(root: Path, names: Collection[str], fraction: float) -> dict[str, str]:
    """Return ``test`` for sequences whose name hashes below ``fraction``, and ``train`` for all others.

    The lowest hash is always in ``test`` and the highest in ``train``, so that neither is empty. Adding sequences moves
    another one between the splits only while there are few.

    Raises:
        DataError: there are fewer than two sequences.
    """
    if len(names) < 2:
        raise DataError(f"{root}: test_fraction needs at least two sequences, and there is {len(names)}: {min(names)}")
    hashes = {name: hashlib.sha256(name.encode()).digest() for name in names}
    bound = int(fraction * 2**64).to_bytes(8, "big")
    lowest, highest = min(hashes.values()), max(hashes.values())
    return {
        name: "test" if value == lowest or (value[:8] < bound and value != highest) else "train"
        for name, value in hashes.items()
    }


def _listed(root: Path, patterns: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield each pattern, those of lists one by one, and the list that it comes from, for messages."""
    for pattern in patterns:
        if not pattern.startswith("@"):
            yield pattern, ""
            continue
        path = root / pattern[1:]
        try:
            path = path.resolve()
            if not path.is_relative_to(root):
                raise DataError(f"{root}: the list {pattern!r} is not below the data root: put the file there")
            lines = read_text(path, _LIST_BYTES).splitlines()
        except OSError as error:
            raise DataError(f"{path}: the list of sequences cannot be read: {error.strerror}") from error
        except (ValueError, RuntimeError) as error:  # RuntimeError: links in a circle
            raise DataError(f"{path}: the list of sequences cannot be read: {error}") from error
        names = [line.strip() for line in lines if line.strip()]
        if not names:
            raise DataError(f"{path}: the list of sequences is empty; write one name per line")
        yield from ((name, f"{pattern}, line {number}: ") for number, name in enumerate(names, start=1))
