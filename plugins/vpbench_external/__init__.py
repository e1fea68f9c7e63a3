"""Predictors that run in a process of their own: another Python, another framework, another language."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpbench.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from vpbench.plugin.hookspecs import Register


@hookimpl
def register_predictors(register: Register) -> None:
    """Register the predictor of external workers."""
    register(
        "external",
        "vpbench_external.predictor:External",
        summary="a worker in another environment (-m 'external:COMMAND')",
    )
