"""The names of tensors in other people's checkpoints: prefixes of wrappers, and what a user renames."""

from __future__ import annotations

from collections import ChainMap, Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vpbench.errors import UsageError
from vpbench.output import brief

Names = dict[str, str]
"""The name of each tensor after renaming, by its name before."""
_WRAPPERS = ("module.", "_orig_mod.")
"""Prefixes of DataParallel and torch.compile."""


def unwrapped(names: Names) -> Names:
    """Return names without the prefixes of DataParallel and torch.compile that all of them have."""
    while prefix := next((p for p in _WRAPPERS if all(_after(p, name) for name in names.values())), ""):
        names = {old: _after(prefix, new) for old, new in names.items()}
    return names


def within(names: Names, module: str) -> Names:
    """Return the names of a module's tensors, relative to it."""
    prefix = module.removesuffix(".") + "."
    return {old: tail for old, new in names.items() if (tail := _after(prefix, new))}


def _after(prefix: str, name: str) -> str:
    """Return what follows a prefix in a name; "" if the name does not begin with it."""
    return name[len(prefix) :] if name.startswith(prefix) else ""


def renamed(names: Names, file: Path, strip: Sequence[str], rename: Mapping[str, str], add: Sequence[str]) -> Names:
    """Return other names: prefixes stripped, then names replaced, then prefixes added.

    Args:
        names: as in the file, and what became of them so far.
        file: for messages.
        strip: prefixes. One that ends a part of a name takes the dot with it: ``backbone`` means ``backbone.``.
        rename: new names by old ones; of a tensor, or of a module for all tensors in it.
        add: prefixes, taken as they are.

    Raises:
        UsageError: no name begins so, or two tensors end with one name.
    """
    for prefix in strip:
        names = unwrapped(names | _stripped(names, prefix, file))
    changes = [_replaced(names, old, new, file) for old, new in rename.items()]
    names = dict(ChainMap(*reversed(changes), names))
    names = {name: "".join(add) + new for name, new in names.items()}
    twice = next((new for new, count in Counter(names.values()).items() if count > 1), None)
    if twice is not None:
        sources = [brief(name) for name, new in names.items() if new == twice][:2]
        raise UsageError(f"{file}: {sources[0]} and {sources[1]} would both be named '{brief(twice)}'")
    return names


def _stripped(names: Names, prefix: str, file: Path) -> Names:
    """Return names that change. A prefix may begin a name in the file too, of which some was stripped before."""
    for candidate in dict.fromkeys((prefix.removesuffix(".") + ".", prefix)):
        rests = {old: (_after(candidate, new), _after(candidate, old)) for old, new in names.items()}
        changed = {k: new or min(old, names[k], key=len) for k, (new, old) in rests.items() if new or old}
        if changed:
            return changed
    raise UsageError(f"cannot strip {brief(prefix)!r}: {_unmatched(names, file)}")


def _replaced(names: Names, old: str, new: str, file: Path) -> Names:
    """Return names that change: of one tensor, or of those of a module. Names in the file will do too."""
    old, new = old.removesuffix("."), new.removesuffix(".")
    rests = {key: _after(f"{old}.", name) or _after(f"{old}.", key) for key, name in names.items()}
    changed = {key: f"{new}.{tail}" for key, tail in rests.items() if tail}
    changed |= {key: new for key, name in names.items() if old in (name, key)}
    if not changed:
        raise UsageError(f"cannot rename {brief(old)!r}: {_unmatched(names, file)}")
    return changed


def _unmatched(names: Names, file: Path) -> str:
    return f"no tensor's name in {file} begins so; names begin with {listed(first_parts(names))}"


def first_parts(names: Names) -> Counter[str]:
    """Return the first parts of names, with their numbers of tensors."""
    return Counter(name.partition(".")[0] for name in names.values())


def modules(names: Names) -> Counter[str]:
    """Return the modules in which names first differ, with their numbers of tensors."""
    split = [new.split(".") for new in names.values()]
    depth = 0
    while all(len(path) > depth + 1 and path[depth] == split[0][depth] for path in split):
        depth += 1
    return Counter(".".join(path[: depth + 1]) for path in split if len(path) > depth + 1)


def listed(names: Iterable[Any]) -> str:
    """Return the first of some names, and how many more there are."""
    texts = [brief(name) if isinstance(name, str) else f"a {type(name).__name__}" for name in names]
    return ", ".join(texts[:8]) + (f" and {len(texts) - 8} more" if len(texts) > 8 else "")


def counted(count: int) -> str:
    """Return a number of tensors in words."""
    return f"{count} tensor{'' if count == 1 else 's'}"
