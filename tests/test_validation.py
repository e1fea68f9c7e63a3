"""Arguments of public functions: a wrong one is named, in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError, field_validator

from vpbench.errors import UsageError
from vpbench.validation import Strict, checked_arguments, validation_line


@checked_arguments
def draw(
    name: str,
    *,
    clips: Annotated[int, Field(ge=1)] | None = None,
    rate: float = 1.0,
    metrics: Sequence[str] = (),
    out: str | Path = "results",
    device: Literal["cpu", "cuda"] = "cpu",
    options: Mapping[str, Mapping[str, object]] | None = None,
):
    """Draw."""
    return name, clips, metrics


def test_right_arguments_arrive_as_they_are():
    metrics = ["mse"]
    name, clips, arrived = draw("x", clips=2, metrics=metrics, rate=2, out=Path("r"), options={"x": {"y": 1}})
    assert (name, clips) == ("x", 2)
    assert arrived is metrics
    assert draw.__name__ == "draw" and draw.__doc__ == "Draw."


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"clips": "3"}, r"^draw\(clips='3'\): Input should be a valid integer$"),
        ({"clips": True}, r"^draw\(clips=True\): Input should be a valid integer$"),
        ({"clips": 0}, r"^draw\(clips=0\): Input should be greater than or equal to 1$"),
        ({"rate": float("nan")}, r"^draw\(rate=nan\): Input should be a finite number$"),
        ({"metrics": "mse"}, r"^draw\(metrics='mse'\): 'str' instances are not allowed"),
        ({"metrics": [1]}, r"^draw\(metrics=\[1\]\): 0: Input should be a valid string$"),
        ({"device": "gpu"}, r"^draw\(device='gpu'\): Input should be 'cpu' or 'cuda'$"),
        ({"options": {"x": 1}}, r"^draw\(options=.*: x: Input should be a valid dictionary$"),
        ({"out": 3}, r"^draw\(out=3\): "),
        ({"name": "a\n" * 400, "out": None}, r"^draw\(out=None\): "),
        ({"clip": 1}, r"^draw has no argument 'clip'; did you mean 'clips'\?$"),
    ],
)
def test_a_wrong_argument_is_named(arguments, words):
    with pytest.raises(UsageError, match=words):
        draw(**{"name": "x", **arguments})


def test_an_argument_is_missing_or_one_too_many():
    with pytest.raises(UsageError, match="draw: missing a required argument: 'name'"):
        draw()
    with pytest.raises(UsageError, match="draw: too many positional arguments"):
        draw("x", 3)


def test_the_first_problem_of_several_is_one_line():
    class Speeds(Strict):
        slow: float
        fast: float

        @field_validator("slow", "fast")
        @classmethod
        def positive(cls, value: float) -> float:
            if value <= 0:
                raise ValueError("must be above 0")
            return value

    with pytest.raises(ValidationError) as caught:
        Speeds(slow=-1.0, fast=0.0)
    assert validation_line(caught.value) == "slow: must be above 0 (and 1 more)"
