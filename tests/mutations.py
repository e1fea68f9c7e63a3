"""Seeded mutations of files: of bytes, of JSON documents and of TOML texts. The same generator gives the same file."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from random import Random
from typing import Any

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 7, 10**6, 2**31, 2**63, -(2**63) - 1, 10**30, 0.1, -0.0, 1e-300, 1e308),
    *(float("nan"), float("inf"), -float("inf"), "", "a", "mse", "NaN", "1", "../x", "/", "\0", "\ud800", "é\u202e"),
    *("x" * 5000, [], [[]], [1, 2], ["a"], {}, {"a": 1}, [None] * 300, "0" * 64, "\n", "-1"),
)
TOKENS = (
    *("nan", "inf", "-1", "0", "99999999999999999999", "1e400", "''", '"x"', "[]", "{}", "[[1]]", "true", "{a.b = 1}"),
    *("1979-05-27", '"""', "[", "=", '"\\ud800"', "'../x'", "[1, 2]", "{op = 1}", "0x10", "[" * 200, "a.b.c"),
)
WORDS = (
    b"\0",
    b"\xff",
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\x80",
    b"\xff\xd9",
)


def mutated_bytes(data: bytes, random: Random) -> bytes:
    """Return other bytes: some overwritten, cut off, repeated, removed or inserted."""
    content = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 5, 20))):
        place = (
            random.randrange(len(content) + 1) if random.random() < 0.5 else random.randrange(min(64, len(content) + 1))
        )
        length = random.choice((1, 2, 4, 30, 500))
        match random.randrange(6):
            case 0:
                content[place : place + 1] = bytes([random.randrange(256)])
            case 1:
                word = random.choice(WORDS)
                content[place : place + len(word)] = word
            case 2:
                del content[place : place + length]
            case 3:
                content[place:place] = content[place : place + length]
            case 4:
                content[place:place] = random.randbytes(length)
            case _:
                if random.random() < 0.3:
                    del content[place:]
    return bytes(content)


def mutated_json(text: str, random: Random) -> str:
    """Return a JSON document with some values replaced, removed, renamed, copied, nested or scaled."""
    document = json.loads(text)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        places = list(_places(document))
        if not places:
            break
        holder, key = random.choice(places)
        match random.randrange(7):
            case 0 | 1:
                holder[key] = copy.deepcopy(random.choice(VALUES))
            case 2:
                del holder[key]
            case 3:
                source, name = random.choice(places)
                holder[key] = copy.deepcopy(source[name])
            case 4 if isinstance(holder, dict):
                holder[random.choice(("", "schema", "x", "mse", f"{key} "))] = holder.pop(key)
            case 5:
                holder[key] = _scaled(holder[key], random)
            case _:
                for _ in range(random.choice((1, 50))):
                    holder[key] = [holder[key]]
    return json.dumps(document)


def mutated_toml(text: str, random: Random) -> str:
    """Return a TOML text with some lines replaced, removed, repeated or exchanged, or values replaced."""
    lines = text.splitlines()
    for _ in range(random.choice((1, 1, 2, 4))):
        place = random.randrange(len(lines))
        key, equals, value = lines[place].partition("=")
        match random.randrange(7):
            case 0 | 1 if equals:
                lines[place] = f"{key}= {random.choice(TOKENS)}"
            case 2 if len(lines) > 1:
                del lines[place]
            case 3:
                lines.insert(random.randrange(len(lines)), lines[place])
            case 4:
                lines.insert(place, f"{random.choice(TOKENS)} = {random.choice(TOKENS)}")
            case 5 if equals:
                lines[place] = f"{key}={random.choice(('', '-', '1', '[', ' 1'))}{value.strip()}"
            case _:
                second = random.randrange(len(lines))
                lines[place], lines[second] = lines[second], lines[place]
    return "\n".join(lines) + "\n"


def _scaled(value: Any, random: Random) -> Any:
    """Return a number that is a little or much different; other values twice."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value * random.choice((-1, 2, 1.0000001, 1e300)) + random.choice((0, 1))
    return value + value if isinstance(value, str | list) else [value, value]


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every container with each of its keys."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])
