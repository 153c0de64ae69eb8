"""What the synchronous and the asynchronous channel have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from tsmodel.client.encoding import Encoded
from tsmodel.client.outcome import GetOutcome
from tsmodel.client.payload_types import PayloadType
from tsmodel.client.record import Record

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ["ChannelMixin"]

T = TypeVar("T")


class _Connection(Protocol):
    open: bool

    def set_timeout(self, timeout: float | None) -> None: ...


class ChannelMixin(Generic[T]):
    """The settings of a channel.

    Args:
        host: name or address of the server.
        port: its port.
        payload_type: between values and bytes.
        timeout: seconds that connecting and each wait for bytes may take; None for no limit.
        memory_limit: most bytes of records that `get` and `get_iter` take in, and that `get_stream` buffers; None for no
            limit.
        ssl_context: for TLS; None for plain TCP.
    """

    _connection: _Connection | None = None

    def __init__(
        self,
        host: str,
        port: int,
        payload_type: PayloadType[T],
        timeout: float | None = None,
        memory_limit: int | None = None,
        ssl_context: SSLContext | None = None,
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
        return GetOutcome(self._payload_type, self._memory_limit, streaming=streaming)

    def _encoded(self, data: Iterable[Record[T]], skip_invalid: bool, with_acq: bool) -> Encoded:
        return self._payload_type.encode(data, with_acq=with_acq, skip_invalid=skip_invalid)
