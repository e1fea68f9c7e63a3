"""The contract of an annotator: it supplies a modality that a dataset lacks, such as optical flow or semantic maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from vpbench.errors import PluginError
from vpbench.plugin.members import Configurable
from vpbench.plugin.modality import Modality, ModalitySpec, check_modalities, merge_declarations

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from vpbench.plugin.clip import LabelSpace

FLOW_STEPS: Final = 64
"""Annotated flow is rounded to so many steps per pixel, as in KITTI's files: by 1/128 pixel at most."""


@dataclass(frozen=True)
class AnnotatorInfo:
    """Describe an annotator.

    Raises:
        PluginError: ``gives`` is neither built in nor declared.
    """

    gives: Modality
    """The modality that it makes, in contexts only; truth is never annotated."""
    needs: tuple[Modality, ...] = ("frames",)
    """The dataset's modalities that it looks at."""
    label_space: LabelSpace | None = None
    """Names the classes of the ``semantics`` that it gives; None: those of the dataset."""
    declares: tuple[ModalitySpec, ...] = ()
    """``gives``, where it is not built in."""

    def __post_init__(self) -> None:
        """Check that the modality is declared."""
        check_modalities(self, "needs", "declares")
        if self.gives not in merge_declarations({"the annotator": self.declares}):
            raise PluginError(f"the annotator does not declare the modality {self.gives!r}: add a ModalitySpec")

    @property
    def spec(self) -> ModalitySpec:
        """The declaration of what it gives."""
        return merge_declarations({"the annotator": self.declares})[self.gives]


@runtime_checkable
class Annotator(Protocol):
    """Annotate frames: a class with ``info`` and ``annotate``.

    :class:`BaseAnnotator` declares the optional members.
    """

    @property
    def info(self) -> AnnotatorInfo:
        """The modalities that it needs and gives; a class attribute suffices."""

    def annotate(self, window: Mapping[str, NDArray[Any]], clips: Sequence[str], device: str) -> NDArray[Any]:
        """Annotate B frames, or B pairs of consecutive sampled frames if the modality is pairwise.

        All clips with such a frame, or pair, share its annotation. It must follow from its own arrays and name, not
        from the others of the batch; on a GPU, up to rounding.

        Args:
            window: the arrays of ``info.needs`` at the protocol's size, [B,N,...]. N is 1 for frames. For pairs, N is 2
                (1 for a pairwise modality). Other axes are as in :meth:`vpbench.plugin.dataset.Dataset.read`.
            clips: B names, ``<sequence>@<frame>`` or ``<sequence>@<frame before>-<frame>``. Seed every random number
                with the name.
            device: where a network runs, such as ``"cpu"`` or ``"cuda:0"``.

        Returns:
            B entries of ``info.gives``, in the layout of ``Dataset.read``. The harness rounds flow to 1/64 pixel.
        """


class BaseAnnotator(Configurable):
    """Declare the optional members of an annotator, with their defaults.

    Example:
        >>> class Still(vpbench.BaseAnnotator):
        ...     info = vpbench.AnnotatorInfo(gives="flow")
        ...     def annotate(self, window, clips, device):
        ...         return np.zeros((len(clips), *window["frames"].shape[2:4], 2), np.float32)
    """

    info: AnnotatorInfo

    def obtain_weights(self) -> Sequence[Path]:
        """Download the weights that are not here yet, and return the files of all weights.

        Raises:
            DataError: weights cannot be downloaded, or are broken.
        """
        return ()
