"""What the embedded store asks of an engine that keeps blocks.

An engine knows transactions and blocks; it knows nothing of puts, acqs or merging.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import attrs

from tsmodel.keys import KeyRange
from tsmodel.store.blocks import Block, EncodedBlock

__all__ = ["Engine", "EngineBusyError", "Reading", "Run", "Writing", "held"]


class EngineBusyError(Exception):
    """Somebody else is writing. For the store only; nobody else gets to see it."""


@attrs.frozen
class Run:
    """A run of blocks of one cid: sorted, not overlapping.

    Attributes:
        cid: client id of all its records.
        number: the engine's name for it.
        size: bytes of all its records.
    """

    cid: int
    number: int
    size: int


class Reading(Protocol):
    """A snapshot: what is committed afterwards does not show."""

    def last_acq(self) -> int:
        """The greatest acq that was given or promised."""
        ...

    def blocks(self, box: KeyRange) -> Iterator[Block]:
        """All blocks that may hold records inside `box`, one at a time."""
        ...


class Writing(Protocol):
    """A transaction that is alone in writing; it is durable when its `with` block has ended, or undone by an error."""

    def last_acq(self) -> int:
        """The greatest acq that was given or promised."""
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

    def insert(self, cid: int, blocks: Sequence[Block], *, is_merged: bool = False) -> None:
        """Keeps blocks as a new run of `cid`; those that were merged may be compressed harder, for they stay longer."""
        ...

    def insert_encoded(self, cid: int, blocks: Sequence[EncodedBlock]) -> None:
        """Keeps blocks that are encoded already as a new run of `cid`."""
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
