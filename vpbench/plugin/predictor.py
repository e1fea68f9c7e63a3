"""The contract of a predictor: a model, or a rule, that continues a clip."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch

    from vpbench.plugin.clip import Context, Prediction
    from vpbench.plugin.modality import Modality, ModalitySpec

__all__ = ["Predictor", "PredictorInfo"]


@dataclass(frozen=True)
class PredictorInfo:
    """What the harness must know of a predictor before it runs."""

    outputs: tuple[Modality, ...] = ("frames",)
    """What it predicts. An output that it also ``uses`` is expected only where the context has it."""
    requires: tuple[Modality, ...] = ("frames",)
    """Context modalities without which it cannot run; an annotator may supply what the dataset lacks."""
    uses: tuple[Modality, ...] = ()
    """Context modalities it uses where the dataset or an annotator gives them."""
    declares: tuple[ModalitySpec, ...] = ()
    """The layouts that it expects of modalities that are not built in; data of another layout are refused."""
    stochastic: bool = False
    """Whether several samples per clip differ."""
    horizon: Literal["any"] | int = "any"
    """The longest horizon it can predict."""
    causal: bool = True
    """Whether the first k of K predicted steps equal a prediction of k steps."""
    oracle: bool = False
    """Whether it is shown the truth (``context.future``): a ceiling, never ranked. Its required flow comes as the true
    flow of each step, and as ``flow_to_last`` straight to the last context frame."""
    paper: str = ""
    licence: str = ""
    trained_on: tuple[str, ...] = ()

    def expected(self, available: Collection[str]) -> tuple[Modality, ...]:
        """Return the outputs that must come where the context may hold the ``available`` modalities."""
        return tuple(m for m in self.outputs if m in available or m not in self.uses)


@runtime_checkable
class Predictor(Protocol):
    """A class with ``info`` and ``predict``. Optional members:

    - ``Options``: a pydantic model; the class is then built as ``Class(options=Options(...))``, else as ``Class()``.
    - ``presets``: ``{name: {option: value}}``, chosen with ``-m NAME:PRESET``.
    - ``argument``: the option that the text after the colon fills where it names no preset (``-m saved:DIR``).
    - ``fingerprint()``: returns a text that names all values that decide its predictions (a file's sha256, a version).
      Without it, vpbench hashes every value that the object reaches; an object that cannot be looked into (an open
      file, a session of another runtime) then gets a result of its own in each run. Code and weights are hashed anyway.
    - being a ``torch.nn.Module``: moved to the run's device, its parameters counted by ``vpbench show``.
    """

    @property
    def info(self) -> PredictorInfo:
        """What the harness must know before it runs (a class attribute does)."""

    def predict(self, context: Context, horizon: int, generators: Sequence[torch.Generator]) -> Prediction:
        """Continue B clips for ``horizon`` steps.

        Args:
            context: T frames of B clips, on the run's device.
            horizon: K, the number of steps to predict.
            generators: one CPU generator per clip, seeded from (run seed, clip id, sample): draw all noise from it.

        Returns:
            Steps 1 to K; frames in [0,1] (1e-4 beyond is clamped and counted, more fails).
        """
