"""From the context's labels to the model's classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

from vpbench.errors import PredictorError
from vpbench.plugin.clip import IGNORE, LabelSpace
from vpbench.toolkit.labels import LABEL_SPACES

__all__ = ["exchange", "into_model", "model_space", "one_hot"]


def model_space(given: LabelSpace | None, space: str, classes: int) -> LabelSpace:
    """Return the space of the model's classes, for a context whose labels are in ``given``.

    Args:
        given: the context's.
        space: the name of the model's own, or ``"context"``.
        classes: how many classes the model has.

    Raises:
        PredictorError: the context names none, has no mapping into the model's, or has another number of classes.
    """
    if given is None:
        raise PredictorError("sadm: the context's labels have no label space; the dataset or annotator must name one")
    if space == "context":
        if len(given) != classes:
            raise PredictorError(
                f"sadm: made for {classes} classes, and the labels are of {given.name!r}, which has {len(given)}: "
                f"set -o sadm.classes={len(given)} (and train it so)"
            )
        return given
    if space != given.name and space not in given.into:
        raise PredictorError(
            f"sadm: made for the classes of {space!r}, and the labels are of {given.name!r}, which has no mapping into "
            f"it: train with -o sadm.space=context -o sadm.classes={len(given)}"
        )
    return LABEL_SPACES[space]


def into_model(
    labels: Int64[Tensor, "b t h w"], given: LabelSpace, space: LabelSpace, clips: Sequence[str]
) -> Int64[Tensor, "b t h w"]:
    """Return labels of ``given`` as ids of ``space``; 255 stays.

    Raises:
        PredictorError: a label that ``given`` does not have.
    """
    strange = ((labels < 0) | (labels >= len(given))) & (labels != IGNORE)
    if strange.any():
        clip = clips[int(strange.flatten(1).any(dim=1).nonzero()[0])]
        raise PredictorError(
            f"sadm: the label {int(labels[strange][0])} of {clip} is not among the {len(given)} of {given.name!r} "
            f"(0 to {len(given) - 1}, {IGNORE} for none): look at that clip's semantics"
        )
    if given.name == space.name:
        return labels
    table = torch.full((IGNORE + 1,), IGNORE, dtype=torch.int64)
    table[: len(given)] = torch.tensor(given.into[space.name])
    return table.to(labels.device)[labels]


def exchange(space: LabelSpace, names: tuple[str, str]) -> list[int]:
    """Return the ids of the space with two classes, by name, in each other's place.

    Raises:
        PredictorError: the space has no such class.
    """
    ids = list(range(len(space)))
    if missing := [name for name in names if name not in space.names]:
        raise PredictorError(
            f"sadm: swap_classes: {space.name!r} has no class {missing[0]!r}; it has {', '.join(space.names)}"
        )
    a, b = (space.names.index(name) for name in names)
    ids[a], ids[b] = b, a
    return ids


def one_hot(labels: Int64[Tensor, "*any h w"], classes: int) -> Float[Tensor, "*any c h w"]:
    """Return the binary masks of the classes; a pixel labelled 255 is in none."""
    within: Bool[Tensor, "*any h w"] = labels != IGNORE
    masks = functional.one_hot(torch.where(within, labels, 0), classes) * within[..., None]
    return masks.movedim(-1, -3).float()
