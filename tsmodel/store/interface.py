"""The interface between the embedded store and the engine that stores its blocks.

An engine provides transactions over blocks, runs and the log of puts and removals. The store assigns acqs and decides what
to merge.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TypeAlias

import msgspec

from tsmodel.backend import PutInfo, Removal
from tsmodel.keys import KeyRange
from tsmodel.store.blocks import Block, Bounds

__all__ = ["Change", "Engine", "EngineBusyError", "Reading", "Run", "Skip", "SupersededError", "Writing", "held"]

Change: TypeAlias = "Callable[[Block, Sequence[KeyRange]], Block | None]"
"""Takes a block and the key ranges it may overlap. Returns the same block to leave it, another one to replace it, or None
to delete it."""

Skip: TypeAlias = "Callable[[Bounds, int], bool]"
"""Takes the bounds and the record count of a block; whether to skip the block. A skipped block is not read."""


class EngineBusyError(Exception):
    """Another writer is active. Internal: never leaves the store."""


class SupersededError(Exception):
    """Runs changed while they were being merged. Internal: never leaves the store."""


class Run(msgspec.Struct, frozen=True):
    """A run: sorted, non-overlapping blocks of one cid.

    Attributes:
        cid: client id of all its records.
        number: identifies the run in the engine.
        size: bytes of all its records. A removal updates it only once half of the records are gone.
        count: number of records.
        series: approximate number of series; 0 if unknown.
        level: a `Level` of `store.directory`: which merges the run still takes part in.
    """

    cid: int
    number: int
    size: int
    count: int
    series: int
    level: int = 0


class Reading(Protocol):
    """A snapshot: later commits are invisible to it."""

    def last_acq(self) -> int:
        """The greatest acq that was given or promised."""
        ...

    def blocks(self, box: KeyRange, skip: Skip | None = None) -> Iterator[Block]:
        """Yields the blocks that may hold records inside `box`, except those that `skip` wants skipped."""
        ...

    @property
    def next_put(self) -> int:
        """The number of the next put."""
        ...

    @property
    def next_removal(self) -> int:
        """The number of the next removal."""
        ...

    def puts(self) -> Iterator[PutInfo]:
        """All puts, the oldest first."""
        ...

    def removals(self) -> Iterator[Removal]:
        """All removals, the oldest first."""
        ...


class Writing(Reading, Protocol):
    """An exclusive write transaction. Leaving its `with` block commits it durably; an exception rolls it back. `blocks`,
    `puts` and `removals` are those as of its start."""

    def keep_put(self, put: PutInfo, replaced: PutInfo | None = None) -> None:
        """Logs a put: a new one with the next number, or the successor of `replaced`."""
        ...

    def keep_removal(self, removal: Removal) -> None:
        """Logs a removal, which has the next number."""
        ...

    def rewrite(self, boxes: Sequence[KeyRange], change: Change) -> None:
        """Applies `change` to each block that may hold records of some disjoint key ranges, one at a time. Reads no other
        blocks and writes only those that changed."""
        ...

    def set_last_acq(self, acq: int) -> None:
        """Records that acqs up to `acq` are assigned or promised."""
        ...

    def runs(self, cid: int) -> list[Run]:
        """All runs of a cid."""
        ...

    def load(self, run: Run) -> list[Block]:
        """The blocks of a run."""
        ...

    def remove(self, run: Run) -> None:
        """Deletes a run."""
        ...

    def insert(self, cid: int, blocks: Sequence[Block], *, level: int = 0) -> None:
        """Stores blocks as a new run of `cid`."""
        ...

    def spread(self, runs: Sequence[Run], most: int) -> None:
        """Takes a step in merging large runs of a cid into runs that each cover a part of the series: merges about `most`
        bytes of records from their start. The level of what remains says that more steps follow."""
        ...


class Engine(Protocol):
    """Stores blocks. Thread-safe; raises `StoreError`s."""

    @property
    def path(self) -> str | None:
        """The file, or None in memory."""
        ...

    def reading(self) -> AbstractContextManager[Reading]:
        """Opens a snapshot. Several may be open at once, also during a write transaction."""
        ...

    def writing(self, *, wait: bool = True) -> AbstractContextManager[Writing]:
        """Opens a write transaction once no other one is open.

        Raises:
            EngineBusyError: on entering, if another one is open and `wait` is false.
        """
        ...

    def close(self) -> None:
        """Releases everything. A second call does nothing."""
        ...


@contextmanager
def held(lock: threading.Lock, *, wait: bool) -> Iterator[None]:
    """Holds a lock for the `with` block.

    Raises:
        EngineBusyError: if another thread holds it and `wait` is false.
    """
    if wait:
        with lock:  # between its call and a `try`, Ctrl-C would leave it locked
            yield
        return
    if not lock.acquire(blocking=False):
        raise EngineBusyError
    try:
        yield
    finally:
        lock.release()
