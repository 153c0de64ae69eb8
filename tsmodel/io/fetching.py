"""Performs effects on backends, blocking and asynchronous: scans, several of them concurrently, acqs and appends.

Rules kept here:

* Several key ranges are fetched concurrently, by threads or tasks, as far as the backend's scan budget allows. The result
  is one stream of chunks.
* Only a few chunks per scan are fetched ahead.
* The first failure ends the fetching and is raised. If the consumer stops early, the threads end at their next chunk and
  release their resources themselves; nobody waits for them.
* Scans taken from a backend's scan budget are always given back, however the fetching ends.
* Small chunks are joined before they are passed to a sink, since a call costs about the same for few records as for many.
"""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from tsmodel.backend import AsyncBackend, Backend, Removal, ScanBudget
from tsmodel.io.effects import Append, Close, Counts, Emit, Fetch, LastAcq, LastAcqOf, Next, Open, Removals, ShardsOf, Work
from tsmodel.io.runners import perform, perform_async, run, stream, stream_async
from tsmodel.keys import KeyRange
from tsmodel.wire.chunk import Chunk, ColumnChunk, RowChunk, joined
from tsmodel.wire.reader import is_held

if TYPE_CHECKING:
    import asyncio

__all__ = [
    "Around",
    "Gathering",
    "OnAsyncBackend",
    "OnBackend",
    "OnWatchedAsyncBackend",
    "OnWatchedBackend",
    "fetched",
]

_log = logging.getLogger("tsmodel.query")

_AHEAD: Final = 2
"""Chunks per scan to fetch ahead."""

Around: TypeAlias = Callable[[Any], AbstractContextManager[Callable[[Any], object]]]
"""Entered around each request to a backend; gets the effect, and then the answer."""


_FIRST_ROOM: Final = 2**17
_MOST_ROOM: Final = 2**20
"""Bytes of joined chunks: enough to make the cost of a call negligible, few enough to stay in the processor's cache."""
_WHOLE: Final = 2**16
"""Bytes of columns from which joining costs more than it saves."""
_HELD: Final = 16 * _MOST_ROOM
"""Bytes that columns held back may keep alive: they may be a few records selected from many."""


class Gathering:
    """Joins small chunks.

    The first chunk passes through; later ones are held back in growing amounts, so that a query that needs few records does
    not read many. Large chunks always pass through: copying them would take a fifth of the time of receiving them. Rows are
    copied into a reused buffer; columns are joined when they are decoded.
    """

    def __init__(self) -> None:
        self._room = 0
        self._buffer = memoryview(b"")
        self._parts: list[Chunk] = []
        self._size = self._held = 0

    def push(self, chunk: Chunk) -> Iterable[Chunk]:
        """Adds a chunk; returns the chunks that are ready. Consume them before the next push; each is valid until the
        next."""
        if isinstance(chunk, RowChunk) and is_held(chunk.rows()):
            return (*self.rest(), chunk)
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
        """Yields the chunks held back."""
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


def fetched(
    boxes: Sequence[KeyRange],
    counts: Counts,
    feed: Callable[[Chunk], bool],
    emitted: Callable[[], object] | None = None,
) -> Work[None]:
    """Feeds the chunks of key ranges to a function until it returns True. Each chunk is valid until the next.

    Args:
        boxes: the key ranges.
        counts: statistics to update.
        feed: takes a chunk; returns whether to stop.
        emitted: returns a value to emit after each chunk; None to emit nothing.
    """
    return (_fetched_in_turn if len(boxes) < 2 else _fetched_together)(deque(boxes), counts, feed, emitted)


def _fetched_together(
    todo: deque[KeyRange],
    counts: Counts,
    feed: Callable[[Chunk], bool],
    emitted: Callable[[], object] | None = None,
) -> Work[None]:
    together = yield Fetch(todo, counts)
    if together is None:
        yield from _fetched_in_turn(todo, counts, feed, emitted)
        return
    is_enough = False
    while not is_enough:
        since = time.perf_counter()
        chunk = yield Next(together)
        counts.spent("fetching", since)
        if chunk is None:
            return
        is_enough = feed(chunk)
        if emitted is not None:
            yield Emit(emitted())


