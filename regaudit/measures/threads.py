"""Layers measured side by side: numpy and BLAS let go of the interpreter while they compute.

A layer is measured by one thread, so that no number depends on how many there are.
"""

from __future__ import annotations

import os
from contextvars import copy_context
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from regaudit.records import Layer

R = TypeVar("R")

# Small layers are all interpreter, which two threads only hand to and fro.
LEAST_LAYER: Final = 1 << 15  # weights of a layer, on average
LEAST_MODEL: Final = 1 << 21  # weights: 10 ms of work


def worth(layers: Sequence[Layer], wanted: int) -> int:
    """Return how many threads to use of those wanted (0: as many as there are processors for this process)."""
    total = sum(each.size for each in layers)
    if total < max(LEAST_MODEL, LEAST_LAYER * len(layers)):
        return 1
    return min(wanted or len(os.sched_getaffinity(0)), len(layers))


def in_order(work: Callable[[Layer], R], layers: Sequence[Layer], threads: int) -> Iterator[R]:
    """Yield what `work` returns for each layer, in their order; the largest are begun first, so that none is left over.

    The first exception, in their order, is raised; what has not begun by then never does.
    """
    if threads < 2:
        yield from map(work, layers)
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(threads) as pool:
        largest_first = sorted(range(len(layers)), key=lambda k: -layers[k].size)
        # Limits hold in a context; a new thread begins with an empty one.
        running = {k: pool.submit(copy_context().run, work, layers[k]) for k in largest_first}
        try:
            for k in range(len(layers)):
                yield running.pop(k).result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
