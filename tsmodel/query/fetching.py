"""The chunks of several key ranges, as if they were one: fetched concurrently where the backend's scan budget allows.

Rules kept here:

* What is fetched and not yet taken is bounded: a few chunks for each scan.
* The first failure ends the fetching, and is raised. A consumer that stops early leaves scans that end at their next chunk;
  they release what they hold themselves, and nobody waits for them.
* What was taken from a backend's scan budget comes back, however and wherever the fetching ends.
* Small chunks are joined before a sink is fed with them: each feeding costs about the same for few records as for many.
"""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Generator, Iterable, Iterator, Sequence
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from tsmodel.backend import AsyncBackend, Backend, Spare
from tsmodel.keys import KeyRange
from tsmodel.query.explain import RunStats
from tsmodel.wire.chunk import Chunk, ColumnChunk, RowChunk, joined

if TYPE_CHECKING:
    import asyncio

__all__ = ["Gathering", "fetched", "fetched_async"]

_FIRST_ROOM: Final = 2**17
_MOST_ROOM: Final = 2**20
"""Bytes: enough that what each time costs is nothing, few enough that they stay in a processor's cache."""
_WHOLE: Final = 2**16
"""Bytes of columns that always go through: joining them costs more than what is saved by it."""
_HELD: Final = 16 * _MOST_ROOM
"""Bytes that columns held back may keep alive: few records may have been picked out of many."""


class Gathering:
    """Makes chunks of a good size.

    The first chunk goes through as it is, and then ever more are held back: a query that needs little is not made to read
    much. Large chunks always go through: copying them would take a fifth of what receiving them takes. Rows are copied as
    they come, into a buffer that is used again; columns are joined when they are decoded.
    """

    def __init__(self) -> None:
        self._room = 0
        self._buffer = memoryview(b"")
        self._parts: list[Chunk] = []
        self._size = self._held = 0

    def push(self, chunk: Chunk) -> Iterable[Chunk]:
        """Takes a chunk; gives those that are ready, to be gone through before the next is pushed; each is valid until the
        next."""
        size = chunk.nbytes
        held = chunk.held if isinstance(chunk, ColumnChunk) else 0
        if (
            size <= self._room // 2
            and not (held and size >= _WHOLE)
            and self._size + size <= self._room
            and self._held + held <= _HELD
            and (not self._parts or isinstance(chunk, RowChunk) == isinstance(self._parts[0], RowChunk))
        ):
            self._hold(chunk, size, held)
            return ()
        return self._full(chunk, size, held)

    def rest(self) -> Iterator[Chunk]:
        """Gives what is held back."""
        parts, size = self._parts, self._size
        self._parts, self._size, self._held = [], 0, 0
        if parts:
            yield joined(parts, self._buffer[:size] if isinstance(parts[0], RowChunk) else None)

    def _hold(self, chunk: Chunk, size: int, held: int) -> None:
        if isinstance(chunk, RowChunk):
            if len(self._buffer) < self._room:
                self._buffer = np.empty(self._room, np.uint8).data
            copy = self._buffer[self._size : self._size + size]
            copy[:] = chunk.rows()
            chunk = chunk.moved(copy)
        self._parts.append(chunk)
        self._size += size
        self._held += held

    def _full(self, chunk: Chunk, size: int, held: int) -> Iterator[Chunk]:
        yield from self.rest()
        is_first = not self._room
        self._room = min(2 * self._room, _MOST_ROOM) or _FIRST_ROOM
        if is_first or size > self._room // 2 or (held and size >= _WHOLE):
            yield chunk
        else:
            self._hold(chunk, size, held)


_log = logging.getLogger("tsmodel.query")

_AHEAD: Final = 2
"""Chunks for each scan that may wait to be taken."""


class _Begun:
    """A key range is being read."""


class _Ended:
    """A scan has no more to do."""


class _Mailbox:
    """What comes from several threads, for one that takes it."""

    def __init__(self, most: int) -> None:
        self._items: deque[object] = deque()
        self._most = most
        self._changed = threading.Condition()
        self.is_closed = False

    def put(self, item: object) -> bool:
        """Waits for room; returns whether anybody still wants it."""
        with self._changed:
            while len(self._items) >= self._most and not self.is_closed:
                self._changed.wait()
            self._items.append(item)
            self._changed.notify_all()
            return not self.is_closed

    def take(self) -> object:
        """Waits for the next."""
        with self._changed:
            while not self._items:
                self._changed.wait()
            self._changed.notify_all()
            return self._items.popleft()

    def close(self) -> None:
        """Nobody takes anything any more."""
        with self._changed:
            self.is_closed = True
            self._changed.notify_all()


class _Share:
    """One of the scans that a backend has to spare. It is given back once: when that is said, or when nobody holds it."""

    def __init__(self, spare: Spare) -> None:
        self._spare = spare
        self._held = [True]

    def give_back(self) -> None:
        """Gives it back, unless it was."""
        try:
            self._held.pop()  # one thread succeeds
        except IndexError:
            return
        self._spare.give_back(1)

    __del__ = give_back


def _taken(spare: Spare, most: int) -> list[_Share]:
    return [_Share(spare) for _ in range(spare.take(most))]


def fetched(backend: Backend, boxes: Sequence[KeyRange], stats: RunStats) -> Generator[Chunk, None, None]:
    """Chunks of some key ranges, each valid until the next.

    Args:
        backend: is scanned: once, and by as many threads beside as its `spare` has.
        boxes: the key ranges.
        stats: counts them.
    """
    shares = _taken(backend.spare, len(boxes) - 1)
    if shares:
        yield from _fetched_together(backend, boxes, stats, shares)
    else:
        yield from _fetched_in_turn(backend, boxes, stats)


