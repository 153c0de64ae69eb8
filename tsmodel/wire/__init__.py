"""The TStorage protocol, sans I/O, for both roles: bytes to events, events to bytes. Payloads are opaque here."""

from tsmodel.wire.chunk import Batch, Chunk, ColumnChunk, RowChunk
from tsmodel.wire.events import Command, Status, describe
from tsmodel.wire.records import GET_FORM, MAX_PAYLOAD, PUT_FORM, PUTA_FORM, RecordForm, WholeRecords

__all__ = [
    "GET_FORM",
    "MAX_PAYLOAD",
    "PUTA_FORM",
    "PUT_FORM",
    "Batch",
    "Chunk",
    "ColumnChunk",
    "Command",
    "RecordForm",
    "RowChunk",
    "Status",
    "WholeRecords",
    "describe",
]
