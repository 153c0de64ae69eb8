"""Reading any payload takes memory in proportion to its size, not to the lengths it claims."""

from __future__ import annotations

import contextlib
import struct
import tracemalloc
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.budget import examples
from support.fields import Kind, declared, fixed

import tsmodel as ts
from tsmodel import TSModel, TSStruct
from tsmodel.client.record import Record
from tsmodel.errors import DecodeError
from tsmodel.keys import Key
from tsmodel.model.model import codec_of

TIMES = 20
SPARE = 16 * 1024
"""Bytes for the object, an error and its traceback, whatever the payload's size."""

KEY = Key(1, 2, 3, 4, 5)
PREFIXES = {ts.UInt8: 200, ts.UInt16: 30_000, ts.UInt32: 30_000}
WIDE = (ts.Int32, ts.UInt32, ts.Int64, ts.UInt64, ts.Float32, ts.Float64)
hostile = st.sampled_from(
    [b"\xff" * 8, b"\xff\xff\xff\x7f", b"\x7f\xff\xff\xff", b"\0" * 4, b"\xdd\xff\xff\xff\xff", b"\x01"]
)


@st.composite
def bounded(draw: st.DrawFn) -> Kind:
    """A variable-length kind to which the bound applies, with values up to tens of thousands of bytes."""
    prefix = draw(st.sampled_from(list(PREFIXES)))
    most = PREFIXES[prefix]
    options: dict[str, Any] = {"prefix": prefix}
    sizes = st.sampled_from([0, 1, most // 50, most])
    texts = st.tuples(st.sampled_from(["a", "é", "漢"]), sizes).map(lambda pair: pair[0] * (pair[1] // 3))
    which = draw(st.sampled_from(["text", "blob", "list", "numpy", "nullable", "nested"]))
    if which == "blob":
        return Kind(ts.Blob, options, sizes.map(bytes))
    if which == "list":
        numbers = st.tuples(st.sampled_from([0, 1, 100_000]), sizes).map(lambda pair: [pair[0]] * (pair[1] // 8))
        return Kind(ts.Array[Any], {**options, "item": draw(st.sampled_from(WIDE))}, numbers)
    if which == "numpy":
        item = draw(st.sampled_from([ts.UInt8, ts.Int16, *WIDE]))
        return Kind(ts.Array[Any], {**options, "item": item, "as_numpy": True}, sizes.map(lambda size: [1] * (size // 8)))
    if which == "nullable":
        return Kind(ts.Nullable[Any], {**options, "item": ts.Text}, st.none() | texts)
    if which == "nested":
        made: Any = declared(TSStruct, [Kind(ts.Text, options, texts), Kind(ts.Bool, {}, st.booleans())])
        return Kind(ts.Nested[made], {}, st.builds(made, f0=texts, f1=st.booleans()))
    return Kind(ts.Text, options, texts)


@st.composite
def payloads(draw: st.DrawFn) -> tuple[type[TSModel], bytes]:
    """A model and bytes: a payload that it writes, perhaps overwritten or cut, or arbitrary bytes."""
    kinds = draw(st.lists(bounded() | fixed, max_size=2))
    kinds.insert(draw(st.integers(0, len(kinds))), draw(bounded()))
    model: Any = declared(TSModel, kinds)
    if draw(st.integers(0, 4)) == 0:
        return model, draw(hostile) * draw(st.sampled_from([1, 10, 10_000])) + draw(st.binary(max_size=9))
    values = {f"f{at}": draw(kind.values) for at, kind in enumerate(kinds)}
    payload = codec_of(model).payload_of(model(cid=1, mid=2, moid=3, cap=4, **values))
    if draw(st.booleans()):
        data, at = draw(hostile), draw(st.integers(0, min(len(payload), 24)))
        payload = payload[:at] + data + payload[at + len(data) :]
    return model, payload[: draw(st.sampled_from([len(payload), len(payload) // 2]))]


def peak(model: type[TSModel], payload: bytes) -> int:
    """Peak memory of reading a payload, in bytes."""
    record = Record(KEY, payload)

    def read() -> None:
        with contextlib.suppress(DecodeError):
            model.from_record(record)

    read()  # do not count code compiled on first use
    tracemalloc.start()
    try:
        read()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@settings(
    deadline=None,
    max_examples=examples(60),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
@given(payloads())
def test_memory_is_bounded_by_the_payload(made: tuple[type[TSModel], bytes]) -> None:
    model, payload = made
    assert peak(model, payload) <= TIMES * len(payload) + SPARE


@pytest.mark.parametrize(
    "kind",
    [
        Kind(ts.Text, {"prefix": ts.UInt32}, st.nothing()),
        Kind(ts.Blob, {"prefix": ts.UInt32}, st.nothing()),
        Kind(ts.Array[Any], {"item": ts.UInt8, "prefix": ts.UInt32}, st.nothing()),
        Kind(ts.Array[Any], {"item": ts.Int64, "prefix": ts.UInt32, "as_numpy": True}, st.nothing()),
        Kind(ts.Packed[Any], {"prefix": ts.UInt32}, st.nothing()),
    ],
    ids=["text", "blob", "list", "numpy", "packed"],
)
def test_false_length_takes_no_memory(kind: Kind) -> None:
    model: Any = declared(TSModel, [kind])
    payload = struct.pack("<I", 2**31 - 1) + b"a" * 8
    assert peak(model, payload) <= SPARE
    with pytest.raises(DecodeError):
        model.from_record(Record(KEY, payload))


def test_false_item_count_in_message_takes_no_memory() -> None:
    model: Any = declared(TSModel, [Kind(ts.Packed[Any], {"rest": True}, st.nothing())])
    assert peak(model, b"\xdd\xff\xff\xff\xff" + b"\x01" * 8) <= SPARE


@pytest.mark.parametrize(
    ("kind", "payload", "times"),
    [
        (Kind(ts.Array[Any], {"item": ts.Int16, "rest": True}, st.nothing()), b"\x01\x70" * 30_000, 26),
        (
            Kind(ts.Array[Any], {"item": ts.Scaled, "storage": ts.Int8, "digits": 2, "rest": True}, st.nothing()),
            b"\x70" * 20_000,
            135,
        ),
        (
            Kind(ts.Array[Any], {"item": ts.IpAddress, "version": 4, "rest": True}, st.nothing()),
            b"\xc0\xa8\x01\x02" * 9_000,
            26,
        ),
        (Kind(ts.Packed[Any], {"rest": True}, st.nothing()), b"\xdc" + struct.pack(">H", 60_000) + b"\x80" * 60_000, 75),
    ],
    ids=["narrow", "decimals", "addresses", "empty-maps"],
)
def test_exempt_types_stay_within_documented_limits(kind: Kind, payload: bytes, times: int) -> None:
    model: Any = declared(TSModel, [kind])
    assert TIMES * len(payload) < peak(model, payload) <= times * len(payload) + SPARE