def _fetched_in_turn(backend: Backend, boxes: Sequence[KeyRange], stats: RunStats) -> Generator[Chunk, None, None]:
    gathering = Gathering()
    for box in boxes:
        stats.ranges += 1
        with backend.scan(box) as scan:
            since = time.perf_counter()
            for chunk in scan:
                stats.spent("fetching", since)
                yield from gathering.push(chunk)
                since = time.perf_counter()
        stats.tick()
    yield from gathering.rest()


def _fetched_together(
    backend: Backend, boxes: Sequence[KeyRange], stats: RunStats, shares: list[_Share]
) -> Generator[Chunk, None, None]:
    todo = deque(boxes)
    mailbox = _Mailbox(_AHEAD * (len(shares) + 1))

    def work(share: _Share | None) -> None:
        try:
            gathering = Gathering()
            while todo and not mailbox.is_closed:
                try:
                    box = todo.popleft()
                except IndexError:  # another thread was faster
                    break
                mailbox.put(_Begun)
                with backend.scan(box) as scan:
                    for chunk in scan:
                        for ready in gathering.push(chunk):
                            if not mailbox.put(ready.kept()):
                                return
            for ready in gathering.rest():
                mailbox.put(ready.kept())
        except BaseException as error:  # noqa: BLE001 - raised where the chunks are taken
            mailbox.put(error)
        finally:
            if share is not None:
                share.give_back()
            mailbox.put(_Ended)

    left = 0
    try:
        while shares or not left:
            # The first thread takes the place of the caller, who only waits.
            share = shares.pop() if left else None
            name = f"tsmodel-fetch-{left + 1}"
            thread = threading.Thread(target=contextvars.copy_context().run, args=(work, share), name=name, daemon=True)
            try:
                thread.start()
            except BaseException as error:
                if share is not None and thread.ident is None:  # it does not run, and so will not do it itself
                    share.give_back()
                if not isinstance(error, RuntimeError):
                    raise
                _log.warning("a query goes on with %d threads, no more can be started: %s", left, error)
                break
            left += 1
        if not left:
            _give_back(shares)
            yield from _fetched_in_turn(backend, boxes, stats)
        while left:
            since = time.perf_counter()
            item = mailbox.take()
            stats.spent("fetching", since)
            if isinstance(item, Chunk):
                yield item
            elif isinstance(item, BaseException):
                raise item
            elif item is _Begun:
                stats.ranges += 1
            else:
                left -= 1
    finally:
        mailbox.close()
        _give_back(shares)


def _give_back(shares: list[_Share]) -> None:
    while shares:
        shares.pop().give_back()


async def fetched_async(backend: AsyncBackend, boxes: Sequence[KeyRange], stats: RunStats) -> AsyncGenerator[Chunk, None]:
    """As `fetched`, by tasks."""
    if shares := _taken(backend.spare, len(boxes) - 1):
        chunks = _fetched_together_async(backend, boxes, stats, shares)
    else:
        chunks = _fetched_in_turn_async(backend, boxes, stats)
    async with aclosing(chunks):
        async for chunk in chunks:
            yield chunk


async def _fetched_in_turn_async(
    backend: AsyncBackend, boxes: Sequence[KeyRange], stats: RunStats
) -> AsyncGenerator[Chunk, None]:
    gathering = Gathering()
    for box in boxes:
        stats.ranges += 1
        async with backend.scan(box) as scan:
            since = time.perf_counter()
            async for chunk in scan:
                stats.spent("fetching", since)
                for ready in gathering.push(chunk):
                    yield ready
                since = time.perf_counter()
        stats.tick()
    for ready in gathering.rest():
        yield ready


async def _fetched_together_async(
    backend: AsyncBackend, boxes: Sequence[KeyRange], stats: RunStats, shares: list[_Share]
) -> AsyncGenerator[Chunk, None]:
    import asyncio

    todo = deque(boxes)
    ready_chunks: asyncio.Queue[Chunk | BaseException | None] = asyncio.Queue(_AHEAD * (len(shares) + 1))

    async def work() -> None:
        try:
            gathering = Gathering()
            while todo:
                stats.ranges += 1
                async with backend.scan(todo.popleft()) as scan:
                    async for chunk in scan:
                        for ready in gathering.push(chunk):
                            await ready_chunks.put(ready.kept())
            for ready in gathering.rest():
                await ready_chunks.put(ready.kept())
            await ready_chunks.put(None)
        except Exception as error:  # noqa: BLE001 - raised where the chunks are taken
            await ready_chunks.put(error)

    tasks = [asyncio.create_task(work())]
    try:
        for share in shares:
            task = asyncio.create_task(work())
            # When its scan has ended, whatever becomes of this generator: it may be cancelled while it waits for that.
            task.add_done_callback(partial(_task_ended, share))
            tasks.append(task)
        left = len(tasks)
        while left:
            since = time.perf_counter()
            item = await ready_chunks.get()
            stats.spent("fetching", since)
            if isinstance(item, Chunk):
                yield item
            elif item is not None:
                raise item
            else:
                left -= 1
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        _give_back(shares)  # their tasks have ended; the callbacks of some may not have run yet


def _task_ended(share: _Share, _: asyncio.Task[None]) -> None:
    share.give_back()
