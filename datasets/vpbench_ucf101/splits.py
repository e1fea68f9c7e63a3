"""The ways in which papers on video prediction divide UCF101. A clip is named ``<Class>/v_<Class>_gXX_cYY``."""

from __future__ import annotations

import functools
import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

SplitRule = Literal["groups-19", "frnn-seed0", "list3-mcvd"]

_STEM = re.compile(r"v_(?P<label>\w+)_g(?P<group>0[1-9]|1\d|2[0-5])_c(?P<clip>\d\d)", re.IGNORECASE)

CLIPS: Mapping[SplitRule, Mapping[str, int]] = {
    "groups-19": {"train": 10160, "test": 3160},
    "frnn-seed0": {"train": 9957, "test": 3363},
    "list3-mcvd": {"train": 9624, "test": 256},
}
"""Clips on each side of the complete data."""
_FIRST_TEST_GROUP = 20
_LIST3_TEST_GROUPS = range(15, 22)
_FRNN_LIST = Path(__file__).with_name("frnn_seed0_test.txt")
_MCVD_LIST = Path(__file__).with_name("mcvd_test.txt")


def clip_id(stem: str) -> str | None:
    """Return the one id of a clip, ``<Class>/v_<Class>_gXX_cYY``, from the name of its file or folder in any case.

    The official class list spells a class and its files in two ways (``HandstandPushups/v_HandStandPushups_*``), and
    copies of the data spell the folder as the files. The id is as in the official lists. Returns None for other names.
    """
    match = _STEM.fullmatch(stem)
    if match is None:
        return None
    folder, label = _official_spelling().get(match["label"].casefold(), (match["label"], match["label"]))
    return f"{folder}/v_{label}_g{match['group']}_c{match['clip']}"


@functools.cache
def _official_spelling() -> dict[str, tuple[str, str]]:
    """The spelling of each class, in folders and in files: a quarter of every class is on the committed list."""
    split = (name.split("/v_") for name in frnn_test())
    return {stem[: -len("_gXX_cYY")].casefold(): (folder, stem[: -len("_gXX_cYY")]) for folder, stem in split}


def side_of(name: str, rule: SplitRule) -> str:
    """Return the split of a clip: ``train``, ``test``, or "" if a rule uses it for neither.

    ``groups-19``: groups 1 to 19 train, 20 to 25 test; 10,160 and 3,160 clips. A group holds clips cut from one source
    video, so that none lies on both sides.
    ``frnn-seed0``: 9,957 and 3,363 clips. Clips of one source video lie on both sides.
    ``list3-mcvd``: the official list 3 trains on all but groups 15 to 21; 9,624 clips. 256 of the other 3,696 are test.
    """
    match = _STEM.fullmatch(name.rpartition("/")[2])
    assert match is not None, name
    group = int(match["group"])
    if rule == "groups-19":
        return "test" if group >= _FIRST_TEST_GROUP else "train"
    if name in committed_test(rule):
        return "test"
    return "" if rule == "list3-mcvd" and group in _LIST3_TEST_GROUPS else "train"


def committed_test(rule: SplitRule) -> frozenset[str]:
    """Return the committed test clips of a rule; empty if the data decide."""
    lists = {"frnn-seed0": frnn_test, "list3-mcvd": mcvd_test}
    return lists[rule]() if rule in lists else frozenset()


def source_video(name: str) -> str:
    """Return the name of the video that a clip was cut from: the clip's own without its last part, ``_cYY``."""
    return name.rpartition("_")[0]


@functools.cache
def frnn_test() -> frozenset[str]:
    """Return the committed test side of ``frnn-seed0``: 3,363 clips, ``draw_frnn_test`` of the official names."""
    return frozenset(_FRNN_LIST.read_text(encoding="ascii").split())


@functools.cache
def mcvd_test() -> frozenset[str]:
    """Return the committed test side of ``list3-mcvd``: 256 clips, :func:`pick_mcvd_test` of the official list 3."""
    return frozenset(_MCVD_LIST.read_text(encoding="ascii").split())


def pick_mcvd_test(names: Sequence[str]) -> list[str]:
    """Return the 256 clips that MCVD scores: of every tenth clip in the list's order, 256 spread evenly.

    Args:
        names: the clips of ``testlist03.txt``, in its order.
    """
    last = len(names) // 10 - 1
    return [names[10 * round(i / 255 * last)] for i in range(256)]


def draw_frnn_test(names: Iterable[str], seed: int) -> list[str]:
    """Draw a test side by FRNN's rule: of each class, in random order, the first floor(0.75 n) clips train.

    FRNN (Oliu et al. 2018, ``preprocess.py``) shuffles without a seed, so that its own lists are lost. Here the order
    is that of ``sha256("<seed>:<name>")``, which no library can change.

    Args:
        names: all clips, in any order.
        seed: another seed, another split; the committed list has 0.

    Returns:
        The test clips, sorted.
    """
    classes: dict[str, list[str]] = defaultdict(list)
    for name in names:
        classes[name.partition("/")[0]].append(name)
    test: list[str] = []
    for members in classes.values():
        members.sort(key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
        test += members[3 * len(members) // 4 :]
    return sorted(test)
