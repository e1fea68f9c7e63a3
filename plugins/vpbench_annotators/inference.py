"""How networks are run within annotators."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def inference() -> Iterator[None]:
    """Run networks without gradients and in one thread.

    A process that reads ahead has one thread, and convolutions in several give other last bits: with more here, a
    result would depend on ``--workers``.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(threads)
