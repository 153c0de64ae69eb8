"""Payload types: conversion to and from bytes, refused values, and user-defined types."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import pytest

from tsmodel.client.channel import Channel
from tsmodel.client.payload_type import (
    BytesPayloadType,
    PayloadType,
    StructPayloadType,
    TuplePayloadType,
    UnitPayloadType,
)
from tsmodel.client.record import Key, Record
from tsmodel.client.response import ResponseStatus
from tsmodel.server import serve_in_thread


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    with serve_in_thread() as address:
        yield address


@pytest.mark.parametrize(
    ("payload_type", "value", "payload"),
    [
        (StructPayloadType[int]("<h"), -2, b"\xfe\xff"),
        (StructPayloadType[int](">q"), 5, bytes(7) + b"\5"),
        (StructPayloadType[float]("<d"), 0.5, bytes(6) + b"\xe0\x3f"),
        (TuplePayloadType("<hb"), (1, 2), b"\1\0\2"),
        (TuplePayloadType("<"), (), b""),
        (UnitPayloadType(), (), b""),
        (BytesPayloadType(), b"abc", b"abc"),
    ],
)
def test_values_and_their_bytes(payload_type: PayloadType[Any], value: object, payload: bytes) -> None:
    assert payload_type.to_bytes(value) == payload
    assert payload_type.from_bytes(payload) == value
    assert payload_type.from_bytes(memoryview(payload)) == value  # type: ignore[arg-type]


def test_singles_are_rounded_to_single_precision() -> None:
    value = StructPayloadType[float]("<f").from_bytes(struct.pack("<f", 3.14))
    assert value == pytest.approx(3.14, rel=1e-6)
    assert value != 3.14


@pytest.mark.parametrize("payload", [b"", bytes(3), bytes(5)])
def test_wrong_number_of_bytes(payload: bytes) -> None:
    assert StructPayloadType[int]("<i").from_bytes(payload) is None
    assert TuplePayloadType("<hh").from_bytes(payload) is None


def test_no_payload_accepts_any_value_and_bytes() -> None:
    unit = UnitPayloadType()
    assert unit.to_bytes(17) == b""
    assert unit.from_bytes(b"some") == ()


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_all_bytes_like_values_become_bytes(kind: Any) -> None:
    assert type(BytesPayloadType().to_bytes(kind(b"x"))) is bytes
    assert type(BytesPayloadType().from_bytes(kind(b"x"))) is bytes


def test_several_values_are_refused_for_one() -> None:
    with pytest.raises(ValueError, match="2 values.*TuplePayloadType"):
        StructPayloadType[int]("<ii")
    assert not isinstance(StructPayloadType[int]("<i"), TuplePayloadType)


class Busy(PayloadType[str]):
    """A user's type whose attribute names collide with those of our payload types."""

    def to_bytes(self, value: str) -> bytes:
        return self.encode(value)

    def from_bytes(self, buffer: bytes) -> str | None:
        return self.read(buffer)

    def encode(self, value: str) -> bytes:
        return value.encode()

    def read(self, buffer: bytes) -> str | None:
        return None if buffer == b"bad" else bytes(buffer).decode()

    def batches(self) -> None:
        raise AssertionError

    collector = kept = batches


class Duck:
    """A payload type without a base class."""

    def to_bytes(self, value: str) -> bytes:
        return value.encode()

    def from_bytes(self, buffer: bytes) -> str | None:
        return None if buffer == b"bad" else bytes(buffer).decode()


@pytest.mark.parametrize("payload_type", [Busy(), Duck()])
def test_user_defined_payload_types(address: tuple[str, int], payload_type: Any) -> None:
    batches: list[list[Record[str]]] = []
    with Channel(*address, payload_type, timeout=20) as channel:
        assert channel.put([Record(Key(1, 1, 1, cap), f"record {cap}") for cap in range(5)])
        assert [each.value for each in channel.get(Key.min(), Key.max()).data] == [f"record {cap}" for cap in range(5)]
        assert channel.get_stream(Key.min(), Key.max(), batches.append)
        assert [each.value for each in batches[0]] == [f"record {cap}" for cap in range(5)]
        assert channel.put([Record(Key(1, 1, 1, 9), "bad")])
        got = channel.get(Key.min(), Key.max())
    assert got.status is ResponseStatus.UNPARSEABLE_ENTITY
    assert type(payload_type).__name__ in str(got.error)
    assert len(got.data) == 5
