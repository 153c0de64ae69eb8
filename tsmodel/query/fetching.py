"""The chunks of several key ranges, as if they were one: fetched beside each other, where the backend has scans to spare.

Rules kept here:

* What is fetched and not taken is bounded: a few chunks for each scan.
* The first failure ends the fetching, and is raised. Who stops early leaves scans that end at their next chunk; what they
  hold they release themselves, and nobody waits for them.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Generator, Sequence
from typing import Final

from tsmodel.backend import AsyncBackend, Backend
from tsmodel.keys import KeyRange
from tsmodel.query.gathering import Gathering
from tsmodel.query.stats import RunStats
from tsmodel.wire.chunk import Chunk

__all__ = ["fetched", "fetched_async"]

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


def fetched(backend: Backend, boxes: Sequence[KeyRange], stats: RunStats, *, helpers: int) -> Generator[Chunk, None, None]:
    """Chunks of some key ranges, in no particular order; each lasts.

    Args:
        backend: is scanned.
        boxes: the key ranges.
        stats: counts them.
        helpers: scans beside the first one, taken from the backend's `spare`; they are given back.
    """
    todo = deque(boxes)
    mailbox = _Mailbox(_AHEAD * (helpers + 1))

    def work(is_helper: bool) -> None:
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
            if is_helper:
                backend.spare.give_back(1)
            mailbox.put(_Ended)

    left = helpers + 1
    started = 0
    try:
        while started < left:
            context = contextvars.copy_context()
            name = f"tsmodel-fetch-{started + 1}"
            threading.Thread(target=context.run, args=(work, started > 0), name=name, daemon=True).start()
            started += 1
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
        backend.spare.give_back(helpers + 1 - max(started, 1))


async def fetched_async(
    backend: AsyncBackend, boxes: Sequence[KeyRange], stats: RunStats, *, helpers: int
) -> AsyncGenerator[Chunk, None]:
    """As `fetched`, by tasks."""
    todo = deque(boxes)
    ready_chunks: asyncio.Queue[Chunk | BaseException | None] = asyncio.Queue(_AHEAD * (helpers + 1))

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

    tasks = [asyncio.create_task(work()) for _ in range(helpers + 1)]
    try:
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
        backend.spare.give_back(helpers)
