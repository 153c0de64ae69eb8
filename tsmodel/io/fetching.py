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
import inspect
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, aclosing, nullcontext
from functools import partial
from itertools import islice
from operator import methodcaller
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from tsmodel.backend import AcqInterval, Batch, Removal, Scan, ScanBudget, Served
from tsmodel.io.effects import Append, Block, Close, Counts, Emit, Fetch, LastAcq, Next, Open, Removals, ShardsOf, Work
from tsmodel.io.runners import in_thread, perform, perform_async, run, run_async, stream, stream_async
from tsmodel.keys import KeyRange
from tsmodel.wire.chunk import Chunk, ColumnChunk, RowChunk, joined
from tsmodel.wire.reader import is_held

if TYPE_CHECKING:
    import asyncio

__all__ = [
    "Around",
    "AsyncScan",
    "Gathering",
    "OnAsyncBackend",
    "OnBackend",
    "fetched",
]

_log = logging.getLogger("tsmodel.query")

_AHEAD: Final = 2
"""Chunks per scan to fetch ahead."""
_CHUNKS_AT_ONCE: Final = 8
"""Chunks to fetch in one call of a thread, which costs about as much as decoding a small chunk."""

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

    def hand(chunk: Chunk) -> Work[bool]:
        is_enough = feed(chunk)
        if emitted is not None:
            yield Emit(emitted())
        return is_enough

    return (_fetched_in_turn if len(boxes) < 2 else _fetched_together)(deque(boxes), counts, hand)


_Hand: TypeAlias = Callable[[Chunk], "Work[bool]"]
"""Takes a chunk, which is valid until the next one; the result is whether to stop."""


def _fetched_together(todo: deque[KeyRange], counts: Counts, hand: _Hand) -> Work[None]:
    together = yield Fetch(todo, counts)
    if together is None:
        yield from _fetched_in_turn(todo, counts, hand)
        return
    is_enough = False
    while not is_enough:
        since = time.perf_counter()
        chunk = yield Next(together)
        counts.spent("fetching", since)
        if chunk is None:
            return
        is_enough = yield from hand(chunk)


def _fetched_in_turn(todo: deque[KeyRange], counts: Counts, hand: _Hand) -> Work[None]:
    """Reads one key range after another, taking them from `todo`, which threads may share."""
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
                if (yield from hand(ready)):
                    return
            since = time.perf_counter()
        counts.tick()
    for ready in gathering.rest():
        if (yield from hand(ready)):
            return


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


def _give_back(shares: list[_Share]) -> None:
    while shares:
        shares.pop().give_back()


class _Uncounted:
    """Statistics of a thread: counts key ranges only, since the consumer measures the time."""

    def __init__(self, range_begun: Callable[[], object]) -> None:
        self.range_begun = range_begun

    def spent(self, _step: str, since: float) -> float:
        """See `Counts`."""
        return since

    def tick(self) -> None:
        """See `Counts`."""


def _emitted(chunk: Chunk) -> Work[bool]:
    yield Emit(chunk)
    return False


def _fetched_by_threads(
    fetch: Fetch, shares: list[_Share], another: Callable[[], OnBackend]
) -> Generator[Chunk, None, None]:
    todo = deque(fetch.boxes)
    # The garbage collector may close this generator in a thread that is in the middle of put(). A Queue's lock is not
    # reentrant, so its thread would wait for itself; SimpleQueue is made for that.
    mailbox: queue.SimpleQueue[object] = queue.SimpleQueue()
    space: queue.SimpleQueue[None] = queue.SimpleQueue()
    is_left = False

    def put(item: object) -> bool:
        """Waits for space and adds an item; returns False if the consumer has stopped."""
        if not is_left:
            space.get()
            mailbox.put(item)
        return not is_left

    def hand(chunk: Chunk) -> Work[bool]:
        yield from ()
        return not put(chunk.kept())

    def work(share: _Share | None) -> None:
        try:
            counts = _Uncounted(lambda: put(fetch.counts.range_begun))
            run(_fetched_in_turn(todo, counts, hand), another())
        except BaseException as error:  # noqa: BLE001 - raised where the chunks are taken
            put(error)
        finally:
            if share is not None:
                share.give_back()
            put(None)

    left, most = 0, len(shares) + 1
    try:
        for _ in range(_AHEAD * most):
            space.put(None)
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
            yield from stream(_fetched_in_turn(todo, fetch.counts, _emitted), another())
        while left:
            item = mailbox.get()
            space.put(None)
            if isinstance(item, Chunk):
                yield item
            elif isinstance(item, BaseException):
                raise item
            elif callable(item):
                item()
            else:
                left -= 1
    finally:
        todo.clear()
        is_left = True
        for _ in range(most):  # threads that wait for space
            space.put(None)
        _give_back(shares)


