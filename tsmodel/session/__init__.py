"""Sessions: connecting, adding, flushing, querying."""

from tsmodel.session.connect import connect, connect_async
from tsmodel.session.observing import Request, Response
from tsmodel.session.receipt import Receipt
from tsmodel.session.session import Session
from tsmodel.session.session_async import AsyncSession
from tsmodel.session.telemetry import OpenTelemetry

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
