"""Reading processes: started afresh, shared by epochs, and a crash is the error of one group that names the file."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import readers
import toys
from PIL import Image

from vpbench.clips.source import ClipReaders, ClipSource, batches
from vpbench.errors import DataError, Remedy
from vpbench.protocol.sampling import ClipRef


def groups(count):
    return [[ClipRef(f"test/seq{i:03d}", tuple(range(6)), 2, (1, 2, 3, 4))] for i in range(count)]


def make_source(dataset):
    return ClipSource(dataset, "toy", (), frozenset({"frames", "flow"}), frozenset(), {})


def frames(items):
    return [item[0].context["frames"] for item in items]


@pytest.mark.slow
def test_items_are_the_same_with_any_number_of_processes():
    source = make_source(toys.Toy(None, toys.Options()))
    expected = list(batches(source, groups(7), 0))
    for workers in (1, 3):
        items = list(batches(source, groups(7), workers))
        assert [item[0].digests for item in items] == [item[0].digests for item in expected]
        assert [item[0].ref for item in items] == [item[0].ref for item in expected]


@pytest.mark.slow
@pytest.mark.filterwarnings("error::DeprecationWarning")
def test_processes_are_not_forked_and_serve_several_epochs():
    before = set(psutil.Process().children(recursive=True))
    reading = ClipReaders(make_source(readers.Whereabouts(None, toys.Options())), 2)
    epochs = [frames(reading(groups(6))) for _ in range(2)]
    processes = {tuple(array[0, 0, 0]) for epoch in epochs for array in epoch}
    assert 1 <= len(processes) <= 2
    assert os.getpid() % 251 not in {pid for pid, _, _ in processes}
    children = set(psutil.Process().children(recursive=True)) - before
    assert children and all("vpbench.toolkit.processes" in " ".join(child.cmdline()) for child in children)
    partial = reading(groups(6))
    next(partial)
    partial.close()
    assert len(frames(reading(groups(3)))) == 3, "an epoch that was left early disturbs no later one"
    reading.close()
    deadline = time.monotonic() + 10
    while set(psutil.Process().children(recursive=True)) & children and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.slow
def test_a_crash_of_a_codec_is_the_error_of_its_group_and_names_the_file(tmp_path):
    for i in range(5):
        Image.fromarray(np.full((4, 4, 3), i, np.uint8)).save(tmp_path / f"{i}.png")
    source = make_source(readers.Crashing(tmp_path, toys.Options()))
    items = list(batches(source, groups(5), 2))
    (error,) = [item for item in items if isinstance(item, DataError)]
    assert items.index(error) == 2
    assert str(error) == (
        f"dataset 'toy': the process that reads was ended by SIGSEGV at file {tmp_path / '2.png'}: get the file "
        f"again, or allow a partial result"
    )
    assert error.remedy is Remedy.ALLOW_PARTIAL


@pytest.mark.slow
def test_without_a_file_the_clip_is_named():
    items = list(batches(make_source(readers.Exiting(None, toys.Options())), groups(3), 1))
    assert "ended with exit code 4 at clip 'test/seq001@0'" in str(items[1])
    assert len(frames([items[0], items[2]])) == 2


@pytest.mark.slow
def test_errors_of_a_dataset_travel_with_their_traceback():
    (item,) = batches(make_source(toys.Toy(None, toys.Options(broken=0))), groups(1), 1)
    assert isinstance(item, DataError) and "does not decode" in str(item)
    assert "in read" in item.__notes__[0]


_EXITS_WITH_GROUPS_UNREAD = """
from readers import assemble_by_torch
from vpbench.clips.reading import GroupReader, Readers
from vpbench.protocol.sampling import ClipRef

reading = Readers(GroupReader("toy", str, assemble_by_torch), 2)
items = reading([[ClipRef(f"test/{i}", (0, 1), 1, (1,))] for i in range(4)])
next(items)
"""


@pytest.mark.slow
def test_python_exits_quietly_while_items_arrive():
    run = subprocess.run(
        [sys.executable, "-c", _EXITS_WITH_GROUPS_UNREAD],
        **{"capture_output": True, "text": True, "timeout": 60, "cwd": Path(readers.__file__).parent},
    )
    assert (run.returncode, run.stderr) == (0, "")


def test_no_threads_are_started_to_read_in_this_process():
    before = threading.active_count()
    assert len(list(batches(make_source(toys.Toy(None, toys.Options())), groups(2), 0))) == 2
    assert threading.active_count() == before
