"""The worker of docs/external.md, and copies of it that differ in one place."""

from __future__ import annotations

import re
import sys
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "external.md"
_HELPERS = """
import ctypes, os, time

def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()

def reply(header, *arrays):
    send(json.dumps(header).encode(), *map(npy, arrays))

"""


def documented_worker() -> str:
    return re.search(r"```python\n(# repeat_worker\.py\n.*?)```", PAGE.read_text(), re.S)[1]


def write_worker(path: Path, *, predict: str = "", hello: str = "", start: str = "", answer: str = "") -> str:
    """Write a worker and return the command that starts it.

    Args:
        path: the file.
        predict: statements of ``predict(frames, horizon, seeds)``; ``header`` and ``arrays`` hold the whole message.
        hello: the first header, as an expression.
        start: statements before the first header.
        answer: statements in place of a prediction and its answer.
    """
    source = documented_worker()

    def put(old: str, new: str) -> None:
        nonlocal source
        assert source.count(old) == 1, old
        source = source.replace(old, new)

    put("def predict(", f"{_HELPERS}def predict(")
    if predict:
        put("    return np.repeat(frames[:, -1:], horizon, axis=1)  # [B,K,3,H,W]\n", _indented(predict, 4))
    first = 'send(json.dumps({"version": 1, "outputs": ["frames"]}).encode())\n'
    put(first, f"{start}\n" + (f"reply({hello})\n" if hello else first))
    if answer:
        head, _, body = source.partition("    try:\n")
        _, _, tail = body.partition("    except Exception:\n")
        statements = f"frames = predict(arrays['frames'], header['horizon'], header['seeds'])\n{answer}"
        source = f"{head}    try:\n{_indented(statements, 8)}    except Exception:\n{tail}"
    path.write_text(source)
    return f"{sys.executable} {path}"


def _indented(text: str, width: int) -> str:
    return "".join(f"{' ' * width}{line}\n" for line in text.splitlines())
