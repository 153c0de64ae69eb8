"""Sessions: connect to a database, add objects, flush and query."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tsmodel.lazily import lazily

if TYPE_CHECKING:
    from tsmodel.session.connecting import connect, connect_async
    from tsmodel.session.forwarding import SetAside, SpoolState
    from tsmodel.session.observing import OpenTelemetry, Request, Response
    from tsmodel.session.receipt import Receipt
    from tsmodel.session.session import Session
    from tsmodel.session.session_async import AsyncSession
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "connecting": "connect connect_async",
            "observing": "OpenTelemetry Request Response",
            "receipt": "Receipt",
            "session": "Session",
            "session_async": "AsyncSession",
            "forwarding": "SetAside SpoolState",
        },
    )

__all__ = [
    "AsyncSession",
    "OpenTelemetry",
    "Receipt",
    "Request",
    "Response",
    "Session",
    "SetAside",
    "SpoolState",
    "connect",
    "connect_async",
]
