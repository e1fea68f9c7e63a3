"""``vpbench weights``: a user's pickle of weights, made a file that can be read without running anything."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vpbench.cli.common import common_options
from vpbench.errors import DataError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["command"]

_WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Keys under which training programs put a state dict beside their optimizer's."""
_PREFIXES = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put before every name."""


@click.group("weights")
@common_options
def command() -> None:
    """Convert files of weights."""


@command.command("convert")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Default: beside FILE, ending in .safetensors.")
@common_options
def convert(file: Path, out: Path | None) -> None:
    """Turn a pickle that holds a state dict (.pth, .pt, .ckpt) into safetensors.

    Nothing in the pickle is run: one that asks for it is refused. A state dict is also found under the key state_dict,
    model_state_dict or model, and without the prefixes of DataParallel and torch.compile. Nothing is overwritten.
    """
    out = out or file.with_suffix(".safetensors")
    if not file.is_file():
        raise DataError(f"{file}: there is no such file")
    if file.suffix == ".safetensors":
        raise UsageError(f"{file}: is safetensors already")
    if out.exists():
        raise UsageError(f"{out}: is there already; remove it, or name another file with --out")

    from safetensors.torch import save

    from vpbench.plugin.weights import sha256, unpickle
    from vpbench.results.store import write_atomic

    tensors = _tensors(unpickle(file), file)
    # Each with memory of its own: safetensors has no shared tensors, and a view would bring all of what it views.
    try:
        own = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
        content = save(own, metadata={"format": "pt"})
    except (ValueError, RuntimeError) as error:  # sparse, quantised
        raise DataError(f"{file}: holds a tensor that safetensors cannot ({' '.join(str(error).split())})") from error
    write_atomic(out, content)
    click.echo(f"{out}: {len(own)} tensors, {len(content) / 2**20:.1f} MiB, sha256 {sha256(out)}")


def _tensors(content: Any, file: Path) -> dict[str, Tensor]:
    """Return the state dict within what was loaded, by plain names.

    Raises:
        DataError: there is none, more than one, or something else is in it.
    """
    from torch import Tensor

    while isinstance(content, Mapping):
        wrapped = [key for key in _WRAPPERS if isinstance(content.get(key), Mapping)]
        if not wrapped:
            break
        if len(wrapped) > 1:
            raise DataError(f"{file}: holds both {wrapped[0]!r} and {wrapped[1]!r}: save the one that you mean")
        content = content[wrapped[0]]
    if not isinstance(content, Mapping) or not content:
        kind = "nothing" if isinstance(content, Mapping) else f"a {type(content).__name__}"
        raise DataError(f"{file}: holds {kind}, not a state dict: torch.save(model.state_dict(), FILE)")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise DataError(
                f"{file}: {name!r} is a {type(value).__name__}, not a tensor: torch.save(model.state_dict(), FILE)"
            )
    tensors = dict(content)
    while prefix := next((p for p in _PREFIXES if all(name.startswith(p) for name in tensors)), ""):
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors
