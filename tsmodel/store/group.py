"""Group commit: one thread does the work of several that ask at the same time.

Rules kept here:

* The first thread starts at once, alone; it does not wait for others. Threads that arrive meanwhile form the next group.
* Items are processed in order of arrival.
* No thread waits forever, whatever happens to the thread that does the work.
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
    """An item, and the lock its thread waits on. Released when the item is done, or when its thread becomes the leader."""

    item: T
    size: int
    ready: threading.Lock = msgspec.field(default_factory=threading.Lock)


class GroupCommit(Generic[T]):
    """Does work for several threads at once.

    Args:
        work: processes some items and sets the outcome of each. An exception from it is raised only in the thread that
            called it.
        most: limit of the total size of a group.
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
        """Returns once `work` was called with the item, in this thread or another, or once the thread that was to call it
        was interrupted."""
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
