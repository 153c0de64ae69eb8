"""Sessions: connecting, adding, flushing, querying."""

from tsmodel.session.connect import connect
from tsmodel.session.receipt import Receipt
from tsmodel.session.session import Session

__all__ = ["Receipt", "Session", "connect"]
