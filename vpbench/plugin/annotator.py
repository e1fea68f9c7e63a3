"""The contract of an annotator: it supplies the optical flow or the semantic maps that a dataset lacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vpbench.plugin.clip import LabelSpace, Modality

__all__ = ["Annotator", "AnnotatorInfo"]


@dataclass(frozen=True)
class AnnotatorInfo:
    """What an annotator needs and gives. For ``semantics`` its label space; None means the dataset's."""

    gives: Modality
    needs: tuple[Modality, ...] = ("frames",)
    label_space: LabelSpace | None = None


@runtime_checkable
class Annotator(Protocol):
    """A class with ``info`` and ``annotate``; optional ``Options``, ``presets``, ``argument`` and ``fingerprint()`` as
    for a predictor.
    """

    @property
    def info(self) -> AnnotatorInfo:
        """What it needs and gives (a class attribute does)."""

    def annotate(self, window: Mapping[str, NDArray[Any]], clip: str) -> NDArray[Any]:
        """Annotate one frame at the protocol's size, or two consecutive sampled ones where ``info.gives`` is of pairs.

        The result depends on nothing else: it is made once and shared by all clips with that frame (that pair).

        Args:
            window: what the dataset has of ``info.needs``, as :meth:`vpbench.plugin.dataset.Dataset.read` gives it;
                N is 1, or 2 (1 where a context of one frame has no pair).
            clip: the id of what is annotated, ``<sequence>@<frame>`` or ``<sequence>@<frame before>-<frame>``:
                whatever is random must follow from it.

        Returns:
            The array of ``info.gives``, in the same layout.
        """
