"""Commands under faults of disks, kills, stops and company: the same command resumes, and ends in the same bytes.

``SOAK_KILLS`` is the number of kills, ``SOAK_FAULTS`` that of failing operations per command and fault, 0 for all of
them (`make soak`: 200 and 20). A failure names its place.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from random import Random

import pytest
from disk_faults import KILL, REMOVE, STOP, FailingDisk, OddDisk, SmallDisk, operations

pytestmark = pytest.mark.slow

COMMANDS = ["run", "prepare", "train", "report"]
KILLS = int(os.environ.get("SOAK_KILLS", "4")) // len(COMMANDS)
FAULTS = int(os.environ.get("SOAK_FAULTS", "1"))
FULL, BROKEN = errno.ENOSPC, errno.EIO


def places(count: int, random: Random) -> Iterable[int]:
    """Return numbers of operations: all, or one of each of ``FAULTS`` equal parts."""
    if not FAULTS:
        return range(1, count + 1)
    return [1 + random.randrange(part * count // FAULTS, (part + 1) * count // FAULTS) for part in range(FAULTS)]


def error_lines(printed: str) -> list[str]:
    """Return the lines of errors; anything else on standard error is a failure."""
    assert "Traceback" not in printed and "bug of" not in printed, printed
    return [line for line in printed.splitlines() if line.startswith("vpbench: ") and ": warning: " not in line]


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_at_random_instants_it_resumes_to_the_same_bytes(make_command, undisturbed, name):
    """Half of the kills come at a random time, half before a random operation on a file."""
    expected, random = undisturbed(name), Random(f"kills of {name}")
    kills = rounds = 0
    while kills < KILLS:
        command, rounds = make_command(name), rounds + 1
        for _ in range(random.randint(1, 3)):
            before = FailingDisk(command.out, random.randint(1, expected.operations), KILL)
            process = command.start(before) if kills % 2 else command.start()
            process.join(None if kills % 2 else random.uniform(0, expected.seconds))
            process.kill()
            process.join()
            kills += process.exitcode == -signal.SIGKILL
        assert command.finish() == expected.bytes, f"round {rounds}"
    print(f"{name}: {kills} kills, {rounds} results of the same bytes")


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(("fault", "lasting"), [(FULL, True), (BROKEN, False)], ids=["full", "broken"])
def test_a_disk_that_is_full_or_broken_is_one_line_and_the_same_command_resumes(
    make_command, undisturbed, name, fault, lasting
):
    expected, random = undisturbed(name), Random(f"{fault} in {name}")
    refused = passed = 0
    for place in places(expected.operations, random):
        command = make_command(name)
        code = command.run(FailingDisk(command.out, place, fault, lasting=lasting))
        place_of_fault = f"operation {place}: {operations(command.out)[place - 1]}: {command.printed}"
        errors = error_lines(command.printed)
        if code == 0:
            assert not errors and command.bytes() == expected.bytes, place_of_fault
            passed += 1
        else:
            assert code == 1 and len(errors) == 1 and os.strerror(fault) in errors[0], place_of_fault
            refused += 1
        if not lasting and operations(command.out)[place - 1].split()[0] not in ("unlink", "fsync"):
            assert command.unfinished() == [], place_of_fault  # what cannot be removed or flushed may stay until then
        assert command.finish() == expected.bytes, place_of_fault
    print(f"{name}, {os.strerror(fault)}: {refused} refused in one line, {passed} without harm; all resumed")


def test_a_disk_that_is_really_full(make_command, undisturbed):
    command = make_command("run")
    copy = make_command("run")
    code = command.run(SmallDisk(command.out, 24, copy.out))
    if code == 77:
        pytest.skip("this system lets no user mount a tmpfs")
    assert code == 0, command.printed
    assert os.strerror(FULL) in "".join(error_lines(command.printed))
    assert copy.bytes() == undisturbed("run").bytes


@pytest.mark.parametrize("name", ["run", "prepare"])
def test_an_output_folder_that_is_removed_while_it_is_written(make_command, undisturbed, name):
    expected, random = undisturbed(name), Random(f"removal in {name}")
    for place in places(expected.operations, random):
        command = make_command(name)
        assert command.run(FailingDisk(command.out, place, REMOVE)) in (0, 1), command.printed
        assert len(error_lines(command.printed)) <= 1, command.printed
        assert command.finish() == expected.bytes, f"operation {place}"


@pytest.mark.parametrize(
    ("name", "disk"),
    [
        ("run", OddDisk(link_error=errno.EPERM)),
        ("run", OddDisk(rename_seconds=0.05)),
        ("prepare", OddDisk(rename_seconds=0.05)),
    ],
    ids=["no hard links", "slow renames", "slow renames, prepare"],
)
def test_two_processes_on_an_odd_file_system(make_command, undisturbed, name, disk):
    command = make_command(name)
    processes = [command.start(disk) for _ in range(2)]
    for process in processes:
        process.join()
        assert process.exitcode == 0, command.printed
    assert command.bytes() == undisturbed(name).bytes
    assert command.unfinished() == []


@pytest.mark.parametrize("name", ["run", "prepare"])
def test_a_clock_that_jumps_decides_nothing(make_command, undisturbed, name):
    command = make_command(name)
    assert command.run(OddDisk(clock_jump=86_400)) == 0, command.printed
    assert command.bytes() == undisturbed(name).bytes


@pytest.mark.parametrize("name", ["run", "prepare"])
def test_of_two_processes_one_is_stopped_for_a_while(make_command, undisturbed, name):
    expected, command = undisturbed(name), make_command(name)
    place = Random(f"stop of {name}").randint(1, expected.operations)
    stopped = command.start(FailingDisk(command.out, place, STOP))
    state = Path(f"/proc/{stopped.pid}/stat")
    while state.read_text().rpartition(")")[2].split()[0] != "T":
        time.sleep(0.01)
    second = command.start()
    second.join()
    assert second.exitcode == 0, command.printed
    assert command.bytes() == expected.bytes
    os.kill(stopped.pid, signal.SIGCONT)
    stopped.join()
    assert stopped.exitcode == 0, command.printed
    assert command.finish() == expected.bytes


def test_eight_processes_in_one_folder(make_command, undisturbed):
    command = make_command("run")
    processes = [command.start() for _ in range(8)]
    for process in processes:
        process.join()
    assert {process.exitcode for process in processes} == {0}, command.printed
    assert command.bytes() == undisturbed("run").bytes
    assert command.unfinished() == []
