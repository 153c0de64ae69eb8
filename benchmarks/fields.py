"""Models with enums, times, decimals and text, read and written, against what users write by hand for the same fields."""

from __future__ import annotations

import datetime as dt
import struct
from collections.abc import Callable
from decimal import Decimal
from enum import IntEnum
from functools import partial
from typing import Any

import attrs

from benchmarks.decode import PlainKey, PlainRecord
from benchmarks.harness import Result, compared, race
from tsmodel import DateTime, Enumerated, Int32, Scaled, Text, TSModel, UInt8, field
from tsmodel.layout import RowCodec
from tsmodel.model.model import codec_of
from tsmodel.timestamps import EPOCH
from tsmodel.wire.chunk import RowChunk, parsed
from tsmodel.wire.records import GET_FORM

COUNT = 50_000
NOON = dt.datetime(2026, 1, 1, 12, tzinfo=dt.timezone.utc)


class State(IntEnum):
    OFF = 0
    ON = 1
    BROKEN = 2


class WithEnum(TSModel):
    counter: Int32
    value: Enumerated[State] = field(storage=UInt8)


class WithTime(TSModel):
    counter: Int32
    value: DateTime


class WithDecimal(TSModel):
    counter: Int32
    value: Scaled = field(digits=2)


class WithText(TSModel):
    counter: Int32
    value: Text = field(size=8)


class WithLongText(TSModel):
    counter: Int32
    value: Text


@attrs.define
class PlainValue:
    counter: int
    value: Any


@attrs.frozen
class Kind:
    """A model, its values, and code for its payload as users write it by hand."""

    model: type[Any]
    value: Callable[[int], Any]
    pack: Callable[[PlainValue], bytes]
    unpack: Callable[[bytes], PlainValue]


def _enum(buffer: bytes) -> PlainValue:
    counter, value = struct.unpack("<iB", buffer)
    return PlainValue(counter, State(value))


def _time(buffer: bytes) -> PlainValue:
    counter, value = struct.unpack("<iq", buffer)
    return PlainValue(counter, EPOCH + dt.timedelta(microseconds=value // 1000))


def _decimal(buffer: bytes) -> PlainValue:
    counter, value = struct.unpack("<iq", buffer)
    return PlainValue(counter, Decimal(value) / 100)


def _text(buffer: bytes) -> PlainValue:
    counter, value = struct.unpack("<i8s", buffer)
    return PlainValue(counter, value.rstrip(b"\0").decode())


def _long_text(buffer: bytes) -> PlainValue:
    counter, size = struct.unpack("<iH", buffer[:6])
    return PlainValue(counter, buffer[6 : 6 + size].decode())


def _pack_long_text(row: PlainValue) -> bytes:
    encoded: bytes = row.value.encode()
    return struct.pack("<iH", row.counter, len(encoded)) + encoded


KINDS = {
    "enum": Kind(WithEnum, lambda at: State(at % 3), lambda row: struct.pack("<iB", row.counter, row.value.value), _enum),
    "datetime": Kind(
        WithTime,
        lambda at: NOON + dt.timedelta(seconds=at),
        lambda row: struct.pack("<iq", row.counter, (row.value - EPOCH) // dt.timedelta(microseconds=1) * 1000),
        _time,
    ),
    "decimal": Kind(
        WithDecimal,
        lambda at: Decimal(at) / 100,
        lambda row: struct.pack("<iq", row.counter, int(row.value * 100)),
        _decimal,
    ),
    "text, fixed": Kind(
        WithText, lambda at: f"m{at % 999}", lambda row: struct.pack("<i8s", row.counter, row.value.encode()), _text
    ),
    "text, variable": Kind(WithLongText, lambda at: f"m{at % 999}", _pack_long_text, _long_text),
}


def plain_decode(chunk: bytes, unpack: Callable[[bytes], PlainValue]) -> list[PlainRecord]:
    """Decodes records one by one."""
    rows, at = [], 0
    while at < len(chunk):
        (n,) = struct.unpack("<i", chunk[at : at + 4])
        at += 4
        key = PlainKey(*struct.unpack("<iqiqq", chunk[at : at + 32]))
        rows.append(PlainRecord(key, unpack(chunk[at + 32 : at + n])))  # type: ignore[arg-type]
        at += n
    return rows


def plain_encode(rows: list[PlainRecord], pack: Callable[[PlainValue], bytes]) -> bytes:
    """Encodes records one by one, as a put needs them."""
    pieces = []
    for row in rows:
        payload = pack(row.value)  # type: ignore[arg-type]
        pieces.append(struct.pack("<iqiq", 20 + len(payload), row.key.mid, row.key.moid, row.key.cap) + payload)
    return b"".join(pieces)


def _read(codec: RowCodec[Any], chunk: RowChunk) -> list[Any]:
    return list(codec.rows(codec.fit(chunk).records))


def measure() -> list[Result]:
    """Measures each kind of field beside an integer."""
    results = []
    for name, kind in KINDS.items():
        rows = [kind.model(cid=1, mid=at % 100, moid=7, cap=at, counter=at, value=kind.value(at)) for at in range(COUNT)]
        codec = codec_of(kind.model)
        payloads = [codec.payload_of(row) for row in rows]
        size = GET_FORM.header.itemsize - 4
        chunk = b"".join(
            struct.pack("<iiqiqq", size + len(payload), *row.key.astuple()) + payload
            for row, payload in zip(rows, payloads, strict=True)
        )
        plain_rows = plain_decode(chunk, kind.unpack)
        times = race(
            {
                "read": partial(_read, codec, parsed(memoryview(chunk))),
                "plain read": partial(plain_decode, chunk, kind.unpack),
                "write": partial(codec.encode, rows),
                "plain write": partial(plain_encode, plain_rows, kind.pack),
            }
        )
        read, written = (f"{COUNT / min(times[each]) / 1e6:.2f} M records/s" for each in ("read", "write"))
        results.append(compared(f"read: {name}", times, "read", "plain read", 4, read))
        results.append(compared(f"write: {name}", times, "write", "plain write", 1, written))
    return results
