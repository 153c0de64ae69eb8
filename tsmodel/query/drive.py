"""Feeds the chunks of a backend to an end: the only place where a query waits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from tsmodel.backend import Backend
from tsmodel.keys import KeyRange
from tsmodel.query.ends import End
from tsmodel.query.stats import RunStats

__all__ = ["run", "stream"]

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
