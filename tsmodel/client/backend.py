"""`TStorageBackend`: a TStorage server as a backend. Raises where a channel answers with statuses.

Rules kept here:

* A connection serves one operation at a time. Those at rest are kept for the next one; an operation that finds none opens
  another, so that a scan may go on while something else is asked.
* A connection whose operation failed, was refused or was left early has closed itself and is not kept.
* A request that would have to go out a second time is never sent again by itself: a put whose answer was lost may be
  stored.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, NoReturn, TypeVar

from tsmodel.backend import AcqInterval, Batch, Scan
from tsmodel.client.channel import Connection
from tsmodel.client.failures import refusal_error
from tsmodel.client.operations import Operation, get, get_acq, put
from tsmodel.errors import SessionError
from tsmodel.keys import KeyRange
from tsmodel.wire.messages import Chunk, Refusal

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ["TStorageBackend"]

E = TypeVar("E")


class TStorageBackend:
    """A TStorage server. Not for several threads at once.

    Args:
        host: name or address of the server.
        port: its port.
        timeout: seconds that connecting and each wait for bytes may take; None for no limit.
        ssl_context: for TLS; None for plain TCP.

    Raises:
        TransportError: when the server cannot be reached.
    """

    def __init__(
        self, host: str, port: int, *, timeout: float | None = None, ssl_context: SSLContext | None = None
    ) -> None:
        self._host, self._port, self._timeout, self._ssl_context = host, port, timeout, ssl_context
        self._closed = False
        self._resting = [self._connect()]

    def scan(self, box: KeyRange) -> Scan:
        """See `Backend.scan`. For an empty box nothing is sent, and `acq` is the end of the box."""
        return Scan(self._chunks(box))

    def append(self, batches: Sequence[Batch], *, with_acq: bool = False) -> AcqInterval:
        """See `Backend.append`; without any batches nothing is sent.

        Raises:
            TransportError: when the connection is lost; what was sent may be stored or not.
            ServerError: when the server refuses.
        """
        if not batches:
            return AcqInterval(-1, -1)
        answer = self._result(put(batches, with_acq=with_acq))
        if isinstance(answer, Refusal):
            self._refused(answer)
        return AcqInterval(answer.acq_min, answer.acq_max)

    def last_acq(self, box: KeyRange) -> int:
        """See `Backend.last_acq`.

        Raises:
            TransportError: when the connection is lost.
            ServerError: when the server refuses.
        """
        answer = self._result(get_acq(box.min, box.max))
        if isinstance(answer, Refusal):
            self._refused(answer)
        return answer.acq

    def close(self) -> None:
        """Disconnects."""
        self._closed = True
        while self._resting:
            self._resting.pop().close()

    def _chunks(self, box: KeyRange) -> Generator[memoryview, None, int]:
        if box.is_empty:
            return box.max.acq
        connection = self._take()
        with closing(connection.run(get(box.min, box.max))) as events:
            for event in events:
                if isinstance(event, Refusal):
                    self._refused(event)
                if not isinstance(event, Chunk):
                    acq = event.acq
                    continue
                yield event.records
        self._give_back(connection)
        return acq

    def _result(self, operation: Operation[E]) -> E:
        connection = self._take()
        result = connection.result(operation)
        self._give_back(connection)
        return result

    def _take(self) -> Connection:
        if self._closed:
            raise SessionError(f"the connection to {self._host}:{self._port} is closed")
        return self._resting.pop() if self._resting else self._connect()

    def _give_back(self, connection: Connection) -> None:
        if self._closed:
            connection.close()
        elif connection.open:
            self._resting.append(connection)

    def _connect(self) -> Connection:
        return Connection(self._host, self._port, self._timeout, self._ssl_context)

    def _refused(self, refusal: Refusal) -> NoReturn:
        raise refusal_error(refusal, f"{self._host}:{self._port}")
