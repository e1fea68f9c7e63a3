"""Any video, folder of videos or folder of pictures, as a dataset."""

from __future__ import annotations

from vpbench.plugin.hookspecs import Register, hookimpl


@hookimpl
def register_datasets(register: Register) -> None:
    """Register the reader of videos and picture folders."""
    register("folder", "vpbench_folder.dataset:Folder", summary="your own: a video, or a folder of videos or pictures")


@hookimpl
def register_protocols(register: Register) -> None:
    """Register plain protocols to begin with: one to score only, two to train on a part of the videos."""
    summaries = {
        "folder-4to10": "your own videos at their own size, 4 -> 10 frames, windows that do not overlap",
        "folder-split-4to10": "the same: train on the folder train, score the folder test",
        "folder-fraction-4to10": "the same: score a fifth of the videos, train on the others",
    }
    for name, summary in summaries.items():
        register(name, f"vpbench_folder:protocols/{name}.toml", summary=summary)
