"""How annotators use threads, and how they run networks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
R = TypeVar("R")


def map_threads(function: Callable[[T], R], items: Iterable[T], threads: int | None = None) -> list[R]:
    """Return ``function`` of each item, in that many threads; by default torch's, which is 1 in a reading process."""
    entries = list(items)
    count = min(threads or torch.get_num_threads(), len(entries))
    if count < 2:
        return [function(entry) for entry in entries]
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(function, entries))


def run_network(network: Callable[..., Tensor], *batches: Tensor, device: str) -> Tensor:
    """Run a network on a batch, and return its output on the CPU.

    On a CPU, one thread computes each entry, several entries side by side. No output then depends on the batch or on
    the number of threads. A GPU computes the batch at once, without TF32: outputs differ from a CPU's by rounding.
    """
    if device != "cpu":
        with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False, deterministic=True):
            return network(*(batch.to(device) for batch in batches)).cpu()

    def single(entries: tuple[Tensor, ...]) -> Tensor:
        with torch.inference_mode():
            return network(*entries)

    threads = torch.get_num_threads()
    with _one_thread():
        entries = zip(*(batch.split(1) for batch in batches), strict=True)
        return torch.cat(map_threads(single, entries, threads))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch use one thread, and those that are started here one each: several add up in another order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