def _fetched_in_turn(
    todo: deque[KeyRange],
    counts: Counts,
    feed: Callable[[Chunk], bool],
    emitted: Callable[[], object] | None = None,
) -> Work[None]:
    """Like `fetched`, one key range after another, taking them from `todo`, which threads may share."""
    gathering = Gathering()
    while todo:
        try:
            box = todo.popleft()
        except IndexError:  # another thread was faster
            break
        counts.range_begun()
        scan = yield Open(box)
        since = time.perf_counter()
        while (chunk := (yield Next(scan))) is not None:
            counts.spent("fetching", since)
            for ready in gathering.push(chunk):
                is_enough = feed(ready)
                if emitted is not None:
                    yield Emit(emitted())
                if is_enough:
                    return
            since = time.perf_counter()
        counts.tick()
    for ready in gathering.rest():
        is_enough = feed(ready)
        if emitted is not None:
            yield Emit(emitted())
        if is_enough:
            return


def _emitted_in_turn(todo: deque[KeyRange], counts: Counts) -> Work[None]:
    """Emits the chunks of `_fetched_in_turn`, each valid until the next."""
    held: list[Chunk] = []

    def feed(chunk: Chunk) -> bool:
        held.append(chunk)
        return False

    return _fetched_in_turn(todo, counts, feed, held.pop)


class _Share:
    """One scan of a backend's scan budget. It is given back once, explicitly or when it is garbage-collected."""

    def __init__(self, budget: ScanBudget) -> None:
        self._budget = budget
        self._held = [True]

    def give_back(self) -> None:
        """Gives the scan back, unless that has happened."""
        try:
            self._held.pop()  # one thread succeeds
        except IndexError:
            return
        self._budget.give_back(1)

    __del__ = give_back


def _taken(backend: Any, most: int) -> list[_Share]:
    """Takes scans from a backend's scan budget, which older backends call `spare`."""
    budget: ScanBudget = backend.scan_budget if hasattr(backend, "scan_budget") else backend.spare
    return [_Share(budget) for _ in range(budget.take(most))]


def _give_back(shares: list[_Share]) -> None:
    while shares:
        shares.pop().give_back()


