"""Requests as work: send a request, receive its answer. No sockets.

Rules kept here:

* A request that completes leaves the connection ready for the next one. One that is abandoned, raises, or is answered by a
  `Refusal` closes it: nobody can continue in the middle of an answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from tsmodel.errors import TransportError, TSModelError
from tsmodel.io.effects import Receive, Send, Work
from tsmodel.wire.client_role import Buffers
from tsmodel.wire.events import Refusal
from tsmodel.wire.reader import Reader

__all__ = ["exchange"]

E = TypeVar("E")


def exchange(
    connection: Any, request: Buffers, reader: Reader[E], take: Callable[[E], Work[None]] | None = None
) -> Work[E]:
    """Sends a request and reads its answer. The result is the last event of the answer.

    Args:
        connection: the connection, which is in use until the answer is complete.
        request: the bytes to send.
        reader: reads the answer.
        take: called with each event of the answer, including the last; may be None.

    Raises:
        TransportError: if the connection is lost or a wait takes too long.
        RemoteProtocolError: if the server violates the protocol.
    """
    connection.open = False
    is_usable = False
    try:
        answer = yield from _exchanged(connection, request, reader, take)
        is_usable = not isinstance(answer, Refusal)
        return answer
    finally:
        connection.open = is_usable
        if not is_usable:
            connection.close()


def _exchanged(connection: Any, request: Buffers, reader: Reader[E], take: Callable[[E], Work[None]] | None) -> Work[E]:
    try:
        yield Send(request, connection)
    except TransportError as error:
        # A server that refuses a put closes before it has read all of it. Its answer may have arrived already.
        try:
            return (yield from _answered(connection, reader, take))
        except TSModelError:
            raise error from error.__cause__
    return (yield from _answered(connection, reader, take))


def _answered(connection: Any, reader: Reader[E], take: Callable[[E], Work[None]] | None) -> Work[E]:
    event: Any = None
    while not reader.done:
        count: int = yield Receive(reader.get_buffer(), connection)
        for event in reader.received(count):
            if take is not None:
                yield from take(event)
    last: E = event
    return last
