"""A TStorage server as a backend, blocking and asynchronous. It raises where a channel answers with statuses.

Rules kept here:

* A connection serves one operation at a time. A pool keeps idle connections, so that a scan may go on during another
  request.
* A connection whose operation failed, was refused or was left early is closed, and is not used again.
* Reads are tried again, where the policy says so, as long as they have handed nothing over. A put is never tried again
  here: it may be stored, and only its caller knows what it carries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from typing_extensions import Self

from tsmodel.backend import AcqInterval, Batch, Scan, ScanBudget
from tsmodel.client.operations import Operation, get, get_acq, put
from tsmodel.io.connections import refusal_error
from tsmodel.io.effects import Work
from tsmodel.io.pool import PoolOptions, PoolState
from tsmodel.io.retry import ONCE, Retry, again
from tsmodel.io.runners import AsyncScan, perform, perform_async, run, run_async, stream, stream_async
from tsmodel.keys import KeyRange
from tsmodel.wire.chunk import Chunk
from tsmodel.wire.client_role import GetEvent
from tsmodel.wire.events import Refusal
from tsmodel.wire.stored import Unstored

__all__ = ["AsyncTStorageBackend", "TStorageBackend"]

E = TypeVar("E")


class _Requests:
    """What a backend asks of a server, as work.

    Args:
        options: how to reach it.
        retry: how connecting and reads are tried again.
    """

    def __init__(self, options: PoolOptions, retry: Retry = ONCE) -> None:
        self._options = options
        self._retry = retry
        self._pool: PoolState[Any] = PoolState(options)
        # Never all of them: while a query waits for its next record, the caller may make another request.
        self.scan_budget = ScanBudget(options.size // 2)

    def _reached(self) -> Work[None]:
        """Makes sure that the server can be reached."""
        yield from again(lambda: self._pool.connected(_nothing), self._retry)

    def _scanned(self, box: KeyRange, feed: Callable[[Chunk], object] | None = None) -> Work[int]:
        """Emits the chunks of a range, or feeds them to a function. The result is the range's acq."""
        if box.is_empty:
            return box.max.acq
        operation: Operation[GetEvent]

        def attempt() -> Work[Any]:
            nonlocal operation
            operation = get(box.min, box.max, take=None if feed is None else partial(_fed, feed), gathers=True)
            return self._answered(operation)

        def failed(error: Exception, _: float | None) -> None:
            if operation.has_answered:
                raise error

        return (yield from again(attempt, self._retry, failed)).acq  # type: ignore[no-any-return]

    def _appended(self, batches: Sequence[Batch], with_acq: bool, unless_stored: Unstored | None) -> Work[AcqInterval]:
        """Stores batches, or what is new of them; without any nothing is sent."""
        if unless_stored is not None:
            for box in unless_stored.boxes():
                yield from self._scanned(box, unless_stored.feed)
            batches = unless_stored.left_of(batches)
        if not batches:
            return AcqInterval(-1, -1)
        answer: Any = yield from self._answered(put(batches, with_acq=with_acq))
        return AcqInterval(answer.acq_min, answer.acq_max)

    def _asked(self, box: KeyRange) -> Work[int]:
        """The last acq of a range."""
        answer: Any = yield from again(lambda: self._answered(get_acq(box.min, box.max)), self._retry)
        acq: int = answer.acq
        return acq

    def _answered(self, operation: Operation[E]) -> Work[E]:
        answer = yield from self._pool.connected(operation.on)
        if isinstance(answer, Refusal):
            raise refusal_error(answer, str(self._options))
        return answer

    def _disconnect(self) -> None:
        for connection in self._pool.close():
            connection.close()


def _fed(feed: Callable[[Chunk], object], event: GetEvent) -> Work[None]:
    if isinstance(event, Chunk):
        feed(event)
    yield from ()


def _nothing(_: object) -> Work[None]:
    yield from ()


class TStorageBackend(_Requests):
    """A TStorage server. May be used by several threads at once.

    Args:
        options: how to reach it.
        retry: how connecting and reads are tried again.

        reached: whether it must be reached at once.

    Raises:
        TransportError: when it cannot be reached.
    """

    def __init__(self, options: PoolOptions, retry: Retry = ONCE, *, reached: bool = True) -> None:
        super().__init__(options, retry)
        if reached:
            run(self._reached(), perform)

    def scan(self, box: KeyRange) -> Scan:
        """See `Backend.scan`. For an empty box nothing is sent, and `acq` is the end of the box."""
        return Scan(stream(self._scanned(box), perform))

    def append(
        self, batches: Sequence[Batch], *, with_acq: bool = False, unless_stored: Unstored | None = None
    ) -> AcqInterval:
        """See `Backend.append`; without any batches nothing is sent.

        Raises:
            TransportError: when the connection is lost; what was sent may be stored or not.
            ServerError: when the server refuses.
        """
        return run(self._appended(batches, with_acq, unless_stored), perform)

    def last_acq(self, box: KeyRange) -> int:
        """See `Backend.last_acq`.

        Raises:
            TransportError: when the connection is lost.
            ServerError: when the server refuses.
        """
        return run(self._asked(box), perform)

    def close(self) -> None:
        """Disconnects."""
        self._disconnect()


class AsyncTStorageBackend(_Requests):
    """As `TStorageBackend`, awaiting. May be used by several tasks at once: each operation has a connection of its own."""

    @classmethod
    async def opened(cls, options: PoolOptions, retry: Retry = ONCE) -> Self:
        """A backend whose server can be reached.

        Raises:
            TransportError: when it cannot.
        """
        backend = cls(options, retry)
        await run_async(backend._reached(), perform_async)
        return backend

    def scan(self, box: KeyRange) -> AsyncScan:
        """See `TStorageBackend.scan`."""
        return AsyncScan(stream_async(self._scanned(box), perform_async))

    async def append(
        self, batches: Sequence[Batch], *, with_acq: bool = False, unless_stored: Unstored | None = None
    ) -> AcqInterval:
        """See `TStorageBackend.append`."""
        return await run_async(self._appended(batches, with_acq, unless_stored), perform_async)

    async def last_acq(self, box: KeyRange) -> int:
        """See `TStorageBackend.last_acq`."""
        return await run_async(self._asked(box), perform_async)

    async def close(self) -> None:
        """Disconnects."""
        self._disconnect()