class OnBackend:
    """Performs effects on a backend, blocking, and closes the scans that work leaves open.

    Args:
        backend: the backend.

    Attributes:
        target: performs appends, if another backend stores them; None for this one.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._scans: list[Any] = []
        self.target: OnBackend | None = None

    def __call__(self, effect: Any) -> object:
        """Performs an effect."""
        kind = type(effect)
        if kind is Next:
            chunk = next(effect.scan, None)
            if chunk is None:
                self._scans.remove(effect.scan)
            return chunk
        if kind is Open:
            scan = self._of(effect).scan(effect.box)
            self._scans.append(scan)
            return scan
        if kind is LastAcq:
            if effect.also:
                together: Any = self._backend
                return together.last_acq_of((effect.box, *effect.also))
            return self._of(effect).last_acq(effect.box)
        if kind is LastAcqOf:
            if not hasattr(self._backend, "last_acq_of"):
                return None
            return self(LastAcq(effect.boxes[0], also=effect.boxes[1:]))
        if kind is Append:
            if self.target is not None:
                return self.target(effect)
            return self._of(effect).append(effect.batches, **effect.named)
        if kind is Close:
            self._scans.remove(effect.scan)
            return effect.scan.close()
        if kind is Fetch:
            shares = _taken(self._backend, len(effect.boxes) - 1)
            if not shares:
                return None
            chunks = _fetched_by_threads(effect, shares, self._another)
            self._scans.append(chunks)
            return chunks
        if kind is ShardsOf:
            return _shards_of(self._backend, effect.boxes)
        if kind is Removals:
            backend: Any = self._backend
            if hasattr(backend, "removals_of"):
                return backend.removals_of(effect.boxes, effect.told)
            return _told(backend.removals(_last(effect)) if hasattr(backend, "removals") else [], effect)
        return perform(effect)

    def release(self) -> None:
        """Closes open scans."""
        while self._scans:
            self(Close(self._scans[-1]))

    def _of(self, effect: Any) -> Backend:
        """The backend, or the one of its stores that the effect is for."""
        backend: Any = self._backend
        store: Backend = backend if effect.shard is None else backend.shard(effect.shard)
        return store

    def _another(self) -> OnBackend:
        return OnBackend(self._backend)


class OnWatchedBackend(OnBackend):
    """Like `OnBackend`, with hooks around requests.

    Args:
        backend: the backend.
        around: entered around each request.
    """

    def __init__(self, backend: Backend, around: Around) -> None:
        super().__init__(backend)
        self._around = around

    def __call__(self, effect: Any) -> object:
        """Performs an effect."""
        if type(effect) not in _REQUESTS or (self.target is not None and type(effect) is Append):
            return super().__call__(effect)
        with self._around(effect) as tell:
            answer = super().__call__(effect)
            tell(answer)
        return answer

    def _another(self) -> OnBackend:
        return OnWatchedBackend(self._backend, self._around)


class OnAsyncBackend:
    """Like `OnBackend`, for asyncio."""

    def __init__(self, backend: AsyncBackend) -> None:
        self._backend = backend
        self._scans: list[Any] = []
        self.target: OnAsyncBackend | None = None

    async def __call__(self, effect: Any) -> object:
        """Performs an effect."""
        kind = type(effect)
        if kind is Next:
            chunk = await anext(effect.scan, None)
            if chunk is None:
                self._scans.remove(effect.scan)
            return chunk
        if kind is Open:
            scan = self._of(effect).scan(effect.box)
            self._scans.append(scan)
            return scan
        if kind is LastAcq:
            if effect.also:
                together: Any = self._backend
                return await together.last_acq_of((effect.box, *effect.also))
            return await self._of(effect).last_acq(effect.box)
        if kind is LastAcqOf:
            if not hasattr(self._backend, "last_acq_of"):
                return None
            return await self(LastAcq(effect.boxes[0], also=effect.boxes[1:]))
        if kind is Append:
            if self.target is not None:
                return await self.target(effect)
            return await self._of(effect).append(effect.batches, **effect.named)
        if kind is Close:
            self._scans.remove(effect.scan)
            return await effect.scan.aclose()
        if kind is Fetch:
            shares = _taken(self._backend, len(effect.boxes) - 1)
            if not shares:
                return None
            chunks = _fetched_by_tasks(effect, shares, self._another)
            self._scans.append(chunks)
            return chunks
        if kind is ShardsOf:
            return _shards_of(self._backend, effect.boxes)
        if kind is Removals:
            backend: Any = self._backend
            if hasattr(backend, "removals_of"):
                return await backend.removals_of(effect.boxes, effect.told)
            return _told(await backend.removals(_last(effect)) if hasattr(backend, "removals") else [], effect)
        return await perform_async(effect)

    async def release(self) -> None:
        """Closes open scans."""
        while self._scans:
            await self(Close(self._scans[-1]))

    def _of(self, effect: Any) -> AsyncBackend:
        backend: Any = self._backend
        store: AsyncBackend = backend if effect.shard is None else backend.shard(effect.shard)
        return store

    def _another(self) -> OnAsyncBackend:
        return OnAsyncBackend(self._backend)


class OnWatchedAsyncBackend(OnAsyncBackend):
    """Like `OnWatchedBackend`, for asyncio."""

    def __init__(self, backend: AsyncBackend, around: Around) -> None:
        super().__init__(backend)
        self._around = around

    async def __call__(self, effect: Any) -> object:
        """Performs an effect."""
        if type(effect) not in _REQUESTS or (self.target is not None and type(effect) is Append):
            return await super().__call__(effect)
        with self._around(effect) as tell:
            answer = await super().__call__(effect)
            tell(answer)
        return answer

    def _another(self) -> OnAsyncBackend:
        return OnWatchedAsyncBackend(self._backend, self._around)


def _shards_of(backend: Any, boxes: Sequence[KeyRange]) -> Sequence[int | None]:
    """The answer to `ShardsOf`."""
    return backend.shards_of(boxes) if hasattr(backend, "shards_of") else (None,)


def _last(effect: Removals) -> int:
    """The number of the last known removal of a single store."""
    return effect.told[0] if effect.told else 0


def _told(removals: Sequence[Removal], effect: Removals) -> tuple[list[Removal], tuple[int, ...]]:
    """The answer of a single store to `Removals`."""
    return list(removals), (removals[-1].number,) if removals else effect.told


_REQUESTS: Final = frozenset((Open, Next, Close, LastAcq, Append))
"""Effects passed to `around`; `Next` and `Close` only for scans of a single key range."""


class _Begun:
    """Marks that a key range is being read."""


class _Ended:
    """Marks that a thread has finished."""


class _Mailbox:
    """A bounded queue from several threads to one consumer."""

    def __init__(self, most: int) -> None:
        self._items: deque[object] = deque()
        self._most = most
        self._changed = threading.Condition()
        self.is_closed = False

    def put(self, item: object) -> bool:
        """Waits for space and adds an item; returns False if the consumer has stopped."""
        with self._changed:
            while len(self._items) >= self._most and not self.is_closed:
                self._changed.wait()
            self._items.append(item)
            self._changed.notify_all()
            return not self.is_closed

    def take(self) -> object:
        """Waits for the next item."""
        with self._changed:
            while not self._items:
                self._changed.wait()
            self._changed.notify_all()
            return self._items.popleft()

    def close(self) -> None:
        """The consumer stops taking items."""
        with self._changed:
            self.is_closed = True
            self._changed.notify_all()


class _Uncounted:
    """Statistics of a thread: counts key ranges only, since the consumer measures the time."""

    def __init__(self, range_begun: Callable[[], object]) -> None:
        self.range_begun = range_begun

    def spent(self, _step: str, since: float) -> float:
        """See `Counts`."""
        return since

    def tick(self) -> None:
        """See `Counts`."""


def _fetched_by_threads(
    fetch: Fetch, shares: list[_Share], another: Callable[[], OnBackend]
) -> Generator[Chunk, None, None]:
    todo = deque(fetch.boxes)
    mailbox = _Mailbox(_AHEAD * (len(shares) + 1))

    def work(share: _Share | None) -> None:
        try:
            counts = _Uncounted(lambda: mailbox.put(_Begun))
            run(_fetched_in_turn(todo, counts, lambda chunk: not mailbox.put(chunk.kept())), another())
        except BaseException as error:  # noqa: BLE001 - raised where the chunks are taken
            mailbox.put(error)
        finally:
            if share is not None:
                share.give_back()
            mailbox.put(_Ended)

    left = 0
    try:
        while shares or not left:
            # The first thread replaces the caller, who only waits, and needs no share.
            share = shares.pop() if left else None
            name = f"tsmodel-fetch-{left + 1}"
            thread = threading.Thread(target=contextvars.copy_context().run, args=(work, share), name=name, daemon=True)
            try:
                thread.start()
            except BaseException as error:
                if share is not None and thread.ident is None:  # it has not started, so it cannot do this itself
                    share.give_back()
                if not isinstance(error, RuntimeError):
                    raise
                _log.warning("a query continues with %d threads, because no more can be started: %s", left, error)
                break
            left += 1
        if not left:
            _give_back(shares)
            yield from stream(_emitted_in_turn(todo, fetch.counts), another())
        while left:
            item = mailbox.take()
            if isinstance(item, Chunk):
                yield item
            elif isinstance(item, BaseException):
                raise item
            elif item is _Begun:
                fetch.counts.range_begun()
            else:
                left -= 1
    finally:
        todo.clear()
        mailbox.close()
        _give_back(shares)


async def _fetched_by_tasks(
    fetch: Fetch, shares: list[_Share], another: Callable[[], OnAsyncBackend]
) -> AsyncGenerator[Chunk, None]:
    import asyncio

    todo = deque(fetch.boxes)
    ready: asyncio.Queue[Chunk | BaseException | None] = asyncio.Queue(_AHEAD * (len(shares) + 1))

    async def work() -> None:
        in_turn = _emitted_in_turn(todo, _Uncounted(fetch.counts.range_begun))
        try:
            async with aclosing(stream_async(in_turn, another())) as chunks:
                async for chunk in chunks:
                    await ready.put(chunk.kept())
            await ready.put(None)
        except Exception as error:  # noqa: BLE001 - raised where the chunks are taken
            await ready.put(error)

    tasks = [asyncio.create_task(work())]
    try:
        for share in shares:
            task = asyncio.create_task(work())
            # Given back when the task has ended, even if this generator is cancelled while it waits for that.
            task.add_done_callback(partial(_task_ended, share))
            tasks.append(task)
        left = len(tasks)
        while left:
            item = await ready.get()
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
