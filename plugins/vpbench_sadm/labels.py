"""From the context's label space to the model's classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from vpbench.errors import PredictorError
from vpbench.plugin.clip import IGNORE, LabelSpace
from vpbench.toolkit.labels import LABEL_SPACES


def model_space(source: LabelSpace | None, space: str, classes: int) -> LabelSpace:
    """Return the label space of the model's classes.

    Args:
        source: the context's label space.
        space: the name of the model's, or ``"context"`` for the context's.
        classes: the number of classes that the model has.

    Raises:
        PredictorError: the context has no label space, no mapping into the model's, or another number of classes.
    """
    if source is None:
        raise PredictorError("sadm: the context's labels have no label space; the dataset or annotator must name one")
    if space == "context":
        if len(source) != classes:
            raise PredictorError(
                f"sadm: the model has {classes} classes, but the labels are of {source.name!r}, which has "
                f"{len(source)}: train it with the option classes={len(source)}"
            )
        return source
    if space != source.name and space not in source.into:
        raise PredictorError(
            f"sadm: the model has the classes of {space!r}, but the labels are of {source.name!r}, which has no "
            f"mapping into it: train it with the options space=context and classes={len(source)}"
        )
    return LABEL_SPACES[space]


def into_model(
    labels: Int64[Tensor, "b t h w"], source: LabelSpace, space: LabelSpace, clips: Sequence[str]
) -> Int64[Tensor, "b t h w"]:
    """Map labels of ``source`` to ids of ``space``; 255 stays.

    Raises:
        PredictorError: a label that ``source`` does not have.
    """
    unknown = ((labels < 0) | (labels >= len(source))) & (labels != IGNORE)
    if unknown.any():
        clip = clips[int(unknown.flatten(1).any(dim=1).nonzero()[0])]
        raise PredictorError(
            f"sadm: the label {int(labels[unknown][0])} of {clip} is not among the {len(source)} of {source.name!r} "
            f"(0 to {len(source) - 1}, {IGNORE} for none): check that clip's semantics"
        )
    if source.name == space.name:
        return labels
    table = torch.full((IGNORE + 1,), IGNORE, dtype=torch.int64)
    table[: len(source)] = torch.tensor(source.into[space.name])
    return table.to(labels.device)[labels]


def exchange(space: LabelSpace, names: tuple[str, str]) -> list[int]:
    """Return the ids of the space with two classes, by name, in each other's place (figure 6).

    Raises:
        PredictorError: the space has no such class.
    """
    if missing := [name for name in names if name not in space.names]:
        raise PredictorError(
            f"sadm: swap_classes: {space.name!r} has no class {missing[0]!r}; it has {', '.join(space.names)}"
        )
    ids = list(range(len(space)))
    a, b = (space.names.index(name) for name in names)
    ids[a], ids[b] = b, a
    return ids


def one_hot(labels: Int64[Tensor, "*any h w"], classes: int) -> Float[Tensor, "*any c h w"]:
    """Return the binary masks m_c of the classes; a pixel labelled 255 belongs to none."""
    labelled = labels != IGNORE
    masks = functional.one_hot(torch.where(labelled, labels, 0), classes) * labelled[..., None]
    return masks.movedim(-1, -3).float()
