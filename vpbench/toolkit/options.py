"""Options that predictors share."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field, model_validator


def stated(place: str, value: Any, description: str, **bounds: Any) -> Any:
    """Return a field whose default the paper states.

    Args:
        place: where the paper states it, such as ``section 4.2``. The JSON schema of the options keeps it as ``paper``.
        value: the default.
        description: one line for users.
        bounds: arguments of :func:`pydantic.Field`, such as ``ge=1``.
    """
    return Field(
        default=value, description=f"{description} (paper: {place})", json_schema_extra={"paper": place}, **bounds
    )


class LossWeights(BaseModel):
    """Weights of the terms of :func:`vpbench.toolkit.losses.frame_loss`. Options with that loss derive from this."""

    l1: float = Field(default=0.0, ge=0, description="weight of the mean absolute error in the loss")
    l2: float = Field(default=1.0, ge=0, description="weight of the mean squared error")
    ssim: float = Field(default=0.0, ge=0, description="weight of 1 - SSIM")

    @model_validator(mode="after")
    def _has_a_loss(self) -> LossWeights:
        if not self.l1 + self.l2 + self.ssim > 0:
            raise ValueError("one of the loss's weights l1, l2 and ssim must be above 0")
        return self
