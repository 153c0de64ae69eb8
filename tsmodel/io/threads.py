"""Threads and tasks in the background: a blocking store for an event loop, and flushing at regular intervals.

Rules kept here:

* A call that writes runs to its end, even if the task that waits for it is cancelled.
* A flusher does not keep its session alive: it ends when the session is closed or garbage-collected.
* A flusher reports no failures. The session keeps them for the next call.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Protocol

from tsmodel.backend import (
    AcqInterval,
    Backend,
    Batch,
    Predicate,
    PutId,
    PutInfo,
    Removal,
    RemovalKind,
    Remover,
    Scan,
    Sharded,
)
from tsmodel.io.runners import AsyncScan, in_thread
from tsmodel.keys import KeyRange
from tsmodel.wire.chunk import Chunk
from tsmodel.wire.stored import Unstored

if TYPE_CHECKING:
    import asyncio

__all__ = ["AsyncFlusher", "Flusher", "ThreadedStore", "in_thread"]

_CHUNKS_AT_ONCE: Final = 8
"""Chunks to fetch in one call of a thread, which costs about as much as decoding a small chunk."""


class BlockingStore(Backend, Remover, Protocol):
    """A blocking store that can remove records."""


class ThreadedStore:
    """An embedded store as an asynchronous backend. Several tasks may use it at once.

    Its chunks must stay valid, as those of the embedded store do, because several are fetched in one call.
    """

    def __init__(self, store: BlockingStore) -> None:
        self._store = store
        self.scan_budget = store.scan_budget

    @classmethod
    async def opened(cls, opener: Callable[[], BlockingStore]) -> ThreadedStore:
        """Opens a store in a thread."""
        store = await in_thread(opener)
        return ThreadedShards(store) if isinstance(store, Sharded) else cls(store)

    @property
    def store(self) -> BlockingStore:
        """The blocking store."""
        return self._store

    def scan(self, box: KeyRange) -> AsyncScan:
        """See `Backend.scan`."""
        return AsyncScan(self._chunks(box))

    async def append(
        self, batches: Sequence[Batch], *, with_acq: bool = False, unless_stored: Unstored | None = None
    ) -> AcqInterval:
        """See `Backend.append`. Cancelling the waiting task does not interrupt it."""
        return await in_thread(lambda: self._store.append(batches, with_acq=with_acq, unless_stored=unless_stored))

    async def last_acq(self, box: KeyRange) -> int:
        """See `Backend.last_acq`."""
        return await in_thread(lambda: self._store.last_acq(box))

    async def remove(
        self,
        boxes: Sequence[KeyRange],
        predicate: Predicate | None = None,
        *,
        kind: RemovalKind = "delete",
        what: str = "",
        note: str | None = None,
        dry_run: bool = False,
    ) -> int:
        """See `Remover.remove`. Cancelling the waiting task does not interrupt it."""
        remove = self._store.remove
        return await in_thread(lambda: remove(boxes, predicate, kind=kind, what=what, note=note, dry_run=dry_run))

    async def undo(self, puts: Sequence[PutId], note: str | None = None) -> int:
        """See `Remover.undo`."""
        return await in_thread(lambda: self._store.undo(puts, note))

    async def annotate(self, puts: Sequence[PutId], note: str) -> None:
        """See `Remover.annotate`."""
        await in_thread(lambda: self._store.annotate(puts, note))

    async def puts(self) -> list[PutInfo]:
        """See `Remover.puts`."""
        return await in_thread(self._store.puts)

    async def removals(self, since: int = 0) -> list[Removal]:
        """See `Remover.removals`."""
        return await in_thread(lambda: self._store.removals(since))

    async def close(self) -> None:
        """See `Backend.close`."""
        await in_thread(self._store.close)

    async def _chunks(self, box: KeyRange) -> AsyncGenerator[Chunk | int, None]:
        scan: Scan = self._store.scan(box)
        try:
            while chunks := await in_thread(lambda: list(islice(scan, _CHUNKS_AT_ONCE))):
                for chunk in chunks:
                    yield chunk
            yield scan.acq
        finally:
            scan.close()


class ThreadedShards(ThreadedStore):
    """The same for a store with shards; see `Sharded`."""

    def shard(self, at: int) -> ThreadedStore:
        """See `Sharded.shard`."""
        shard: Any = self._sharded.shard(at)
        return ThreadedStore(shard)

    def shards_of(self, boxes: Sequence[KeyRange]) -> Sequence[int]:
        """See `Sharded.shards_of`."""
        return self._sharded.shards_of(boxes)

    async def last_acq_of(self, boxes: Sequence[KeyRange]) -> int:
        """See `Sharded.last_acq_of`."""
        return await in_thread(lambda: self._sharded.last_acq_of(boxes))

    async def removals_of(self, boxes: Sequence[KeyRange], told: Sequence[int]) -> tuple[list[Removal], tuple[int, ...]]:
        """See `Sharded.removals_of`."""
        return await in_thread(lambda: self._sharded.removals_of(boxes, told))

    @property
    def _sharded(self) -> Sharded:
        assert isinstance(self._store, Sharded)
        return self._store


class Flusher:
    """A thread that calls a method every `seconds` until it is stopped or the method's object is garbage-collected."""

    def __init__(self, seconds: float, method: Callable[[], object]) -> None:
        self._stop = threading.Event()
        arguments = (self._stop, seconds, weakref.WeakMethod(method))
        self._thread = threading.Thread(target=_flush, args=arguments, name="tsmodel-flusher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stops after a flush in progress."""
        self._stop.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()


def _flush(stop: threading.Event, seconds: float, method: weakref.WeakMethod[Callable[[], object]]) -> None:
    while not stop.wait(min(seconds, threading.TIMEOUT_MAX)):
        flush = method()
        if flush is None:
            return
        flush()
        del flush


class AsyncFlusher:
    """Like `Flusher`, a task that awaits a method."""

    def __init__(self, seconds: float, method: Callable[[], Awaitable[object]]) -> None:
        import asyncio

        self._stop = asyncio.Event()
        flushing = _flush_async(self._stop, seconds, weakref.WeakMethod(method))
        self._task = asyncio.create_task(flushing, name="tsmodel-flusher")

    async def stop(self) -> None:
        """See `Flusher.stop`."""
        import asyncio

        self._stop.set()
        await asyncio.wait([self._task])


async def _flush_async(
    stop: asyncio.Event, seconds: float, method: weakref.WeakMethod[Callable[[], Awaitable[object]]]
) -> None:
    import asyncio

    while True:
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(stop.wait(), seconds)
        if stop.is_set() or (flush := method()) is None:
            return
        await flush()
        del flush
