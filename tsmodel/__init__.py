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

Importing this package loads none of its parts: each name is loaded, with what it needs, when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tsmodel.lazily import lazily

if TYPE_CHECKING:
    from tsmodel import backend as backend
    from tsmodel import client as client
    from tsmodel import codegen as codegen
    from tsmodel import errors as errors
    from tsmodel import frames as frames
    from tsmodel import interop as interop
    from tsmodel import keys as keys
    from tsmodel import layout as layout
    from tsmodel import model as model
    from tsmodel import query as query
    from tsmodel import schema as schema
    from tsmodel import server as server
    from tsmodel import session as session
    from tsmodel import store as store
    from tsmodel import testing as testing
    from tsmodel import timestamps as timestamps
    from tsmodel import types as types
    from tsmodel import wire as wire
    from tsmodel.errors import TSModelError, WriteError
    from tsmodel.io.retry import Retry
    from tsmodel.keys import Key, KeyRange
    from tsmodel.model import Column, Expression, IntColumn, TSModel, TSStruct, field, padding
    from tsmodel.model.column import count
    from tsmodel.query import AsyncQuery, Query
    from tsmodel.session import AsyncSession, Receipt, Session, connect, connect_async
    from tsmodel.timestamps import now_ns, to_datetime, to_iso, to_ns
    from tsmodel.types import (
        Acq,
        Array,
        Bits,
        Blob,
        Bool,
        Cap,
        Char,
        Cid,
        Date,
        DateTime,
        Duration,
        Enumerated,
        Flags,
        Float16,
        Float32,
        Float64,
        Int8,
        Int16,
        Int32,
        Int64,
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
        UInt8,
        UInt16,
        UInt32,
        UInt64,
        UnixTime,
        Uuid,
    )
    from tsmodel.types.converted import Converted, Encoded

else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "io.retry": "Retry",
            "errors": "TSModelError WriteError",
            "keys": "Key KeyRange",
            "model.column": "count",
            "model": "Column Expression IntColumn TSModel TSStruct field padding",
            "query": "AsyncQuery Query",
            "session": "AsyncSession Receipt Session connect connect_async",
            "timestamps": "now_ns to_datetime to_iso to_ns",
            "types": (
                "Acq Array Bits Blob Bool Cap Char Cid Date DateTime Duration Enumerated Flags Float16 Float32 "
                "Float64 Int8 Int16 Int32 Int64 IpAddress Mid Moid Nested Nullable Packed Padding Scaled Text "
                "Timestamp UInt8 UInt16 UInt32 UInt64 UnixTime Uuid"
            ),
            "types.converted": "Converted Encoded",
        },
        modules="backend client codegen errors frames interop keys layout model query schema server session store testing "
        "timestamps types wire",
    )

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
