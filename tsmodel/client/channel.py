"""`Channel`: the official client's synchronous channel.

Rules kept here:

* Calls return a Response and do not raise when a server or the network fails. Only entering a `with` block raises.
* A put is encoded completely before its first byte is sent, so an invalid record stops it before anything has happened.
* After a failed request the connection is closed: a partly read answer cannot be continued.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from typing_extensions import Self

from tsmodel.client.channel_base import RECV_BUFFER_SIZE, ChannelBase
from tsmodel.client.payload_type import PayloadType
from tsmodel.client.record import Key, Record
from tsmodel.client.response import Response, ResponseAcq, ResponseGet
from tsmodel.io.effects import Work
from tsmodel.io.runners import items, perform, run, stream
from tsmodel.wire.client_role import MAX_BATCH_SIZE

if TYPE_CHECKING:
    import ssl

__all__ = ["Channel"]

R = TypeVar("R")
T = TypeVar("T")


class Channel(ChannelBase[T]):
    """A connection to a TStorage server, for records of one payload type. Not thread-safe.

    A forked process inherits no connection: call `connect` there.

    Args:
        host: name or address of the server.
        port: its port.
        payload_type: converts values to bytes and back.
        timeout: seconds that connecting and each wait for bytes may take; None for no limit.
        memory_limit: most bytes of records, including their size fields, that `get` and `get_iter` accept, and that a
            batch of `get_stream` holds; None for no limit.
        ssl_context: for TLS; None for plain TCP.

    Example::

        with Channel("localhost", 2025, TuplePayloadType("<if?")) as channel:
            response = channel.put([Record(Key(1, 4, 7, now_ns()), (10, 24.0, True))])
    """

    def __init__(
        self,
        host: str,
        port: int,
        payload_type: PayloadType[T],
        timeout: float | None = None,
        memory_limit: int | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(host, port, payload_type, timeout, memory_limit, ssl_context)

    def connect(self) -> Response:
        """Connects, or reconnects. On failure the response carries the `error`."""
        return self._run(self._connected())

    def close(self) -> Response:
        """Disconnects; later calls return DISCONNECTED. Returns ERROR if the channel is not connected."""
        return self._run(self._disconnected())

    def get(self, key_min: Key, key_max: Key, recv_buffer_size: int = RECV_BUFFER_SIZE) -> ResponseGet[T]:
        """Returns all records of the half-open box between two keys."""
        return self._run(self._got(key_min, key_max, recv_buffer_size))

    def get_stream(
        self,
        key_min: Key,
        key_max: Key,
        callback: Callable[[Any], object],
        recv_buffer_size: int = RECV_BUFFER_SIZE,
    ) -> ResponseAcq:
        """Calls `callback` with batches of the records of the box. Exceptions of the callback propagate."""
        outcome = self._outcome(streaming=True)
        with closing(stream(self._read(outcome, key_min, key_max, recv_buffer_size), perform)) as batches:
            for batch in batches:
                callback(batch)
        return outcome.response_acq()

    def get_iter(
        self, key_min: Key, key_max: Key, recv_buffer_size: int = RECV_BUFFER_SIZE
    ) -> Iterator[Record[T] | ResponseAcq]:
        """Yields the records of the box one by one, and finally a ResponseAcq with the outcome."""
        return items(stream(self._iterated(key_min, key_max, recv_buffer_size), perform))

    def put(self, data: Any, max_batch_size: int = MAX_BATCH_SIZE, skip_invalid: bool = False) -> Response:
        """Stores records; the server assigns their acq.

        Args:
            data: a list of Record, or another form that the payload type accepts.
            max_batch_size: most bytes of records in one batch on the wire.
            skip_invalid: whether to leave out records whose key cannot be stored or whose value cannot be serialized; they
                are counted in `skipped`. Otherwise the first such record makes the response BAD_REQUEST, and nothing is
                sent.
        """
        return self._run(self._stored(data, max_batch_size, skip_invalid, with_acq=False))

    def puta(self, data: Any, max_batch_size: int = MAX_BATCH_SIZE, skip_invalid: bool = False) -> Response:
        """Stores records with the acq of their keys; otherwise like `put`."""
        return self._run(self._stored(data, max_batch_size, skip_invalid, with_acq=True))

    def get_acq(self, key_min: Key, key_max: Key) -> ResponseAcq:
        """Returns the last full-commit acq of the half-open box between two keys."""
        return self._run(self._acq(key_min, key_max))

    def __enter__(self) -> Self:
        response = self.connect()
        if response.error is not None:
            raise response.error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _run(self, work: Work[R]) -> R:
        return run(work, perform)
