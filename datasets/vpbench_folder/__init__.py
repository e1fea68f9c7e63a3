"""Any video, folder of videos or folder of pictures, as a dataset."""

from __future__ import annotations

from vpbench.plugin.hookspecs import Register, hookimpl


@hookimpl
def register_datasets(register: Register) -> None:
    """Register the reader of videos and picture folders."""
    register("folder", "vpbench_folder.dataset:Folder", summary="your own: a video, or a folder of videos or pictures")


@hookimpl
def register_protocols(register: Register) -> None:
    """Register a plain protocol to begin with."""
    register(
        "folder-4to10",
        "vpbench_folder:protocols/folder-4to10.toml",
        summary="your own videos at their own size, 4 -> 10 frames, windows that do not overlap",
    )
