"""A cache that is full, was cut off, or is filled by two processes: one clear line, and nothing half-written."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import folders
import numpy as np
import pytest
from toys import Options, Toy

from vpbench.clips import store_making
from vpbench.clips.blocks import block_path
from vpbench.clips.prepare import find_prepared, prepare, store_folder
from vpbench.errors import DataError, ResultError
from vpbench.protocol.units import build_manifest

ROOT = Path(__file__).parents[2]
MODALITIES = ["frames", "flow"]


def make_protocol(version=1):
    sampling = {"kind": "sliding", "context": 2, "horizon": 2, "stride": 1}
    return folders.make_protocol(2, version=version, sampling=sampling)


PROTOCOL, DATASET = make_protocol(), Toy(None, Options(sequences=3, length=40))
MANIFEST = build_manifest(PROTOCOL, DATASET)


def make(protocol=PROTOCOL, dataset=DATASET):
    return prepare(protocol, dataset, MANIFEST, MODALITIES, lambda count, total: None)


def check(protocol=PROTOCOL):
    prepared = find_prepared(protocol, DATASET, MANIFEST, MODALITIES)
    for ref in MANIFEST.clips[:: len(MANIFEST.clips) // 7]:
        for modality in MODALITIES:
            read = prepared.read(ref.sequence, ref.frames, modality)
            assert np.array_equal(read, DATASET.read(ref.sequence, ref.frames, modality))
    names = [path.name for path in prepared.folder.iterdir()]
    assert len(names) == BLOCKS + 1
    assert {name.rpartition(".")[2] for name in names} == {"json", "npy"}


@pytest.fixture
def folder(cache):
    return store_folder(PROTOCOL, DATASET, MANIFEST)


@contextmanager
def full(size):
    """Let the system refuse, half-way, to write files longer than that: as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


FRAME = 16 * 24 * 3
BLOCK = 32 * FRAME
BLOCKS = 3 * 2 * 2


@pytest.mark.parametrize(("size", "finished"), [(BLOCK, 0), (BLOCK + 1000, 2)])
def test_a_full_cache_is_an_error_and_a_second_try_resumes(folder, size, finished):
    with full(size), pytest.raises(ResultError) as caught:
        make()
    assert str(caught.value) == (
        f"cannot write {folder}: File too large; free some space there, or name another cache with VPBENCH_CACHE, and "
        f"run the same command again: finished parts stay"
    )
    blocks = [np.load(path) for path in folder.iterdir()]
    assert len(blocks) == finished
    assert find_prepared(PROTOCOL, DATASET, MANIFEST, MODALITIES) is None
    make()
    check()
    assert list(folder.parent.iterdir()) == [folder]


def test_a_cache_that_may_not_be_written_to_is_said(folder):
    folder.parent.parent.mkdir()
    folder.parent.write_text("a file where the folder should be")
    with pytest.raises(ResultError, match=f"cannot write {re.escape(str(folder))}: .*VPBENCH_CACHE"):
        make()


def test_blocks_that_were_cut_off_are_made_again(folder, monkeypatch):
    make()
    (folder / "index.json").unlink()
    blocks = sorted(folder.glob("*.npy"))
    for path, size in zip(blocks, (0, 7, 100, 1000), strict=False):
        os.truncate(path, size)
    blocks[4].write_bytes(b"not an array at all")
    np.save(blocks[5], np.load(blocks[5])[:-1])
    reads = []
    original = Toy.read
    monkeypatch.setattr(Toy, "read", lambda *args: reads.append(args) or original(*args))
    make()
    frames = sum(".frames." in path.name for path in blocks[:6])
    assert len([args for args in reads if args[3] == "frames"]) == frames
    check()


def block(folder, sequence="test/seq001", modality="frames", row=0):
    return block_path(folder, sequence, modality, row)


@pytest.mark.filterwarnings("ignore:.*was prepared by another version:vpbench.errors.VpbenchWarning")
@pytest.mark.parametrize(
    "cut",
    [
        lambda folder: os.truncate(block(folder), 100),
        lambda folder: block(folder, modality="flow").unlink(),
        lambda folder: os.truncate(folder / "index.json", 50),
        lambda folder: os.truncate(folder / "index.json", 0),
        lambda folder: (folder / "index.json").write_text((folder / "index.json").read_text().replace("[[0]", "[[1]")),
        *(
            lambda folder, text=text: (folder / "index.json").write_text(text)
            for text in ("[]", "{}", '{"bytes": 0}', '{"checksum": 3, "sequences": {"a": 1}}')
        ),
    ],
)
def test_a_damaged_store_is_an_error_and_made_again(folder, cut):
    make()
    cut(folder)
    with pytest.raises(DataError) as caught:
        find_prepared(PROTOCOL, DATASET, MANIFEST, MODALITIES)
    assert str(caught.value) == (
        f"{folder} was cut off or is damaged: make it again with `vpbench data prepare`, or remove it"
    )
    make()
    check()
    assert list(folder.parent.iterdir()) == [folder]


