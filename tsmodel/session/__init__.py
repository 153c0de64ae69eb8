"""Sessions: connecting, adding, flushing, querying."""

from tsmodel.session.connect import connect, connect_async
from tsmodel.session.receipt import AsyncReceipt, Receipt
from tsmodel.session.session import Session
from tsmodel.session.session_async import AsyncSession

__all__ = ["AsyncReceipt", "AsyncSession", "Receipt", "Session", "connect", "connect_async"]
