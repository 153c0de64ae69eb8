"""Sessions: connecting, adding, flushing, querying."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tsmodel.lazily import lazily

if TYPE_CHECKING:
    from tsmodel.session.observing import Request, Response
    from tsmodel.session.opening import connect, connect_async
    from tsmodel.session.receipt import Receipt
    from tsmodel.session.session import Session
    from tsmodel.session.session_async import AsyncSession
    from tsmodel.session.telemetry import OpenTelemetry
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "opening": "connect connect_async",
            "observing": "Request Response",
            "receipt": "Receipt",
            "session": "Session",
            "session_async": "AsyncSession",
            "telemetry": "OpenTelemetry",
        },
    )

__all__ = [
    "AsyncSession",
    "OpenTelemetry",
    "Receipt",
    "Request",
    "Response",
    "Session",
    "connect",
    "connect_async",
]
