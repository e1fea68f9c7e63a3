"""Files that someone else may have written: refused in bounded time and memory, with the reason."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from vpbench.files import RECORD, TOML, parse_json, parse_toml, read_bytes, read_text, read_toml


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file"


def make_socket(path):
    os.chdir(path.parent)  # the path of a socket is short
    socket.socket(socket.AF_UNIX).bind(path.name)


KINDS = {
    "a folder": Path.mkdir,
    "a FIFO": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a socket": make_socket,
}


@pytest.mark.parametrize("kind", KINDS)
def test_only_regular_files_are_read_and_nothing_is_waited_for(path, kind, monkeypatch):
    monkeypatch.chdir(path.parent)
    KINDS[kind](path)
    start = time.monotonic()
    with pytest.raises(ValueError, match=f"^it is {kind}, not a regular file$"):
        read_bytes(path, RECORD)
    assert time.monotonic() - start < 1


def test_a_fifo_that_takes_the_place_of_a_file_is_not_waited_for(path, monkeypatch):
    """The path may name another file by the time that it is opened."""
    path.write_bytes(b"x")
    status = path.stat()
    path.unlink()
    os.mkfifo(path)
    monkeypatch.setattr(type(path), "stat", lambda self: status)
    with pytest.raises(ValueError, match="it is a FIFO"):
        read_bytes(path, RECORD)


def test_links_are_followed_to_regular_files_and_loops_are_errors(path):
    (path.parent / "target").write_bytes(b"text")
    path.symlink_to("target")
    assert read_bytes(path, RECORD) == b"text"
    path.unlink()
    path.symlink_to("file")
    with pytest.raises(OSError, match="symbolic links"):
        read_bytes(path, RECORD)


def test_the_limit_is_the_last_size_that_is_read(path):
    path.write_bytes(b"x" * 100)
    assert len(read_bytes(path, 100)) == 100
    with pytest.raises(ValueError, match="larger than"):
        read_bytes(path, 99)


def test_a_file_that_grows_while_it_is_read_is_refused():
    """Such as those in /proc, whose size is given as 0."""
    with pytest.raises(ValueError, match="larger than"):
        read_bytes(Path("/proc/self/status"), 10)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[" * 100_000, "nested more than 32 levels"),
        ("NaN", "NaN is no JSON"),
        ("[-Infinity]", "-Infinity is no JSON"),
        ("1e999", "too large"),
        ("9" * 20, "more than 19 digits"),
        ("-" + "9" * 5000, "more than 19 digits"),
        ('{"a": 1, "b": 2, "a": 3}', "'a' stands twice"),
        (r'"\ud800"', "surrogate"),
        (r'{"\uDC00": 1}', "surrogate"),
        ('{"a": ', "Expecting value"),
    ],
)
def test_json_that_is_refused(content, reason):
    with pytest.raises(ValueError, match=reason):
        parse_json(content)


def test_json_that_is_read():
    text = r'{"a": [1, -2.5e3, null, true, "\ud83d\ude00 é"], "b": {"c": 9223372036854775807}}'
    assert parse_json(text) == {"a": [1, -2500.0, None, True, "😀 é"], "b": {"c": 2**63 - 1}}
    assert parse_json("[" * 31 + "]" * 31)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("a = " + "[" * 100_000, "nested more than 32 levels"),
        ("x = 1\na" + ".a" * 300_000 + " = 1", r"^line 2: a key has more than 100 parts"),
        ("['a'" + ' . "b"' * 120 + "]", "a key has more than 100 parts"),
        ("a = 0x" + "f" * 100_000, "more than 19 digits"),
        ("a = " + "9" * 30, "more than 19 digits"),
        ("a = 1\na = 2", "overwrite"),
        ("a = ", "Invalid value"),
    ],
)
def test_toml_that_is_refused_within_a_second(content, reason):
    start = time.process_time()
    with pytest.raises(ValueError, match=reason):
        parse_toml(content)
    assert time.process_time() - start < 1


def test_toml_that_is_read():
    prose = "one. two. three. " * 20
    assert parse_toml(f'a.b.c = 1\nprose = "{prose}"\n')["a"] == {"b": {"c": 1}}


def test_long_lines_without_dots_take_no_time():
    start = time.process_time()
    assert len(parse_toml("a = '" + "x" * 500_000 + "'")["a"]) == 500_000
    with pytest.raises(ValueError, match="Expected"):
        parse_toml("x" * 500_000)
    assert time.process_time() - start < 2


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_text_is_utf8_with_or_without_a_byte_order_mark(path, encoding):
    path.write_text("é = 1".replace("é", "'é'"), encoding=encoding)
    assert read_toml(path, "file") == {"é": 1}


@pytest.mark.parametrize(
    ("encoding", "reason"),
    [("utf-16", "UTF-16"), ("utf-16-le", "UTF-16"), ("utf-32", "UTF-16"), ("latin-1", r"byte 1\)")],
)
def test_another_encoding_is_named(path, encoding, reason):
    path.write_text("'é' = 1", encoding=encoding)
    with pytest.raises(ValueError, match=reason):
        read_text(path, TOML)
