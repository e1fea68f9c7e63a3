"""Names that may become part of a path, and texts that may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from vpbench.errors import VpbenchError
from vpbench.names import below, clip_problem, is_metric, is_name, slug

NO_NAMES = [
    "",
    ".",
    "..",
    "../x",
    "/x",
    "a/b",
    "a\\b",
    "-x",
    ".x",
    "a b",
    "a\n",
    "a\0",
    "x" * 101,
    "\x1b[31m",
    "a|b",
    "<b>",
]


@pytest.mark.parametrize("text", NO_NAMES)
def test_what_is_no_name(text):
    assert not is_name(text)


@pytest.mark.parametrize("text", ["repeat", "ucf101-120x160-4to10", "c20", "ssim@uniform7", "a_b.c", "x" * 100, "ü"])
def test_what_is_a_name(text):
    assert is_name(text)


def test_metrics_may_name_a_region():
    assert is_metric("psnr/disoccluded")
    assert not any(map(is_metric, ["psnr/", "/x", "a/b/c", "../x", "psnr/..", "a/\n"]))


@pytest.mark.parametrize(
    "text",
    ["", "/etc/passwd", "../x@0", "a/../../x@0", "a//b@0", "./a@0", "a/", "a\0b", "a\nb@0", "\x1b[2Jx@0", "x" * 1001],
)
def test_what_is_no_clip(text):
    assert clip_problem(text)


@pytest.mark.parametrize(
    "text", ["Archery/v_Archery_g21_c01@0", "a..b@-3", "Screenshot at 3.00\u202fPM.mp4@0", "é 日本@0"]
)
def test_what_is_a_clip(text):
    assert clip_problem(text) == ""


@pytest.mark.parametrize("text", [".", "../x", "/x", "a/b", "a\0", "x" * 256])
def test_a_folder_never_lies_outside_its_root(tmp_path, text):
    with pytest.raises(VpbenchError, match="cannot name a folder") as error:
        below(tmp_path, "toy", text)
    assert len(str(error.value)) < 500


def test_a_folder_is_below_its_root():
    assert below(Path("out"), "toy", "sadm-c20", "0123456789ab") == Path("out/toy/sadm-c20/0123456789ab")


@pytest.mark.parametrize("text", ["../../x", "my net", "\x1b[31m", "", "..", "Prädiktor", "x" * 300])
def test_a_slug_is_a_name(text):
    assert is_name(slug(text))
    assert slug("my-net_2.0") == "my-net_2.0"
