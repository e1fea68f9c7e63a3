"""The contract of a predictor: a model, or a rule, that continues a clip."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

from vpbench.errors import PluginError, did_you_mean
from vpbench.plugin.members import Configurable
from vpbench.plugin.modality import Modality, ModalitySpec, check_modalities

if TYPE_CHECKING:
    import torch

    from vpbench.plugin.clip import Context, Prediction

_OUTPUTS = ("frames", "semantics", "flow", "disocclusion")
"""Fields of :class:`vpbench.Prediction`."""


@dataclass(frozen=True)
class PredictorInfo:
    """Describe a predictor."""

    outputs: tuple[Modality, ...] = ("frames",)
    """Its outputs. An output that it also ``uses`` is expected only where the context has it."""
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
    context: int | tuple[int, int | None] = (1, None)
    """The number of context frames that it accepts: exactly n, or (least, most); None is no limit."""
    size: Literal["any"] | int | tuple[int, int] = "any"
    """The frame sizes that it accepts: ``"any"``, sides that are multiples of n, or (height, width) alone. A predictor
    that pads frames itself accepts any size."""
    causal: bool = True
    """Whether the first k of K predicted steps equal a prediction of k steps."""
    oracle: bool = False
    """Whether it is shown the truth (``context.future``): a ceiling, never ranked. Its required flow comes as the true
    flow of each step, and as ``flow_to_last`` straight to the last context frame."""
    paper: str = ""
    licence: str = ""
    trained_on: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check what runs rely on.

        Raises:
            PluginError: names the field, what it must be, and its value.
        """
        check_modalities(self, "outputs", "requires", "uses", "declares", "trained_on")
        if unknown := [name for name in self.outputs if name not in _OUTPUTS]:
            hint = did_you_mean(unknown[0], _OUTPUTS)
            raise PluginError(f"PredictorInfo: outputs: a prediction holds no {unknown[0]!r}{hint}")
        low, high = self._context_limits()
        if not _is_count(low) or not (high is None or (_is_count(high) and low <= high)):
            raise PluginError(f"PredictorInfo: context must be n or (least, most), 1 or more, not {self.context!r}")
        if self.horizon != "any" and not _is_count(self.horizon):
            raise PluginError(f'PredictorInfo: horizon must be "any" or 1 or more, not {self.horizon!r}')
        sides = self.size if isinstance(self.size, tuple) and len(self.size) == 2 else (self.size,)
        if self.size != "any" and not all(map(_is_count, sides)):
            raise PluginError(f'PredictorInfo: size must be "any", n or (height, width), not {self.size!r}')

    def _context_limits(self) -> tuple[int, int | None]:
        if isinstance(self.context, tuple) and len(self.context) == 2:
            return self.context
        return self.context, self.context

    def misfit(self, context: int, size: tuple[int, int] | None) -> str:
        """Return why it cannot continue clips of ``context`` frames of (height, width), or "" if it can.

        A size of None is unknown before the run, and fits.
        """
        low, high = self._context_limits()
        if context < low or (high is not None and context > high):
            limits = f"{low} or more" if high is None else f"{low} to {high}" if low < high else f"{low}"
            return f"it takes {limits} context frames, not {context}"
        if size is None or self.size == "any":
            return ""
        if isinstance(self.size, tuple):
            return "" if size == self.size else f"it takes frames of {_text(self.size)}, not {_text(size)}"
        fits = size[0] % self.size == 0 == size[1] % self.size
        return "" if fits else f"it takes frames whose sides are multiples of {self.size}, not {_text(size)}"

    def expected(self, available: Collection[str]) -> tuple[Modality, ...]:
        """Return the outputs that must come where the context may hold the ``available`` modalities."""
        return tuple(m for m in self.outputs if m in available or m not in self.uses)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


@runtime_checkable
class Predictor(Protocol):
    """Continue clips: a class with ``info`` and ``predict``. :class:`BasePredictor` declares the optional members.

    A ``torch.nn.Module`` is moved to the run's device, and ``vpbench show`` counts its parameters.
    """

    @property
    def info(self) -> PredictorInfo:
        """The predictor's description; a class attribute suffices."""

    def predict(self, context: Context, horizon: int, generators: Sequence[torch.Generator]) -> Prediction:
        """Continue B clips for ``horizon`` steps.

        Args:
            context: T frames of B clips, on the run's device.
            horizon: K, the number of steps to predict.
            generators: one CPU generator per clip, seeded from (run seed, clip id, sample): draw all noise from it.

        Returns:
            Steps 1 to K; frames in [0,1] (1e-4 beyond is clamped and counted, more fails).
        """


class BasePredictor(Configurable):
    """Declare the optional members of a predictor, with their defaults.

    Example:
        >>> class Repeat(vpbench.BasePredictor):
        ...     info = vpbench.PredictorInfo()
        ...     def predict(self, context, horizon, generators):
        ...         return vpbench.Prediction(frames=context.frames[:, -1:].repeat(1, horizon, 1, 1, 1))
    """

    info: PredictorInfo
    shipped: ClassVar[Mapping[str, str]] = {}
    """Presets with weights, by the name of the protocol that they fit. A run that names no preset and no weights takes
    them. Such a preset is ``{"weights": PATH}``, with the path of a file in the plugin's package."""

    @classmethod
    def protocol_options(cls, protocol: Any) -> Mapping[str, Any]:
        """Return option values that follow from a :class:`vpbench.Protocol`, such as its number of context frames.

        They replace the defaults of ``Options``; presets, weights and users override them.
        """
        return {}

    def inference_parts(self) -> Mapping[str, torch.nn.Module] | None:
        """Return the parts that inference uses, without discriminators for example. None means all parts."""
        return None

    def adapt_state_dict(self, state_dict: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """Return weights of another program under the predictor's names and layouts. vpbench's are never adapted."""
        return state_dict
