"""What the embedded store asks of an engine that keeps blocks.

An engine knows transactions and blocks; it knows nothing of puts, acqs or merging.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TypeAlias

import msgspec

from tsmodel.backend import PutInfo, Removal
from tsmodel.keys import KeyRange
from tsmodel.store.blocks import Block

__all__ = ["Change", "Engine", "EngineBusyError", "Reading", "Run", "SupersededError", "Writing", "held"]

Change: TypeAlias = "Callable[[Block, Sequence[KeyRange]], Block | None]"
"""Given a block and the key ranges that may hold records of it: the block itself to leave it, another to take its place, or
None to forget it."""


class EngineBusyError(Exception):
    """Somebody else is writing. For the store only; nobody else gets to see it."""


class SupersededError(Exception):
    """Runs that were to be merged have changed meanwhile. For the store only; nobody else gets to see it."""


class Run(msgspec.Struct, frozen=True):
    """A run of blocks of one cid: sorted, not overlapping.

    Attributes:
        cid: client id of all its records.
        number: the engine's name for it.
        size: bytes of all its records; where some were removed, what it was until half of them are.
        count: how many records there are.
        series: how many series they are of, about; 0 when that is not known.
        level: what is to become of it, a `Level` of `store.directory`.
    """

    cid: int
    number: int
    size: int
    count: int
    series: int
    level: int = 0


class Reading(Protocol):
    """A snapshot: what is committed afterwards does not show."""

    def last_acq(self) -> int:
        """The greatest acq that was given or promised."""
        ...

    def blocks(self, box: KeyRange) -> Iterator[Block]:
        """All blocks that may hold records inside `box`, one at a time."""
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


class Writing(Protocol):
    """A transaction that is alone in writing; it is durable when its `with` block has ended, or undone by an error."""

    def last_acq(self) -> int:
        """The greatest acq that was given or promised."""
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
        """All puts, the oldest first; as they were when the transaction began."""
        ...

    def keep_put(self, put: PutInfo, replaced: PutInfo | None = None) -> None:
        """Remembers a put, which has the next number; or the one that it `replaced`."""
        ...

    def keep_removal(self, removal: Removal) -> None:
        """Remembers a removal, which has the next number."""
        ...

    def rewrite(self, boxes: Sequence[KeyRange], change: Change) -> None:
        """Changes blocks that may hold records of some disjoint key ranges, one at a time. Other blocks are not read, and
        those that `change` leaves are not written."""
        ...

    def set_last_acq(self, acq: int) -> None:
        """Records that acqs up to `acq` were given or promised."""
        ...

    def blocks(self, box: KeyRange) -> Iterator[Block]:
        """See `Reading.blocks`; as it was when the transaction began."""
        ...

    def runs(self, cid: int) -> list[Run]:
        """All runs of a cid."""
        ...

    def load(self, run: Run) -> list[Block]:
        """The blocks of a run."""
        ...

    def remove(self, run: Run) -> None:
        """Forgets a run."""
        ...

    def insert(self, cid: int, blocks: Sequence[Block], *, is_merged: bool = False, level: int = 0) -> None:
        """Keeps blocks as a new run of `cid`; those that were merged may be compressed harder, for they stay longer."""
        ...

    def spread(self, runs: Sequence[Run], most: int) -> None:
        """Takes a step in merging large runs of a cid into others that are each of some series: merges what they begin
        with, about `most` bytes of records. Their level says then that the rest is to follow."""
        ...


class Engine(Protocol):
    """Keeps blocks. All methods may be called from any thread; errors are `StoreError`s."""

    @property
    def path(self) -> str | None:
        """The file, or None for memory."""
        ...

    def reading(self) -> AbstractContextManager[Reading]:
        """A snapshot to read from; several may be open at once, and while something is written."""
        ...

    def writing(self, *, wait: bool = True) -> AbstractContextManager[Writing]:
        """A transaction to write with; waits for others to end.

        Raises:
            EngineBusyError: on entering, when there is another and it is not to `wait`.
        """
        ...

    def close(self) -> None:
        """Releases everything; a second call does nothing."""
        ...


@contextmanager
def held(lock: threading.Lock, *, wait: bool) -> Iterator[None]:
    """Holds a lock meanwhile.

    Raises:
        EngineBusyError: when somebody else does, and it is not to `wait`.
    """
    if not lock.acquire(blocking=wait):
        raise EngineBusyError
    try:
        yield
    finally:
        lock.release()