async def _fetched_by_tasks(
    fetch: Fetch, shares: list[_Share], another: Callable[[], OnAsyncBackend]
) -> AsyncGenerator[Chunk, None]:
    import asyncio

    todo = deque(fetch.boxes)
    ready: asyncio.Queue[Chunk | BaseException | None] = asyncio.Queue(_AHEAD * (len(shares) + 1))

    async def work() -> None:
        in_turn = _fetched_in_turn(todo, _Uncounted(fetch.counts.range_begun), _emitted)
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
            task.add_done_callback(lambda _, share=share: share.give_back())  # type: ignore[misc]
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


class AsyncScan:
    """The chunks of a key range as an asynchronous iterator.

    Args:
        chunks: yields the chunks and, last, the acq of the range.

    Attributes:
        acq: see `Scan.acq`; None before the last chunk was taken.
    """

    def __init__(self, chunks: AsyncGenerator[Chunk | int, None]) -> None:
        self._chunks = chunks
        self.acq: int | None = None

    def __aiter__(self) -> AsyncIterator[Chunk]:
        return self

    async def __anext__(self) -> Chunk:
        found = await anext(self._chunks)
        if not isinstance(found, int):
            return found
        self.acq = found
        await self._chunks.aclose()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Stops the scan and releases what it holds."""
        await self._chunks.aclose()


class _Awaited:
    """A `Served` backend whose methods are awaited."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def scan(self, box: KeyRange) -> AsyncScan:
        return AsyncScan(stream_async(self._backend.scanning(box), perform_async))

    async def append(self, batches: Sequence[Batch], **how: Any) -> AcqInterval:
        return await run_async(self._backend.appending(batches, **how), perform_async)

    async def last_acq(self, box: KeyRange) -> int:
        return await run_async(self._backend.asking(box), perform_async)

    async def close(self) -> None:
        self._backend.close()


