"""A TStorage server as a backend. It raises exceptions where a channel returns statuses.

Rules kept here:

* A connection serves one operation at a time. A pool provides others, so that a scan can continue during another request.
* A connection whose operation failed, was refused or was abandoned is closed and never reused.
* Reads are retried according to the policy, as long as they have not returned records. A put is never retried here: it may
  be stored, and only the caller knows its records.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from typing_extensions import Self

from tsmodel.backend import AcqInterval, Batch, Scan, ScanBudget
from tsmodel.client.operations import exchange
from tsmodel.io.connections import refusal_error
from tsmodel.io.effects import Emit, Work
from tsmodel.io.pool import PoolOptions, PoolState
from tsmodel.io.retry import ONCE, Retry, again
from tsmodel.io.runners import perform, run, stream
from tsmodel.keys import KeyRange
from tsmodel.wire.chunk import Chunk
from tsmodel.wire.client_role import (
    Buffers,
    GetAcqAnswerReader,
    GetAnswerReader,
    GetEvent,
    PutAnswerReader,
    get_acq_request,
    get_request,
    put_request,
)
from tsmodel.wire.events import Refusal
from tsmodel.wire.reader import Reader
from tsmodel.wire.stored import Unstored

__all__ = ["TStorageBackend"]

E = TypeVar("E")


class TStorageBackend:
    """A TStorage server. Thread-safe. Asynchronous sessions run the work of its requests: see `Served`.

    Args:
        options: how to reach the server.
        retry: policy for connecting and reads.
        reached: whether to connect at once.

    Raises:
        TransportError: if the server cannot be reached.
    """

    def __init__(self, options: PoolOptions, retry: Retry = ONCE, *, reached: bool = True) -> None:
        self._options = options
        self._retry = retry
        self._pool: PoolState[Any] = PoolState(options)
        # Not all connections: between two records of a query, the caller may make another request.
        self.scan_budget = ScanBudget(options.size // 2)
        if reached:
            run(self.reaching(), perform)

    def scan(self, box: KeyRange) -> Scan:
        """See `Backend.scan`. Sends nothing for an empty box, whose `acq` is its upper bound."""
        return Scan(stream(self.scanning(box), perform))

    def append(
        self, batches: Sequence[Batch], *, with_acq: bool = False, unless_stored: Unstored | None = None
    ) -> AcqInterval:
        """See `Backend.append`. Sends nothing if there are no batches.

        Raises:
            TransportError: if the connection is lost; the records may or may not be stored.
            ServerError: if the server refuses.
        """
        return run(self.appending(batches, with_acq=with_acq, unless_stored=unless_stored), perform)

    def last_acq(self, box: KeyRange) -> int:
        """See `Backend.last_acq`.

        Raises:
            TransportError: if the connection is lost.
            ServerError: if the server refuses.
        """
        return run(self.asking(box), perform)

    def close(self) -> None:
        """Disconnects."""
        self._pool.close()

    def reaching(self) -> Work[Self]:
        """Connects, to check that the server can be reached; the result is the backend."""
        yield from again(lambda: self._pool.connected(_nothing), self._retry)
        return self

    def scanning(self, box: KeyRange) -> Work[int]:
        """See `Served.scanning`."""
        return self._scanned(box)

    def appending(
        self, batches: Sequence[Batch], *, with_acq: bool = False, unless_stored: Unstored | None = None
    ) -> Work[AcqInterval]:
        """See `Served.appending`."""
        if unless_stored is not None:
            for box in unless_stored.boxes():
                yield from self._scanned(box, unless_stored.feed)
            batches = unless_stored.left_of(batches)
        if not batches:
            return AcqInterval(-1, -1)
        answer: Any = yield from self._answered(put_request(batches, with_acq=with_acq), PutAnswerReader())
        return AcqInterval(answer.acq_min, answer.acq_max)

    def asking(self, box: KeyRange) -> Work[int]:
        """See `Served.asking`."""
        answer: Any = yield from again(
            lambda: self._answered(get_acq_request(box.min, box.max), GetAcqAnswerReader()), self._retry
        )
        acq: int = answer.acq
        return acq

    def _scanned(self, box: KeyRange, feed: Callable[[Chunk], object] | None = None) -> Work[int]:
        """Emits the chunks of a key range, or feeds them to a function. The result is the acq of the range."""
        if box.is_empty:
            return box.max.acq
        has_answered = False

        def take(event: GetEvent) -> Work[None]:
            nonlocal has_answered
            if not isinstance(event, Chunk):
                return
            has_answered = True
            if feed is None:
                yield Emit(event)
            else:
                feed(event)

        def attempt() -> Work[Any]:
            return self._answered(get_request(box.min, box.max), GetAnswerReader(gathers=True), take)

        def failed(error: Exception, _: float | None) -> None:
            if has_answered:
                raise error

        return (yield from again(attempt, self._retry, failed)).acq  # type: ignore[no-any-return]

    def _answered(self, request: Buffers, reader: Reader[E], take: Callable[[E], Work[None]] | None = None) -> Work[E]:
        answer: E = yield from self._pool.connected(lambda connection: exchange(connection, request, reader, take))
        if isinstance(answer, Refusal):
            raise refusal_error(answer, str(self._options))
        return answer


def _nothing(_: object) -> Work[None]:
    yield from ()
