"""The hooks of vpbench, all of them. A plugin implements those it needs and marks them with ``hookimpl``.

A distribution announces its plugin module in the entry-point group ``vpbench``. The module must be light: it registers
*names*, with the code behind each as a string ``"module:Class"`` that is imported when the name is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pluggy

if TYPE_CHECKING:
    import click

hookspec = pluggy.HookspecMarker("vpbench")
hookimpl = pluggy.HookimplMarker("vpbench")


class Register(Protocol):
    """Add a name to the registry."""

    def __call__(self, name: str, target: str, *, summary: str = "", default: bool = False, trainer: str = "") -> None:
        """Register ``name`` for the object at ``target``.

        Args:
            name: the name that users type.
            target: ``"module:Class"``; for a protocol ``"package:file.toml"``, a file inside the package.
            summary: one line for ``vpbench list``.
            default: use it in a bare ``vpbench run``; a predictor with a trainer only where weights are shipped.
            trainer: for a predictor that can be trained, ``"module:function"``. The function is a
                :class:`vpbench.plugin.training.Trainer`.

        Example:
            >>> register("fade", "my_package.fade:Fade", summary="the last frame, fading to grey")  # doctest: +SKIP
        """


@hookspec
def register_predictors(register: Register) -> None:
    """Register models that continue a clip."""


@hookspec
def register_datasets(register: Register) -> None:
    """Register readers of on-disk layouts."""


@hookspec
def register_metrics(register: Register) -> None:
    """Register metrics. Those with ``default=True`` are measured where a protocol names none."""


@hookspec
def register_annotators(register: Register) -> None:
    """Register what fills in the optical flow or the semantic maps that a dataset lacks."""


@hookspec
def register_networks(register: Register) -> None:
    """Register published networks: a :class:`vpbench.toolkit.published_weights.PublishedNetwork` at each target.

    ``vpbench weights get NAME`` downloads their weights.
    """


@hookspec
def register_protocols(register: Register) -> None:
    """Register protocols: TOML files inside the plugin's package."""


@hookspec
def register_commands(cli: click.Group) -> None:
    """Add commands to ``vpbench``."""
