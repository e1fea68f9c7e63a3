"""Declare modalities: what a dataset has of each frame, or of each pair of sampled frames.

Six are built in. A plugin declares further ones (actions, depth, text), and the harness carries them without knowing
them: it reads, crops, resizes, stores and batches them as their declaration says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from vpbench.errors import PluginError

Modality = str
"""The name of a modality."""

_DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64", "text")
_RESIZED = {"frames": ("uint8", "float32"), "flow": ("float32",)}
"""The types whose pixels a filter can mix."""
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_RESERVED = frozenset({"clips", "extras", "flow_to_last", "future", "label_space", "last", "steps"})
"""Other fields of a context or a future."""


@dataclass(frozen=True)
class ModalitySpec:
    """Declare the array that a dataset or an annotator gives of a modality.

    Raises:
        PluginError: a name, a type or a way to resize that does not exist, or types that do not go together.

    Example:
        >>> ModalitySpec("actions", "float32", (7,)).layout
        'float32 [N,7]'
        >>> ModalitySpec("depth", "float32", pixels="nearest").layout
        'float32 [N,H,W]'
    """

    name: str
    dtype: str
    """A type of numpy, or ``text`` for strings."""
    shape: tuple[int, ...] = ()
    """The axes of one entry; with ``pixels``, those after its height and width."""
    pixels: Literal["frames", "nearest", "flow"] | None = None
    """How a crop and a resize treat an entry [H,W,...]: with the protocol's filter, as frames; by the nearest pixel; as
    vectors in pixels, which are scaled, too. None: an entry has no pixels, and stays as it is.
    """
    pairwise: bool = False
    """Whether an entry belongs to a frame and the sampled frame before it: T frames then have T-1 entries."""

    def __post_init__(self) -> None:
        """Check the declaration."""
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name) or self.name in _RESERVED:
            raise PluginError(f"modality {self.name!r}: choose another name, of small letters, digits and _")
        if not isinstance(self.shape, tuple) or not all(type(size) is int and size >= 1 for size in self.shape):
            raise PluginError(
                f"modality {self.name!r}: shape must be a tuple of numbers of 1 or more, not {self.shape}"
            )
        if self.dtype not in _DTYPES:
            raise PluginError(f"modality {self.name!r}: dtype {self.dtype!r} is none of {', '.join(_DTYPES)}")
        if self.pixels not in (None, "frames", "nearest", "flow"):
            raise PluginError(
                f"modality {self.name!r}: pixels must be frames, nearest, flow or None, not {self.pixels!r}"
            )
        resized = _RESIZED.get(self.pixels or "", _DTYPES[:-1] if self.pixels else _DTYPES)
        if self.dtype not in resized or (self.pixels == "flow" and self.shape != (2,)):
            raise PluginError(f"modality {self.name!r}: {self.layout} cannot be resized as {self.pixels!r}")

    @property
    def layout(self) -> str:
        """The type and shape of the array that N entries make."""
        axes = ["N", *(["H", "W"] if self.pixels else []), *map(str, self.shape)]
        return f"{self.dtype} [{','.join(axes)}]"

    def count(self, frames: int) -> int:
        """Return how many entries a window of that many frames has."""
        return max(0, frames - 1) if self.pairwise else frames


BUILT_IN: Mapping[str, ModalitySpec] = {
    spec.name: spec
    for spec in (
        ModalitySpec("frames", "uint8", (3,), pixels="frames"),
        ModalitySpec("semantics", "uint8", pixels="nearest"),
        ModalitySpec("flow", "float32", (2,), pixels="flow", pairwise=True),
        ModalitySpec("camera_flow", "float32", (2,), pixels="flow", pairwise=True),
        ModalitySpec("disocclusion", "bool", pixels="nearest", pairwise=True),
        ModalitySpec("instances", "int32", pixels="nearest"),
    )
}


def check_modalities(info: object, *fields: str) -> None:
    """Check that fields of a plugin's info hold tuples of names, and ``declares`` a tuple of declarations.

    Raises:
        PluginError: names the field and its value; a name alone is no tuple.
    """
    for field in fields:
        value, kind = getattr(info, field), ModalitySpec if field == "declares" else str
        if not isinstance(value, tuple) or not all(isinstance(item, kind) for item in value):
            example = "vpbench.ModalitySpec" if field == "declares" else 'names, such as ("frames",)'
            raise PluginError(f"{type(info).__name__}: {field} must be a tuple of {example}, not {value!r}")


def merge_declarations(declarations: Mapping[str, Iterable[ModalitySpec]]) -> dict[str, ModalitySpec]:
    """Return all declared modalities by name, the built-in ones among them.

    Args:
        declarations: by who declares them, for messages.

    Raises:
        PluginError: one name is declared in two ways; names both.
    """
    specs = dict(BUILT_IN)
    authors = dict.fromkeys(BUILT_IN, "vpbench")
    for author, declared in declarations.items():
        for spec in declared:
            first = specs.setdefault(spec.name, spec)
            if first != spec:
                raise PluginError(
                    f"{author} declares the modality {spec.name!r} as {_described(spec)}, {authors[spec.name]} as "
                    f"{_described(first)}: rename it in one of them"
                )
            authors.setdefault(spec.name, author)
    return specs


def _described(spec: ModalitySpec) -> str:
    kind = "pair" if spec.pairwise else "frame"
    return f"{spec.layout} per {kind}" + (f", resized as {spec.pixels!r}" if spec.pixels else "")
