"""Arguments of public functions: a wrong one is named, in one line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError, field_validator

from vpbench.errors import UsageError
from vpbench.validation import Strict, checked_arguments, parse_document, validation_line


@checked_arguments
def draw(
    name: str,
    *,
    clips: Annotated[int, Field(ge=1)] | None = None,
    seed: Annotated[int, Field(ge=0, le=9)] = 0,
    rate: Annotated[float, Field(gt=0)] = 1.0,
    size: tuple[int, int] | None = None,
    say: Callable[[str], None] | None = None,
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
        ({"clips": "3"}, r"^draw: clips must be int \(1 or more\) or None, not '3'$"),
        ({"clips": True}, r"^draw: clips must be int .*, not True$"),
        ({"clips": 0}, r"^draw: clips must be int .*, not 0$"),
        ({"seed": 10}, r"^draw: seed must be int \(0 to 9\), not 10$"),
        ({"rate": float("nan")}, r"^draw: rate must be a finite number \(above 0\), not nan$"),
        ({"metrics": "mse"}, r"^draw: metrics must be a list of str, not 'mse'$"),
        ({"metrics": [1]}, r"^draw: metrics must be a list of str, not \[1\]$"),
        ({"device": "gpu"}, r"^draw: device must be 'cpu' or 'cuda', not 'gpu'$"),
        (
            {"options": {"x": 1}},
            "options must be a mapping of str to a mapping of str to anything or None, not {",
        ),
        ({"size": [1, 2]}, r"^draw: size must be a tuple \(int, int\) or None, not \[1, 2\]$"),
        ({"say": 3}, r"^draw: say must be a function or None, not 3$"),
        ({"out": 3}, r"^draw: out must be str or Path, not 3$"),
        ({"name": "a\n" * 400, "out": None}, r"^draw: out must be str or Path, not None$"),
        ({"name": b"a\n" * 400}, r"^draw: name must be str, not b'.{290,300} \.\.\.$"),
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


def test_several_problems_are_one_line_and_many_are_counted():
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
    assert validation_line(caught.value) == "slow: must be above 0; fast: must be above 0"
    with pytest.raises(ValidationError) as caught:
        Speeds(slow=1.0, fast=1.0, **dict.fromkeys("abcdefg", 1))
    assert validation_line(caught.value).endswith("; e: is unknown (and 2 more)")


def test_a_document_with_several_faults_names_all_of_them_the_unknown_first():
    class Speeds(Strict):
        slow: float
        fast: float

    with pytest.raises(UsageError) as caught:
        parse_document(Speeds, {"slow": "x", "fsat": 1.0}, "file speeds.toml", UsageError)
    unknown, *problems = str(caught.value).removeprefix("file speeds.toml: ").split("; ")
    assert unknown == "fsat: is unknown"
    assert [problem.partition(":")[0] for problem in problems] == ["slow", "fast"]
