"""Typed models for TStorage, the distributed time-series database.

Declare a model, open a session, store objects, query them::

    class Reading(TSModel):
        counter: Int32
        volts: Float32
        valid: Bool

    with connect("readings.tsdb") as session:
        session.add_all(readings)
        session.flush()
        rows = Reading.query.cid(1).cap_between(a, b).all()
"""

from tsmodel.client.retry import Retry
from tsmodel.errors import TSModelError, WriteError
from tsmodel.keys import Key, KeyRange
from tsmodel.model import (
    Bool,
    Column,
    Expression,
    Float32,
    Float64,
    Int8,
    Int16,
    Int32,
    Int64,
    Timestamp,
    TSModel,
    UInt8,
    UInt16,
    UInt32,
    UInt64,
    field,
)
from tsmodel.query import AsyncQuery, Query
from tsmodel.session import AsyncReceipt, AsyncSession, Receipt, Session, connect, connect_async
from tsmodel.timestamps import now_ns, to_datetime, to_iso, to_ns

__all__ = [
    "AsyncQuery",
    "AsyncReceipt",
    "AsyncSession",
    "Bool",
    "Column",
    "Expression",
    "Float32",
    "Float64",
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "Key",
    "KeyRange",
    "Query",
    "Receipt",
    "Retry",
    "Session",
    "TSModel",
    "TSModelError",
    "Timestamp",
    "UInt8",
    "UInt16",
    "UInt32",
    "UInt64",
    "WriteError",
    "connect",
    "connect_async",
    "field",
    "now_ns",
    "to_datetime",
    "to_iso",
    "to_ns",
]

__version__ = "0.1.0"
