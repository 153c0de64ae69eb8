"""Feeds the chunks of a backend to an end: the only place where a query waits. Each driver twice, to block and to await."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from typing import TypeVar

from tsmodel.backend import AsyncBackend, Backend
from tsmodel.keys import KeyRange
from tsmodel.query.ends import End
from tsmodel.query.stats import RunStats

__all__ = ["run", "run_async", "stream", "stream_async"]

R = TypeVar("R")


def stream(backend: Backend, boxes: tuple[KeyRange, ...], end: End[R], stats: RunStats) -> Iterator[R]:
    """What `end` gives after each chunk. Closing the iterator stops the scan and releases what it holds."""
    for box in boxes:
        stats.ranges += 1
        with backend.scan(box) as scan:
            for chunk in scan:
                enough = end.feed(chunk)
                stats.tick()
                yield end.result()
                if enough:
                    return
        stats.tick()


def run(backend: Backend, boxes: tuple[KeyRange, ...], end: End[R], stats: RunStats) -> R:
    """What `end` gives after all chunks, or as soon as it has enough."""
    for box in boxes:
        stats.ranges += 1
        with backend.scan(box) as scan:
            enough = any(map(end.feed, scan))
        stats.tick()
        if enough:
            break
    return end.result()


async def stream_async(
    backend: AsyncBackend, boxes: tuple[KeyRange, ...], end: End[R], stats: RunStats
) -> AsyncGenerator[R, None]:
    """As `stream`."""
    for box in boxes:
        stats.ranges += 1
        async with backend.scan(box) as scan:
            async for chunk in scan:
                enough = end.feed(chunk)
                stats.tick()
                yield end.result()
                if enough:
                    return
        stats.tick()


async def run_async(backend: AsyncBackend, boxes: tuple[KeyRange, ...], end: End[R], stats: RunStats) -> R:
    """As `run`."""
    for box in boxes:
        stats.ranges += 1
        enough = False
        async with backend.scan(box) as scan:
            async for chunk in scan:
                if enough := end.feed(chunk):
                    break
        stats.tick()
        if enough:
            break
    return end.result()