class _InThreads:
    """A blocking backend whose methods are called in threads."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method = getattr(self._backend, name)
        return lambda *args, **named: in_thread(partial(method, *args, **named))

    def shard(self, at: int) -> _InThreads:
        return _InThreads(self._backend.shard(at))

    def scan(self, box: KeyRange) -> AsyncScan:
        return AsyncScan(self._chunks(box))

    async def _chunks(self, box: KeyRange) -> AsyncGenerator[Chunk | int, None]:
        scan: Scan = self._backend.scan(box)
        try:
            while chunks := await in_thread(lambda: [_lasting(each) for each in islice(scan, _CHUNKS_AT_ONCE)]):
                for chunk in chunks:
                    yield chunk
            yield scan.acq
        finally:
            scan.close()


def _lasting(chunk: Chunk) -> Chunk:
    return chunk if chunk.lasting else chunk.kept()


def _awaited(backend: Any) -> Any:
    """A backend whose methods are awaited."""
    if inspect.iscoroutinefunction(backend.append):
        return backend
    return _Awaited(backend) if isinstance(backend, Served) else _InThreads(backend)


_REQUESTS: Final = frozenset((Open, Next, Close, LastAcq, Append))
"""Effects passed to `around`; `Next` and `Close` only for scans of a single key range."""
_UNWATCHED: Final = nullcontext[Callable[[Any], object]](lambda _: None)


class _Performer:
    """Performs effects on a backend. Subclasses say how to wait.

    Args:
        backend: the backend.
        around: entered around each request; None for nothing.

    Attributes:
        target: performs appends, if another backend stores them; None for this one.
    """

    _next: Any
    _close: Any
    _together: Any
    _other: Any

    def __init__(self, backend: Any, around: Around | None = None) -> None:
        self._given = self._backend = backend
        self._around = around
        self._scans: list[Any] = []
        self.target: Any = None

    def _answer(self, effect: Any) -> Any:
        """The answer to an effect; from an asynchronous performer, possibly an awaitable of it."""
        kind = type(effect)
        if kind is Next:
            return self._next(effect.scan, None)
        if kind is Open:
            scan = self._of(effect).scan(effect.box)
            self._scans.append(scan)
            return scan
        if kind is LastAcq:
            if effect.also:
                return self._backend.last_acq_of((effect.box, *effect.also))
            return self._of(effect).last_acq(effect.box)
        if kind is Append:
            return self._of(effect).append(effect.batches, **effect.named) if self.target is None else self.target(effect)
        if kind is Close:
            self._scans.remove(effect.scan)
            return self._close(effect.scan)
        if kind is Fetch:
            budget = self._given.scan_budget
            shares = [_Share(budget) for _ in range(budget.take(len(effect.boxes) - 1))]
            if not shares:
                return None
            chunks = self._together(effect, shares, partial(type(self), self._given, self._around))
            self._scans.append(chunks)
            return chunks
        if kind is ShardsOf:
            return self._given.shards_of(effect.boxes) if hasattr(self._given, "shards_of") else (None,)
        if kind is Removals:
            if not hasattr(self._given, "removals"):
                return [], effect.told
            return self._other(Block(partial(_removals, self._given, effect)))
        return self._other(effect)

    def _of(self, effect: Any) -> Any:
        """The backend, or the one of its stores that the effect is for."""
        return self._backend if effect.shard is None else self._backend.shard(effect.shard)

    def _watched(self, effect: Any) -> AbstractContextManager[Callable[[Any], object]]:
        """Surrounds an effect; its answer is passed to the function."""
        kind = type(effect)
        if self._around is None or kind not in _REQUESTS or (kind is Append and self.target is not None):
            return _UNWATCHED
        return self._around(effect)


class OnBackend(_Performer):
    """Performs effects on a backend, blocking, and closes the scans that work leaves open."""

    _next = staticmethod(next)
    _close = methodcaller("close")
    _together = staticmethod(_fetched_by_threads)
    _other = staticmethod(perform)

    def __call__(self, effect: Any) -> object:
        """Performs an effect."""
        with self._watched(effect) as tell:
            answer = self._answer(effect)
            if answer is None and type(effect) is Next:
                self._scans.remove(effect.scan)
            tell(answer)
        return answer

    def release(self) -> None:
        """Closes open scans."""
        while self._scans:
            self(Close(self._scans[-1]))


class OnAsyncBackend(_Performer):
    """Like `OnBackend`, for asyncio. The methods of a blocking backend are called in threads, unless it is `Served`."""

    _next = staticmethod(anext)
    _close = methodcaller("aclose")
    _together = staticmethod(_fetched_by_tasks)
    _other = staticmethod(perform_async)

    def __init__(self, backend: Any, around: Around | None = None) -> None:
        super().__init__(backend, around)
        self._backend = _awaited(backend)

    async def __call__(self, effect: Any) -> object:
        """Performs an effect."""
        with self._watched(effect) as tell:
            answer = self._answer(effect)
            if inspect.isawaitable(answer):
                answer = await answer
            if answer is None and type(effect) is Next:
                self._scans.remove(effect.scan)
            tell(answer)
        return answer

    async def release(self) -> None:
        """Closes open scans."""
        while self._scans:
            await self(Close(self._scans[-1]))

    async def close(self) -> None:
        """Closes the backend."""
        await self._backend.close()


def _removals(backend: Any, effect: Removals) -> tuple[Sequence[Removal], tuple[int, ...]]:
    """The answer to `Removals`."""
    if hasattr(backend, "removals_of"):
        found: tuple[Sequence[Removal], tuple[int, ...]] = backend.removals_of(effect.boxes, effect.told)
        return found
    removals = backend.removals(effect.told[0] if effect.told else 0)
    return removals, (removals[-1].number,) if removals else effect.told
