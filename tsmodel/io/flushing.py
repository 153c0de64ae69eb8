"""Flushing at regular intervals, by a thread or a task.

Rules kept here:

* A flusher does not keep its session alive: it ends when the session is closed or garbage-collected.
* A flusher reports no failures. The session keeps them for the next call.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

__all__ = ["AsyncFlusher", "Flusher"]


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