def test_zeroed_bytes_are_noticed_where_they_are_first_read_and_made_again(folder):
    make()
    with block(folder).open("r+b") as file:
        file.seek(300)
        file.write(bytes(64))
    prepared = find_prepared(PROTOCOL, DATASET, MANIFEST, MODALITIES)
    for ref in MANIFEST.clips:
        prepared.read(ref.sequence, ref.frames, "flow")
        if ref.sequence != "test/seq001" or ref.frames[0] >= 32:  # other blocks are read
            prepared.read(ref.sequence, ref.frames, "frames")
            continue
        with pytest.raises(DataError) as caught:
            prepared.read(ref.sequence, ref.frames, "frames")
        assert str(caught.value) == (
            f"{folder}: is damaged: frames of 'test/seq001', frames 0 to 31, are not what was stored; make it again "
            f"with `vpbench data prepare`, or remove it"
        )
    make()
    check()
    assert list(folder.parent.iterdir()) == [folder]


def test_what_a_killed_process_left_is_finished_and_removed(folder):
    with full(BLOCK + 1000), pytest.raises(ResultError):
        make()
    (path, *_) = folder.glob("*.npy")
    path.rename(path.with_suffix(".claim"))
    (folder / f".{path.name}.1-abc.tmp").write_bytes(b"half")
    neighbour = folder.with_name("another-store")
    neighbour.mkdir()
    make()
    check()
    assert set(folder.parent.iterdir()) == {folder, neighbour}


@pytest.mark.parametrize(
    ("owner", "name"), [(Toy, "read"), (store_making, "encode_block"), (store_making, "_complete")]
)
def test_another_process_that_completes_the_store_meanwhile_is_no_trouble(folder, monkeypatch, owner, name):
    function = getattr(owner, name)
    calls = []

    def meanwhile(*args, **settings):
        if not calls:
            calls.append("the other process begins")
            make()
            calls.append("the other process is done")
        calls.append(name)
        return function(*args, **settings)

    monkeypatch.setattr(owner, name, meanwhile)
    make()
    assert calls[calls.index("the other process is done") :].count(name) == 1, "no other block is begun"
    monkeypatch.setattr(owner, name, function)
    check()
    assert list(folder.parent.iterdir()) == [folder]


TWO = """
import sys, time
from pathlib import Path
sys.path[:0] = [{tests!r}, {own!r}]
import test_prepare_trouble as t
ready = Path(sys.argv[1])
original = t.Toy.read
def read(self, sequence, frames, modality):
    if modality == "frames" and sys._getframe(1).f_code.co_filename.endswith("prepare.py"):
        (ready / f"read-{{time.monotonic_ns()}}-{{sys.argv[2]}}").touch()
    time.sleep(0.002)
    return original(self, sequence, frames, modality)
t.Toy.read = read
for version in range(1, 6):
    (ready / f"{{sys.argv[2]}}-{{version}}").touch()
    while len(list(ready.glob(f"*-{{version}}"))) < 2:
        time.sleep(0.001)
    t.make(t.make_protocol(version))
    t.check(t.make_protocol(version))
"""


@pytest.mark.slow
def test_two_processes_at_once_share_the_work_and_spoil_nothing(cache, tmp_path):
    code = TWO.format(tests=str(ROOT / "tests"), own=str(Path(__file__).parent))
    ready = tmp_path / "ready"
    ready.mkdir()
    two = [
        subprocess.Popen([sys.executable, "-c", code, str(ready), name], stderr=subprocess.PIPE, text=True)
        for name in "ab"
    ]
    errors = [process.communicate(timeout=120)[1] for process in two]
    assert [process.returncode for process in two] == [0, 0], errors
    stores = {store_folder(make_protocol(version), DATASET, MANIFEST) for version in range(1, 6)}
    assert set((cache / "prepared").iterdir()) == stores
    reads = len(list(ready.glob("read-*")))
    blocks = 5 * 3 * 2
    assert blocks <= reads <= blocks + 5 * 2, "each process meets at most one block that the other is still making"
    for version in range(1, 6):
        check(make_protocol(version))
