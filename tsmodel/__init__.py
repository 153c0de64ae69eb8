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

from tsmodel import schema
from tsmodel.client.retry import Retry
from tsmodel.errors import TSModelError, WriteError
from tsmodel.keys import Key, KeyRange
from tsmodel.model import (
    Acq,
    Array,
    Bits,
    Blob,
    Bool,
    Cap,
    Char,
    Cid,
    Column,
    Converted,
    Date,
    DateTime,
    Duration,
    Encoded,
    Enumerated,
    Expression,
    Flags,
    Float16,
    Float32,
    Float64,
    Int8,
    Int16,
    Int32,
    Int64,
    IntColumn,
    IpAddress,
    Mid,
    Moid,
    Nested,
    Nullable,
    Packed,
    Padding,
    Scaled,
    Text,
    Timestamp,
    TSModel,
    TSStruct,
    UInt8,
    UInt16,
    UInt32,
    UInt64,
    UnixTime,
    Uuid,
    field,
    padding,
)
from tsmodel.model.aggregates import count
from tsmodel.query import AsyncQuery, Query
from tsmodel.session import AsyncSession, Receipt, Session, connect, connect_async
from tsmodel.timestamps import now_ns, to_datetime, to_iso, to_ns

__all__ = [
    "Acq",
    "Array",
    "AsyncQuery",
    "AsyncSession",
    "Bits",
    "Blob",
    "Bool",
    "Cap",
    "Char",
    "Cid",
    "Column",
    "Converted",
    "Date",
    "DateTime",
    "Duration",
    "Encoded",
    "Enumerated",
    "Expression",
    "Flags",
    "Float16",
    "Float32",
    "Float64",
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "IntColumn",
    "IpAddress",
    "Key",
    "KeyRange",
    "Mid",
    "Moid",
    "Nested",
    "Nullable",
    "Packed",
    "Padding",
    "Query",
    "Receipt",
    "Retry",
    "Scaled",
    "Session",
    "TSModel",
    "TSModelError",
    "TSStruct",
    "Text",
    "Timestamp",
    "UInt8",
    "UInt16",
    "UInt32",
    "UInt64",
    "UnixTime",
    "Uuid",
    "WriteError",
    "connect",
    "connect_async",
    "count",
    "field",
    "now_ns",
    "padding",
    "schema",
    "to_datetime",
    "to_iso",
    "to_ns",
]

__version__ = "0.1.0"
