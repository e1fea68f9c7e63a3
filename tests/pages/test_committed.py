"""The committed leaderboards are those of the committed results; an archived result has the content of its original."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import folders
import pytest

from vpbench.cli.main import _run
from vpbench.errors import ResultError
from vpbench.pages.leaderboard import build_pages, collect
from vpbench.results.pictures import pictured_clips, read_pictures, read_sheet
from vpbench.results.result import load
from vpbench.results.verify import verify
from vpbench.submission.bundle import archive_results

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def archive():
    return archive_results


def build(*roots):
    return build_pages(collect(roots, folders.plugins()), folders.plugins())


@pytest.mark.slow
def test_committed_pages_are_those_of_the_committed_results(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert _run(["leaderboard", "leaderboards/results", "--check"]) == 0, "run `make readme`"


def test_committed_pictures_are_of_committed_results():
    pictured = sorted(path.parent for path in (ROOT / "leaderboards/pictures").glob("*/*/*/pictures"))
    assert len(pictured) > 1
    for root in pictured:
        result = load(ROOT / "leaderboards/results" / root.relative_to(ROOT / "leaderboards/pictures"))
        clips = pictured_clips(root, result.run)
        assert len(clips) == len(list(root.rglob("clip.json")))
        assert all(read_sheet(root, clip, kind) for clip in clips for kind in read_pictures(root, clip).sheets)


def test_an_archived_result_is_the_same_result(tmp_path, archive):
    original = folders.make_result(tmp_path / "results", "last", {"mse": [0.1, 0.2]})
    (copied,) = archive([tmp_path / "results"], tmp_path / "archive")
    assert copied == tmp_path / "archive/toy/last" / original.name
    assert sorted(path.name for path in (copied / "units").iterdir()) == ["000000.jsonl.gz", "000001.jsonl.gz"]
    assert list(load(copied).rows()) == list(load(original).rows())
    assert verify(load(copied).store, folders.plugins()) == verify(load(original).store, folders.plugins())
    pages = build(tmp_path / "results")
    assert pages == build(tmp_path / "archive") == build(tmp_path / "results", tmp_path / "archive"), (
        "copies count once"
    )


def test_an_archive_names_no_machine_and_has_the_same_bytes_again(tmp_path, archive):
    folders.make_result(tmp_path / "results", "last", {"mse": [0.1]})

    def content():
        (copied,) = archive([tmp_path / "results"], tmp_path / "archive")
        return {path.relative_to(copied): path.read_bytes() for path in copied.rglob("*") if path.is_file()}

    first = content()
    attempt = json.loads(first[Path("attempts/00.json")])
    assert (attempt["host"], attempt["command"], attempt["engine"]) == ("", [], "plain")
    assert content() == first


def test_a_result_replaces_those_of_the_same_predictor_only(tmp_path, archive):
    for root, seed in (("a", 0), ("b", 1)):
        folders.make_result(tmp_path / root, "last", {"mse": [0.1]}, seed=seed)
    folders.make_result(tmp_path / "a", "net", {"mse": [0.2]})
    archive([tmp_path / "a"], tmp_path / "archive")
    (newer,) = archive([tmp_path / "b"], tmp_path / "archive")
    assert [path.name for path in (tmp_path / "archive/toy/last").iterdir()] == [newer.name]
    assert (tmp_path / "archive/toy/net").is_dir()


def test_an_added_result_stands_next_to_those_of_the_same_predictor(tmp_path, archive):
    for root, seed in (("a", 0), ("b", 1)):
        folders.make_result(tmp_path / root, "last", {"mse": [0.1]}, seed=seed)
    first = archive([tmp_path / "a"], tmp_path / "archive")
    second = archive([tmp_path / "b"], tmp_path / "archive", add=True)
    assert archive([tmp_path / "b"], tmp_path / "archive", add=True) == second
    assert sorted((tmp_path / "archive/toy/last").iterdir()) == sorted(first + second)


@pytest.mark.parametrize("root", ["", "archive", "archive/toy"])
def test_the_archive_is_not_archived(tmp_path, archive, root):
    folders.make_result(tmp_path / "results", "last", {"mse": [0.1]})
    (copied,) = archive([tmp_path / "results"], tmp_path / "archive")
    with pytest.raises(ResultError, match="contain one another"):
        archive([tmp_path / root], tmp_path / "archive")
    assert load(copied).summary.scores["mse"].per_step == (0.1,)


def test_a_result_that_cannot_be_copied_leaves_the_archive_as_it_was(tmp_path, archive):
    for root in ("a", "b"):
        damaged = folders.make_result(tmp_path / root, "last", {"mse": [0.1]})
    (copied,) = archive([tmp_path / "a"], tmp_path / "archive")
    (damaged / "units/000000.jsonl").write_bytes(b"\xff")
    with pytest.raises(ResultError, match=r"000000\.jsonl"):
        archive([tmp_path / "b"], tmp_path / "archive")
    assert (copied / "units/000000.jsonl.gz").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_only_complete_results_are_archived(tmp_path, archive):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ResultError, match="no result lies below"):
        archive([tmp_path / "empty"], tmp_path / "archive")
    folders.make_result(tmp_path / "results", "last", {"mse": [0.1]}, partial="limited to 3 of 20 clips")
    with pytest.raises(ResultError, match="is partial"):
        archive([tmp_path / "results"], tmp_path / "archive")
    assert not (tmp_path / "archive").exists()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: data[:-9], "it is not one whole gzip file"),
        (lambda data: data + data, "it is not one whole gzip file"),
        (gzip.decompress, "it is not gzip"),
        (lambda data: gzip.compress(b"." * 2**20, 1), "larger than the 0 MiB"),
        (lambda data: gzip.compress(gzip.decompress(data).replace(b"0.1", b"0.2", 1)), "is not what was published"),
    ],
)
def test_a_damaged_unit_is_refused_by_name(tmp_path, monkeypatch, archive, damage, words):
    folders.make_result(tmp_path / "results", "last", {"mse": [0.1]})
    (copied,) = archive([tmp_path / "results"], tmp_path / "archive")
    unit = copied / "units" / "000000.jsonl.gz"
    unit.write_bytes(damage(unit.read_bytes()))
    monkeypatch.setattr("vpbench.files.UNIT", 2**19)
    with pytest.raises(ResultError, match=rf"000000\.jsonl\.gz.*{words}"):
        verify(load(copied).store, folders.plugins())


def test_a_unit_that_is_there_twice_is_refused(tmp_path, archive):
    original = folders.make_result(tmp_path / "results", "last", {"mse": [0.1]})
    (copied,) = archive([tmp_path / "results"], tmp_path / "archive")
    (original / "units/000000.jsonl").rename(copied / "units/000000.jsonl")
    with pytest.raises(ResultError, match=r"000000\.jsonl\.gz belongs to none"):
        verify(load(copied).store, folders.plugins())
