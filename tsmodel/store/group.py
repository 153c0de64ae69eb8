"""Group commit: what several threads want done at the same time is done by one of them, together.

Rules kept here:

* Nobody waits for company: who comes first begins at once, alone. Those who come meanwhile go together when it is done.
* They go in the order in which they came.
* Whatever happens to the thread that does the work, nobody waits for ever.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

from tsmodel.forking import in_child

__all__ = ["GroupCommit"]

T = TypeVar("T")


class _Waiting(msgspec.Struct, Generic[T], eq=False):
    """An item, and a lock that its thread waits for: it is released when the item is done, or is the next one to lead."""

    item: T
    size: int
    ready: threading.Lock = msgspec.field(default_factory=threading.Lock)


class GroupCommit(Generic[T]):
    """Does work for several threads at once.

    Args:
        work: does it for some items, and notes on each what came of it. What it raises is raised in its own thread only.
        most: items are taken together as long as their sizes do not exceed this.
    """

    _lock: threading.Lock
    _queue: deque[_Waiting[T]]
    _leader: _Waiting[T] | None

    def __init__(self, work: Callable[[list[T]], None], most: int) -> None:
        self._work = work
        self._most = most
        self._begin()
        in_child(self._begin)

    def run(self, item: T, size: int) -> None:
        """Returns when `work` was called with the item, in this thread or in another one; or when the thread that was to
        call it was interrupted."""
        waiting = _Waiting(item, size)
        waiting.ready.acquire()
        group: list[_Waiting[T]] = []
        try:
            with self._lock:
                self._queue.append(waiting)
                if self._leader is None:
                    self._leader = waiting
            if self._leader is not waiting:
                waiting.ready.acquire()
            if self._leader is waiting:
                self._take(group)
                self._work([each.item for each in group])
        finally:
            with self._lock:
                if waiting in self._queue:  # this thread was interrupted
                    self._queue.remove(waiting)
                if self._leader is waiting:
                    self._leader = self._queue[0] if self._queue else None
                    if self._leader is not None:
                        self._leader.ready.release()
            for each in group:
                if each is not waiting:
                    each.ready.release()

    def _take(self, group: list[_Waiting[T]]) -> None:
        left = self._most
        with self._lock:
            while self._queue and (not group or self._queue[0].size <= left):
                left -= self._queue[0].size
                group.append(self._queue[0])
                self._queue.popleft()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._queue = deque()
        self._leader = None
