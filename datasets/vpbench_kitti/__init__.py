"""KITTI (Geiger et al. 2013; Menze and Geiger 2015): drives around Karlsruhe, with the protocols of SADM and STDiff."""

from __future__ import annotations

from vpbench.plugin.hookspecs import Register, hookimpl


@hookimpl
def register_datasets(register: Register) -> None:
    """Register the readers of the two official trees, and of KITTI with Caltech Pedestrian."""
    register("kitti-raw", "vpbench_kitti.raw:KittiRaw", summary="KITTI raw: synced drives at 10 Hz, about 1242x375")
    register(
        "kitti-flow",
        "vpbench_kitti.flow:KittiFlow",
        summary="KITTI scene flow 2015, multi-view: 400 scenes x 21 frames",
    )
    register(
        "kitti-caltech",
        "vpbench_kitti.caltech:KittiCaltech",
        summary="KITTI raw to train, test videos of Caltech Pedestrian to score, 10 Hz",
    )


@hookimpl
def register_protocols(register: Register) -> None:
    """Register SADM's two settings, next-frame prediction without padded context, STDiff's and OpenSTL's."""
    register(
        "kitti-raw",
        "vpbench_kitti:protocols/kitti-raw.toml",
        summary="KITTI raw, 256x832, 4 -> 5 frames, 4 drives, 1,337 clips (SADM Table 2)",
    )
    register(
        "kitti-flow",
        "vpbench_kitti:protocols/kitti-flow.toml",
        summary="KITTI flow, 128x256, every next frame of 200 scenes, 4,000 clips (SADM Table 3)",
    )
    register(
        "kitti-flow-4ctx",
        "vpbench_kitti:protocols/kitti-flow-4ctx.toml",
        summary="KITTI flow, 128x256, next frames with 4 before them, 3,400 clips",
    )
    register(
        "kitti-128-4to5",
        "vpbench_kitti:protocols/kitti-128-4to5.toml",
        summary="KITTI raw, 128x128, 4 -> 5 frames, 4 drives, clips side by side (STDiff)",
    )
    register(
        "kitti-caltech-10to1",
        "vpbench_kitti:protocols/kitti-caltech-10to1.toml",
        summary="Caltech Pedestrian, 128x160, 10 -> 1 frame, trained on KITTI (OpenSTL, PredNet)",
    )
