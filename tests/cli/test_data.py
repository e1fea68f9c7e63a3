"""`vpbench data check`: what is there, what is not, and what the dataset promises."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_video import known_frames, write_video

TOYS = ["--plugin", Path(__file__).resolve().parent.parent / "toys.py"]


def test_it_counts_the_sequences_of_each_split(vpbench):
    done = vpbench("data", "check", "toy", *TOYS, "-o", "toy.sequences=3", "--json")
    assert done.code == 0
    assert [(f["name"], f["found"], f["holds"]) for f in done.json] == [
        ("test: sequences", "3 (24 frames)", True),
        ("train: sequences", "3 (24 frames)", True),
    ]


def test_what_does_not_hold_is_said_and_fails(vpbench):
    done = vpbench("data", "check", "toy", *TOYS, "-o", "toy.unreadable=2")
    assert done.code == 1
    assert "\ntest: missing or unreadable:\n  seq is broken\n" in done.out
    assert "NO" in done.out


def test_a_folder_of_videos(vpbench, tmp_path):
    write_video(tmp_path / "good.avi", known_frames(5))
    assert vpbench("data", "check", "folder", "--data-root", tmp_path).code == 0
    (tmp_path / "bad.avi").write_bytes(b"")
    done = vpbench("data", "check", "folder", "--data-root", tmp_path)
    assert done.code == 1
    assert "bad.avi" in done.out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["toyy"], "did you mean 'toy'?"),
        (["toy", "-o", "toy.sequence=1"], "did you mean 'sequences'?"),
        (["toy", "-o", "folder.x=1"], "write -o toy.OPTION=VALUE"),
    ],
)
def test_usage_errors(vpbench, args, words):
    done = vpbench("data", "check", *args, *TOYS)
    assert done.code == 2
    assert words in done.error


def test_a_dataset_without_its_folder(vpbench, tmp_path, monkeypatch):
    monkeypatch.setenv("VPBENCH_CONFIG", str(tmp_path / "none.toml"))
    monkeypatch.delenv("VPBENCH_DATA", raising=False)
    done = vpbench("data", "check", "ucf101")
    assert done.code == 1
    assert "--data-root ucf101=DIR" in done.error
