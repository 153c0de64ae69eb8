"""The drainer: a thread or a task that sends what waits in a session's spool.

Rules kept here:

* It keeps no session alive: it ends when the session is closed or gone.
* Of all drainers of a spool, in whatever process, one sends; the others look now and then whether it still does.
* One that is stopped in the middle of a request leaves what the spool says of it: the next one finds out the outcome.
"""

from __future__ import annotations

import threading
import time
import weakref
from typing import TYPE_CHECKING

from tsmodel.io.runners import AsyncPerform, Perform, run, run_async
from tsmodel.session.spool import Forwarder
from tsmodel.store.spool_file import DrainerLock

if TYPE_CHECKING:
    import asyncio

__all__ = ["AsyncDrainer", "Drainer"]


class _Signal:
    """What a drainer waits for.

    Attributes:
        changed: is set when one of the others changes.
        is_stopped: whether it is to end.
        is_hurried: whether it is to try again at once after a failure.
        is_woken: whether something was spooled.
    """

    def __init__(self) -> None:
        self.changed = threading.Event()
        self.is_stopped = self.is_hurried = self.is_woken = False

    def stop(self) -> None:
        self.is_stopped = True
        self.changed.set()

    def hurry(self) -> None:
        self.is_hurried = self.is_woken = True
        self.changed.set()

    def wake(self) -> None:
        self.is_woken = True
        self.changed.set()

    def wait(self, seconds: float, *, eager: bool) -> bool:
        """Waits for so long, or until it is hurried or, when it is `eager`, woken; returns whether it is to go on."""
        until = time.monotonic() + seconds
        while not self.is_stopped:
            left = until - time.monotonic()
            if left <= 0 or self.is_hurried or (eager and self.is_woken):
                break
            self.changed.wait(left)
            self.changed.clear()
        self.is_hurried = self.is_woken = False
        return not self.is_stopped


class Drainer:
    """A thread that drains a spool.

    Args:
        forwarder: the work.
        carry_out: carries out its effects.
        owner: the session; when it is gone the drainer ends.
    """

    def __init__(self, forwarder: Forwarder, carry_out: Perform, owner: object) -> None:
        self._signal = signal = _Signal()
        self._lock = DrainerLock(forwarder.file.path)
        self._finalizer = weakref.finalize(owner, signal.stop)
        self._finalizer.atexit = False
        forwarder.wake = signal.wake
        arguments = (forwarder, carry_out, signal, self._lock)
        self._thread = threading.Thread(target=_drain, args=arguments, name="tsmodel-drainer", daemon=True)
        self._thread.start()

    def hurry(self) -> None:
        """Tries again at once after a failure."""
        self._signal.hurry()

    def stop(self, seconds: float) -> None:
        """Has it end, and waits for that so long. One that is in the middle of a request ends after it."""
        self._finalizer.detach()
        self._signal.stop()
        if threading.current_thread() is not self._thread:
            self._thread.join(seconds)


def _drain(forwarder: Forwarder, carry_out: Perform, signal: _Signal, lock: DrainerLock) -> None:
    try:
        while True:
            seconds, eager = run(forwarder.turn(lock), carry_out)
            if not signal.wait(seconds, eager=eager):
                return
    finally:
        lock.give_back()


class AsyncDrainer:
    """A task that drains a spool; see `Drainer`."""

    def __init__(self, forwarder: Forwarder, carry_out: AsyncPerform, owner: object) -> None:
        import asyncio

        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._signal = signal = _Signal()
        self._lock = DrainerLock(forwarder.file.path)
        self._finalizer = weakref.finalize(owner, signal.stop)
        self._finalizer.atexit = False
        forwarder.wake = self._wake
        work = _drain_async(forwarder, carry_out, signal, self._changed, self._lock)
        self._task = asyncio.create_task(work, name="tsmodel-drainer")

    def hurry(self) -> None:
        """See `Drainer.hurry`."""
        self._signal.hurry()
        self._changed.set()

    async def stop(self, seconds: float) -> None:
        """See `Drainer.stop`. One that is in the middle of a request then is cancelled."""
        import asyncio

        self._finalizer.detach()
        self._signal.stop()
        self._changed.set()
        await asyncio.wait([self._task], timeout=seconds)
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])

    def _wake(self) -> None:
        self._signal.is_woken = True
        self._changed.set()


async def _drain_async(
    forwarder: Forwarder, carry_out: AsyncPerform, signal: _Signal, changed: asyncio.Event, lock: DrainerLock
) -> None:
    import asyncio

    try:
        while True:
            seconds, eager = await run_async(forwarder.turn(lock), carry_out)
            until = time.monotonic() + seconds
            while not signal.is_stopped:
                left = until - time.monotonic()
                if left <= 0 or signal.is_hurried or (eager and signal.is_woken):
                    break
                waiting = asyncio.ensure_future(changed.wait())
                await asyncio.wait([waiting], timeout=left)
                waiting.cancel()
                changed.clear()
            if signal.is_stopped:
                return
            signal.is_hurried = signal.is_woken = False
    finally:
        lock.give_back()
