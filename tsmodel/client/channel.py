"""`Channel`: the official client's synchronous channel.

Rules kept here:

* Calls answer with a Response and do not raise for what a server or a network does; entering a `with` block does.
* A put is encoded whole before its first byte is sent, so that an invalid record stops it while nothing has happened.
* After any failure of a request the connection is closed: a half-read answer is never read on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from typing_extensions import Self

from tsmodel.client.channel_base import ChannelBase
from tsmodel.client.payload_type import PayloadType
from tsmodel.client.record import Key, Record
from tsmodel.client.response import Response, ResponseAcq, ResponseGet
from tsmodel.io.runners import items, perform, run, stream
from tsmodel.wire.client_role import MAX_BATCH_SIZE
from tsmodel.wire.reader import DEFAULT_BUFFER_SIZE

if TYPE_CHECKING:
    import ssl

__all__ = ["Channel"]

T = TypeVar("T")


class Channel(ChannelBase[T]):
    """A connection to a TStorage server, for records with values of one payload type. One thread at a time.

    In a forked process it is not connected: `connect` there.

    Args:
        host: name or address of the server.
        port: its port.
        payload_type: between values and bytes.
        timeout: seconds that connecting and each wait for bytes may take; None for no limit.
        memory_limit: most bytes of records, size fields included, that `get` and `get_iter` take in, and that a batch of
            `get_stream` has; None for no limit.
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
        """Connects; a channel that is connected connects anew. On failure the response carries the `error`."""
        return run(self._connected(), perform)

    def close(self) -> Response:
        """Disconnects; later calls answer DISCONNECTED. Answers ERROR when the channel is not connected."""
        return self._closed()

    def get(self, key_min: Key, key_max: Key, recv_buffer_size: int = DEFAULT_BUFFER_SIZE) -> ResponseGet[T]:
        """All records of the half-open box between two keys."""
        return run(self._got(key_min, key_max, recv_buffer_size), perform)

    def get_stream(
        self,
        key_min: Key,
        key_max: Key,
        callback: Callable[[Any], object],
        recv_buffer_size: int = DEFAULT_BUFFER_SIZE,
    ) -> ResponseAcq:
        """Calls `callback` with the records of the box, some at a time. What it raises comes out of here."""
        outcome = self._outcome(streaming=True)
        with closing(stream(self._read(outcome, key_min, key_max, recv_buffer_size), perform)) as batches:
            for batch in batches:
                callback(batch)
        return outcome.response_acq()

    def get_iter(
        self, key_min: Key, key_max: Key, recv_buffer_size: int = DEFAULT_BUFFER_SIZE
    ) -> Iterator[Record[T] | ResponseAcq]:
        """The records of the box one by one, and last a ResponseAcq that says how it went."""
        return items(stream(self._iterated(key_min, key_max, recv_buffer_size), perform))

    def put(self, data: Any, max_batch_size: int = MAX_BATCH_SIZE, skip_invalid: bool = False) -> Response:
        """Stores records; the server gives their acq.

        Args:
            data: the records: a list of Record, or what the payload type takes.
            max_batch_size: most bytes of records in one batch on the wire.
            skip_invalid: leaves out records whose key cannot be stored or whose value cannot be serialized, and counts
                them in `skipped`; otherwise the first one makes the answer BAD_REQUEST, and nothing is sent.
        """
        return run(self._stored(data, max_batch_size, skip_invalid, with_acq=False), perform)

    def puta(self, data: Any, max_batch_size: int = MAX_BATCH_SIZE, skip_invalid: bool = False) -> Response:
        """Stores records with the acq of their keys; otherwise as `put`."""
        return run(self._stored(data, max_batch_size, skip_invalid, with_acq=True), perform)

    def get_acq(self, key_min: Key, key_max: Key) -> ResponseAcq:
        """The last acq of the half-open box between two keys."""
        return run(self._acq(key_min, key_max), perform)

    def __enter__(self) -> Self:
        response = self.connect()
        if response.error is not None:
            raise response.error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
