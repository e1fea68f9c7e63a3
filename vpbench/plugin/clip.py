"""The data that flows between the harness and its plugins, with shapes, units and ranges.

========= ================ ========================================================================================
modality  shape            meaning
========= ================ ========================================================================================
frames    [B,T,3,H,W]      float32 RGB in [0,1], an 8-bit picture divided by 255
semantics [B,T,H,W]        int64 label ids of a :class:`LabelSpace`; 255 is ignored
flow      [B,T-1,2,H,W]    float32 backward flow in pixels, channel 0 is x: pixel p of a frame comes from p + flow(p)
                           of the *sampled* frame before it
disocclusion [B,T-1,H,W]   bool: what the pixel shows is not visible in the sampled frame before it
camera_flow [B,T-1,2,H,W]  float32: the flow that the pixel would have if what it shows stood still in the world
instances [B,T,H,W]        int64 object ids, 0 is background
========= ================ ========================================================================================

Modalities that a plugin declares (:class:`vpbench.plugin.modality.ModalitySpec`) lie in ``extras``, [B,T,...] or
[B,T-1,...]. A tensor has the declared type, with three exceptions: ``uint8`` resized as frames comes as float32 in
[0,1], integers resized by the nearest pixel as int64, and text as nested tuples of strings. Height and width are the
last axes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

from jaxtyping import Bool, Float, Int64
from torch import Tensor

from vpbench.plugin.modality import Modality

__all__ = [
    "IGNORE",
    "Comparison",
    "Context",
    "Future",
    "LabelSpace",
    "Modality",
    "Prediction",
    "Text",
    "arrays_of",
    "with_arrays",
]

Text = tuple[Any, ...]
"""Strings in nested tuples: by clip, by frame, and by the axes of an entry."""
IGNORE = 255
"""The label id that no metric counts."""

T = TypeVar("T")
Shared = TypeVar("Shared", "Context", "Future")


@dataclass(frozen=True)
class LabelSpace:
    """Named semantic classes: label id i is ``names[i]``, drawn in ``palette[i]`` (RGB, 0 to 255)."""

    name: str
    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    into: Mapping[str, tuple[int, ...]] = field(default_factory=dict, compare=False)
    """Declared mappings: for the name of another space, its id (or 255) for each id of this one."""

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class Context:
    """The part of B clips that a predictor may see: T frames, and the modalities that it declared.

    ``clips`` are the clips' ids. ``future`` is the truth and is given to predictors declared ``oracle`` only.
    ``sample`` is the number of the sample to predict, from 0; generators differ by sample already.
    """

    frames: Float[Tensor, "b t 3 h w"]
    clips: tuple[str, ...]
    semantics: Int64[Tensor, "b t h w"] | None = None
    flow: Float[Tensor, "b t-1 2 h w"] | None = None
    label_space: LabelSpace | None = None
    future: Future | None = None
    extras: Mapping[str, Tensor | Text] = field(default_factory=dict)
    """Every other modality that the predictor declared, by name."""
    sample: int = 0


@dataclass(frozen=True)
class Future:
    """The truth of B clips at the scored ``steps`` (1 = t+1): S of them, usually all from 1 to the horizon."""

    frames: Float[Tensor, "b s 3 h w"]
    steps: tuple[int, ...]
    clips: tuple[str, ...]
    last: Float[Tensor, "b 3 h w"]
    """The last context frame."""
    semantics: Int64[Tensor, "b s h w"] | None = None
    flow: Float[Tensor, "b s 2 h w"] | None = None
    flow_to_last: Float[Tensor, "b s 2 h w"] | None = None
    """Flow from each step straight to the last context frame: only where an oracle asks for it."""
    camera_flow: Float[Tensor, "b s 2 h w"] | None = None
    disocclusion: Bool[Tensor, "b s h w"] | None = None
    instances: Int64[Tensor, "b s h w"] | None = None
    label_space: LabelSpace | None = None
    extras: Mapping[str, Tensor | Text] = field(default_factory=dict)
    """Every other modality that a metric or an oracle needs, by name."""
    _cache: dict[str, object] = field(default_factory=dict, repr=False, compare=False)

    def cached(self, key: str, make: Callable[[], T]) -> T:
        """Return ``make()``, computed once per batch and shared by all metrics and all predictors of a run."""
        return _cached(self._cache, key, make)


@dataclass(frozen=True)
class Prediction:
    """A prediction of steps 1 to K of B clips. Fields that are not predicted are None.

    ``semantics`` are logits or scores [B,K,C,H,W] (float) or label ids [B,K,H,W] (int64) in ``label_space``, by default
    the context's. ``flow`` at step k leads back to step k-1 (step 0 is the last context frame); ``disocclusion`` marks
    what the predictor holds to be newly visible.
    """

    frames: Float[Tensor, "b k 3 h w"] | None = None
    semantics: Float[Tensor, "b k c h w"] | Int64[Tensor, "b k h w"] | None = None
    flow: Float[Tensor, "b k 2 h w"] | None = None
    disocclusion: Bool[Tensor, "b k h w"] | None = None
    label_space: LabelSpace | None = None

    def tensors(self) -> Mapping[str, Tensor]:
        """Return what was predicted, by modality."""
        values = {m: getattr(self, m) for m in ("frames", "semantics", "flow", "disocclusion")}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class Comparison:
    """A prediction and the truth at the scored steps: what a metric measures.

    ``prediction`` has been validated, put into the protocol's value range and cut to ``future.steps``: its step axis
    is that of ``future``.
    """

    prediction: Prediction
    future: Future
    context_frames: Float[Tensor, "b t 3 h w"] | None = None
    """The frames that the predictor saw; for set metrics only."""
    _cache: dict[str, object] = field(default_factory=dict, repr=False, compare=False)

    @property
    def frames(self) -> tuple[Float[Tensor, "b s 3 h w"], Float[Tensor, "b s 3 h w"]]:
        """Return the predicted and the true frames."""
        assert self.prediction.frames is not None  # a metric of frames is not asked where none are predicted
        return self.prediction.frames, self.future.frames

    def cached(self, key: str, make: Callable[[], T]) -> T:
        """Return ``make()``, computed once per prediction and shared by all metrics."""
        return _cached(self._cache, key, make)


def arrays_of(shared: Context | Future) -> dict[str, Tensor | Text]:
    """Return the tensors and the text of a context or a future, named fields and extras alike."""
    return {name: value for name, value in vars(shared).items() if isinstance(value, Tensor)} | dict(shared.extras)


def with_arrays(shared: Shared, arrays: Mapping[str, Tensor | Text], **changes: Any) -> Shared:
    """Return a copy that holds these arrays and no others: as a field where it has one of that name, else as an extra.

    ``changes`` are other fields.
    """
    names = {f.name for f in fields(shared)}
    values: dict[str, Any] = {name: None for name in arrays_of(shared) if name in names}
    values |= {name: array for name, array in arrays.items() if name in names} | changes
    return replace(shared, **values, extras={name: array for name, array in arrays.items() if name not in names})


def _cached(cache: dict[str, object], key: str, make: Callable[[], T]) -> T:
    if key not in cache:
        cache[key] = make()
    return cache[key]  # type: ignore[return-value]
