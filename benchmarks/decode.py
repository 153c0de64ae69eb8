"""Decoding chunks to models, against what users write by hand, and encoding them."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import attrs

from benchmarks.data import Reading, chunks_of, readings
from benchmarks.harness import Result, compared, race
from tsmodel.layout import row_codec
from tsmodel.model.model import codec_of

COUNT = 200_000


@dataclass
class PlainKey:
    cid: int
    mid: int
    moid: int
    cap: int
    acq: int


@dataclass
class PlainValue:
    counter: int
    volts: float
    valid: bool


@dataclass
class PlainRecord:
    key: PlainKey
    value: PlainValue


@attrs.define
class AttrsReading:
    cid: int
    mid: int
    moid: int
    cap: int
    acq: int
    counter: int
    volts: float
    valid: bool


class PlainPayloadType:
    """What users write for the official client."""

    def to_bytes(self, value: PlainValue) -> bytes:
        return struct.pack("<if?", value.counter, value.volts, value.valid)

    def from_bytes(self, buffer: memoryview) -> PlainValue:
        return PlainValue(*struct.unpack("<if?", buffer))


def plain_decode(chunk: memoryview, payload_type: PlainPayloadType) -> list[PlainRecord]:
    """Decodes records one by one: size, key, payload."""
    rows = []
    at = 0
    while at < len(chunk):
        (n,) = struct.unpack("<i", chunk[at : at + 4])
        at += 4
        key = PlainKey(*struct.unpack("<iqiqq", chunk[at : at + 32]))
        rows.append(PlainRecord(key, payload_type.from_bytes(chunk[at + 32 : at + n])))
        at += n
    return rows


def plain_encode(rows: list[PlainRecord], payload_type: PlainPayloadType) -> bytes:
    """Encodes records one by one, in batches of one cid, as a put needs them."""
    batches: dict[int, list[bytes]] = {}
    for row in rows:
        key = row.key
        payload = payload_type.to_bytes(row.value)
        record = struct.pack("<iqiq", 20 + len(payload), key.mid, key.moid, key.cap) + payload
        batches.setdefault(key.cid, []).append(record)
    bodies = {cid: b"".join(records) for cid, records in batches.items()}
    return b"".join(struct.pack("<ii", cid, len(body)) + body for cid, body in bodies.items())


def measure() -> list[Result]:
    """Measures decoding, chunk by chunk, and encoding."""
    rows = readings(COUNT)
    chunks = chunks_of(rows)
    codec = codec_of(Reading)
    with_attrs = row_codec(codec.layout, AttrsReading)
    payload_type = PlainPayloadType()
    plain_rows = [row for chunk in chunks for row in plain_decode(chunk.rows(), payload_type)]

    def models() -> None:
        for chunk in chunks:
            list(codec.rows(codec.fit(chunk).records))

    def attrs_classes() -> None:
        for chunk in chunks:
            list(with_attrs.rows(with_attrs.fit(chunk).records))

    def plain() -> None:
        for chunk in chunks:
            plain_decode(chunk.rows(), payload_type)

    times = race(
        {
            "models": models,
            "attrs": attrs_classes,
            "plain": plain,
            "encode": lambda: codec.encode(rows),
            "plain encode": lambda: plain_encode(plain_rows, payload_type),
        }
    )
    decoded, encoded = (f"{COUNT / min(times[name]) / 1e6:.1f} M records/s" for name in ("models", "encode"))
    loop = "peer: a loop of struct.unpack, dataclass key, value and record"
    return [
        compared("decode a chunk to models", times, "models", "plain", 10, f"{decoded}; {loop}"),
        compared("the same to attrs classes", times, "models", "attrs", 1, "peer: our codec, another class"),
        compared("encode models", times, "encode", "plain encode", 1.5, f"{encoded}; peer: a loop of struct.pack"),
    ]
