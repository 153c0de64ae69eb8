"""Feeds the chunks of a backend to an end: the only place where a query waits. Each driver twice, to block and to await."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, closing
from typing import Any, TypeVar

from tsmodel.backend import AsyncBackend, Backend
from tsmodel.keys import KeyRange
from tsmodel.query.ends import End
from tsmodel.query.fetching import fetched, fetched_async
from tsmodel.query.stats import RunStats
from tsmodel.wire.chunk import Chunk

__all__ = ["run", "run_async", "stream", "stream_async"]

R = TypeVar("R")


def stream(backend: Backend, boxes: tuple[KeyRange, ...], end: End[R], stats: RunStats) -> Iterator[R]:
    """What `end` gives after each chunk. Closing the iterator stops the scan and releases what it holds."""
    with closing(fetched(backend, boxes, stats)) as chunks:
        for chunk in chunks:
            enough = _fed(end, chunk, stats)
            stats.tick()
            yield end.result()
            if enough:
                return


def run(backend: Backend, boxes: tuple[KeyRange, ...], end: End[R], stats: RunStats) -> R:
    """What `end` gives after all chunks, or as soon as it has enough."""
    with closing(fetched(backend, boxes, stats)) as chunks:
        for chunk in chunks:
            if _fed(end, chunk, stats):
                break
    stats.tick()
    return end.result()


async def stream_async(
    backend: AsyncBackend, boxes: tuple[KeyRange, ...], end: End[R], stats: RunStats
) -> AsyncGenerator[R, None]:
    """As `stream`."""
    async with aclosing(fetched_async(backend, boxes, stats)) as chunks:
        async for chunk in chunks:
            enough = _fed(end, chunk, stats)
            stats.tick()
            yield end.result()
            if enough:
                return


async def run_async(backend: AsyncBackend, boxes: tuple[KeyRange, ...], end: End[R], stats: RunStats) -> R:
    """As `run`."""
    async with aclosing(fetched_async(backend, boxes, stats)) as chunks:
        async for chunk in chunks:
            if _fed(end, chunk, stats):
                break
    stats.tick()
    return end.result()


def _fed(end: End[Any], chunk: Chunk, stats: RunStats) -> bool:
    since = time.perf_counter()
    known = stats.steps.get("checking", 0.0) + stats.steps.get("filtering", 0.0)
    enough = end.feed(chunk)
    # What is not spent on these is spent on making something of the records.
    known -= stats.steps.get("checking", 0.0) + stats.steps.get("filtering", 0.0)
    stats.spent("making", since - known)
    return enough
