"""What the synchronous and the asynchronous channel have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from tsmodel.client.encoding import Encoded
from tsmodel.client.outcome import GetOutcome
from tsmodel.client.payload_types import PayloadType, adapted
from tsmodel.client.record import Record
from tsmodel.client.response import Response, ResponseStatus

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ["ChannelMixin"]

T = TypeVar("T")


class _Connection(Protocol):
    open: bool

    def set_timeout(self, timeout: float | None) -> None: ...

    def close(self) -> None: ...


class ChannelMixin(Generic[T]):
    """The settings of a channel."""

    _connection: _Connection | None = None

    def __init__(
        self,
        host: str,
        port: int,
        payload_type: PayloadType[T],
        timeout: float | None,
        memory_limit: int | None,
        ssl_context: SSLContext | None,
    ) -> None:
        self._host, self._port = host, port
        self._payload_type = payload_type
        self._timeout = timeout
        self._memory_limit = memory_limit
        self._ssl_context = ssl_context

    @property
    def timeout(self) -> float | None:
        """Seconds that each wait may take; None for no limit."""
        return self._timeout

    @timeout.setter
    def timeout(self, seconds: float | None) -> None:
        self._timeout = seconds
        if self._connection is not None and self._connection.open:
            self._connection.set_timeout(seconds)

    @property
    def memory_limit(self) -> int | None:
        """Most bytes of records that are held; None for no limit."""
        return self._memory_limit

    @memory_limit.setter
    def memory_limit(self, size: int | None) -> None:
        self._memory_limit = size

    def _outcome(self, *, streaming: bool = False) -> GetOutcome[T]:
        return GetOutcome(adapted(self._payload_type), self._memory_limit, streaming=streaming)

    def _encoded(self, data: Iterable[Record[T]], skip_invalid: bool, with_acq: bool) -> Encoded:
        return adapted(self._payload_type).encode(data, with_acq=with_acq, skip_invalid=skip_invalid)

    def _closed(self) -> Response:
        """Disconnects; the response says whether there was a connection to close."""
        connection, self._connection = self._connection, None
        if connection is None or not connection.open:
            return Response(ResponseStatus.ERROR)
        connection.close()
        return Response()
