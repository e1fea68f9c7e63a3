"""The allocator keeps freed memory where glibc is, unless the environment sets it already."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import subprocess
import sys

import pytest

from vpbench.allocator import keep_memory, paused_collection

on_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc has these settings")

FAULTS = """
import ctypes, resource, sys
{call}
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
def use():
    block = libc.malloc(2**27)  # more than the heap grows by at once
    libc.memset(block, 1, 2**27)
    libc.free(block)
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES = 2**27 // os.sysconf("SC_PAGESIZE")


def environment(**settings: str) -> dict[str, str]:
    """This process's environment without settings of malloc."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_") and k != "GLIBC_TUNABLES"}
    return inherited | settings


def output(code: str, **settings: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment(**settings), capture_output=True, text=True, check=True).stdout


@on_glibc
@pytest.mark.slow
def test_blocks_that_were_freed_are_not_cleared_again():
    retained, returned = (
        int(output(FAULTS.format(call=call)))
        for call in ("from vpbench.allocator import keep_memory; assert keep_memory()", "")
    )
    assert retained < PAGES / 10
    assert retained < returned / 10 or returned < PAGES / 10, "huge pages need few faults"


@on_glibc
@pytest.mark.parametrize(
    ("name", "value"),
    [("MALLOC_TRIM_THRESHOLD_", "131072"), ("MALLOC_ARENA_MAX", "1"), ("GLIBC_TUNABLES", "glibc.malloc.top_pad=4096")],
)
def test_settings_of_the_environment_are_respected(name, value):
    assert output("from vpbench.allocator import keep_memory; print(keep_memory())", **{name: value}) == "False\n"


@on_glibc
def test_tunables_of_other_parts_of_glibc_do_not_matter():
    code = "from vpbench.allocator import keep_memory; print(keep_memory())"
    assert output(code, GLIBC_TUNABLES="glibc.rtld.nns=4") == "True\n"


@pytest.mark.parametrize("symbols", [{}, {"gnu_get_libc_version": 1}, {"mallopt": 1}])
def test_other_c_libraries_are_left_alone(symbols, monkeypatch):
    monkeypatch.setattr(os, "environ", environment())
    monkeypatch.setattr(ctypes, "CDLL", lambda name: type("Library", (), symbols))
    assert not keep_memory()


@pytest.mark.parametrize("error", [OSError, TypeError])
def test_a_system_without_a_library_of_the_process_is_left_alone(error, monkeypatch):
    def fail(name):
        raise error

    monkeypatch.setattr(os, "environ", environment())
    monkeypatch.setattr(ctypes, "CDLL", fail)
    assert not keep_memory()


def test_every_command_sets_it_at_its_start():
    code = "import vpbench.allocator as a; a.keep_memory = lambda: print('called')\nfrom vpbench.cli.main import main\n"
    assert output(code + "main(['--version'])").startswith("called\n")


def test_the_search_for_cycles_is_paused_and_resumed():
    with paused_collection():
        assert not gc.isenabled()
    assert gc.isenabled()
