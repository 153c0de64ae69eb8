"""Payload types: between a channel's values and the bytes of a payload.

Rules kept here:

* A `struct` format without a byte-order mark keeps its native meaning, alignment included, as in the official client.
  Note that a packed NumPy dtype of the same fields has another size wherever alignment pads.
* Of a user's payload type only `to_bytes` and `from_bytes` are called: it may give its own methods any other name. Those of
  this package are `ChunkPayloadType`s, which read records of one size a chunk at a time, without Python code for each.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from itertools import repeat, starmap
from operator import itemgetter
from typing import Any, Generic, Protocol, TypeVar

import attrs
import numpy as np

from tsmodel.backend import Batch
from tsmodel.client.record import Key, Record
from tsmodel.errors import DecodeError, EncodeError
from tsmodel.keys import KEY_FIELDS, LIMITS
from tsmodel.wire.chunk import Chunk, keys_of
from tsmodel.wire.records import GET_FORM, MAX_PAYLOAD, PUT_FORM, PUTA_FORM

__all__ = [
    "BytesPayloadType",
    "ChunkPayloadType",
    "Collector",
    "Encoded",
    "PayloadType",
    "StructPayloadType",
    "TuplePayloadType",
    "UnitPayloadType",
    "adapted",
    "encode_records",
    "key_objects",
]

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)

_SIZE = struct.Struct("<i")


class Serializer(Protocol[T_contra]):
    """What of a payload type writing needs."""

    def to_bytes(self, value: T_contra) -> bytes:
        """The payload for a value."""
        ...


@attrs.frozen
class Encoded:
    """A put that is ready to be sent.

    Attributes:
        batches: in an order that keeps that of the records of each cid; each iteration gives them all.
        count: how many records they hold.
        skipped: how many were left out as invalid.
    """

    batches: Iterable[Batch]
    count: int
    skipped: int


def encode_records(
    data: Iterable[Record[T]], payload_type: Serializer[T], *, with_acq: bool, skip_invalid: bool = False
) -> Encoded:
    """Serializes all records of a put.

    Raises:
        EncodeError: for the first record whose key cannot be stored or whose value cannot be serialized, with its number;
            not raised when such records are skipped.
    """
    pieces: dict[int, list[bytes]] = {}
    skipped = number = 0
    for number, record in enumerate(data, 1):
        try:
            piece = _encoded(record, payload_type, with_acq)
        except Exception as error:
            if skip_invalid:
                skipped += 1
                continue
            raise EncodeError(f"record {number - 1}, {record!r}: {error}", record=number - 1, value=record) from error
        pieces.setdefault(record.key.cid, []).append(piece)
    return Encoded([_batch(cid, each) for cid, each in pieces.items()], number - skipped, skipped)


def _encoded(record: Record[T], payload_type: Serializer[T], with_acq: bool) -> bytes:
    key = record.key
    _check(key, with_acq)
    payload = payload_type.to_bytes(record.value)
    if len(payload) > MAX_PAYLOAD:
        raise ValueError(f"the payload has {len(payload)} bytes; at most {MAX_PAYLOAD} can be stored")
    form = PUTA_FORM if with_acq else PUT_FORM
    return b"".join((_SIZE.pack(form.least + len(payload)), key.to_bytes(with_cid=False, with_acq=with_acq), payload))


def _check(key: Key, with_acq: bool) -> None:
    if key.is_storable(with_acq=with_acq):
        return
    for name in KEY_FIELDS if with_acq else KEY_FIELDS[:-1]:
        value, limits = getattr(key, name), LIMITS[name]
        if not limits.least <= value < limits.bound:
            raise ValueError(f"{name} is {value}; it must be {limits.least} to {limits.bound - 1}")


def _batch(cid: int, pieces: list[bytes]) -> Batch:
    sizes = set(map(len, pieces))
    return Batch(cid, memoryview(b"".join(pieces)), len(pieces), sizes.pop() if len(sizes) == 1 else 0)


_KEY = struct.Struct("<iqiqq")
_HEADER = GET_FORM.header.itemsize


class Collector(Protocol):
    """Makes one of several batches."""

    def add(self, batch: Any) -> None:
        """Takes a batch; it need not stay valid.

        Raises:
            MemoryError: when there is no room for it; those before it are kept.
        """
        ...

    def result(self) -> Any:
        """All of them."""
        ...


class ListCollector:
    """Collects lists."""

    def __init__(self) -> None:
        self._all: list[Any] = []

    def add(self, batch: list[Any]) -> None:
        """Takes a list."""
        self._all += batch

    def result(self) -> list[Any]:
        """All items."""
        return self._all


class PayloadType(ABC, Generic[T]):
    """Interface of serializers. Derive from it for a type of your own."""

    @abstractmethod
    def to_bytes(self, value: T) -> bytes:
        """The payload for a value."""

    @abstractmethod
    def from_bytes(self, buffer: bytes) -> T | None:
        """The value of a payload, or None when it is not a payload of this type."""


class ChunkPayloadType(PayloadType[T]):
    """What a channel works with: reads the records of a chunk, and encodes those of a put."""

    def read(self, chunk: Chunk) -> Iterator[Record[T]]:
        """The records of a chunk, one by one.

        Raises:
            DecodeError: at the first payload that is not of this type, with its key; the records before it were yielded.
        """
        for key, payload in chunk.pairs():
            yield Record(key, self._value(key, payload))

    def batches(self, chunk: Chunk) -> Iterator[list[Any]]:
        """The records of a chunk as a channel hands them on, valid as long as the chunk is; here one list, which stays.

        Raises:
            DecodeError: as `read`, after a batch of the records before. No batch is empty.
        """
        records: list[Record[T]] = []
        try:
            records.extend(self.read(chunk))
        except DecodeError:
            if records:
                yield records
            raise
        yield records

    def collector(self) -> Collector:
        """Makes one of several batches: what `get` answers."""
        return ListCollector()

    def kept(self, batch: list[Any]) -> list[Any]:
        """A batch that stays when its chunk does not."""
        return batch

    def encode(self, data: Iterable[Any], *, with_acq: bool, skip_invalid: bool = False) -> Encoded:
        """What `put` is given, as batches.

        Raises:
            EncodeError: for the first record that cannot be stored, with its number; not when such are skipped.
        """
        return encode_records(data, self, with_acq=with_acq, skip_invalid=skip_invalid)

    def _value(self, key: Key, payload: bytes) -> T:
        try:
            value = self.from_bytes(payload)
        except Exception as error:
            raise self._unreadable(key, payload, f": {error}") from error
        if value is None:
            raise self._unreadable(key, payload, "")
        return value

    def _unreadable(self, key: Key, payload: bytes, why: str) -> DecodeError:
        return DecodeError(
            f"the payload of record {key} ({len(payload)} bytes) cannot be read as {self._name()}{why}",
            key=key,
            payload=payload,
        )

    def _name(self) -> str:
        return type(self).__name__


class _Adapted(ChunkPayloadType[T]):
    """A payload type that has `to_bytes` and `from_bytes` only."""

    def __init__(self, payload_type: PayloadType[T]) -> None:
        self._adapted = payload_type

    def to_bytes(self, value: T) -> bytes:
        return self._adapted.to_bytes(value)

    def from_bytes(self, buffer: bytes) -> T | None:
        return self._adapted.from_bytes(buffer)

    def _name(self) -> str:
        return type(self._adapted).__name__


def adapted(payload_type: PayloadType[T]) -> ChunkPayloadType[T]:
    """A payload type, whoever wrote it, as what a channel works with."""
    return payload_type if isinstance(payload_type, ChunkPayloadType) else _Adapted(payload_type)


class _Formatted(ChunkPayloadType[T]):
    """Payloads of a `struct` format."""

    def __init__(self, format: str) -> None:  # noqa: A002 - the official client's name
        self._struct = struct.Struct(format)

    def read(self, chunk: Chunk) -> Iterator[Record[T]]:
        """See `ChunkPayloadType.read`; records of this format's size are read all at once."""
        size = self._struct.size
        if chunk.record_size != _HEADER + size:
            return super().read(chunk)
        payloads = chunk.column(0, np.dtype(f"V{size}")).tobytes() if size else b""
        tuples = self._struct.iter_unpack(payloads) if size else repeat((), len(chunk))
        return map(Record, key_objects(chunk.keys()), self._values(tuples))

    def _values(self, tuples: Iterable[tuple[Any, ...]]) -> Iterable[Any]:
        return tuples


class TuplePayloadType(_Formatted[tuple[Any, ...]]):
    """A tuple of values, by a `struct` format such as `"<if?"`. Without `<` or `>` the format is native, and may pad."""

    def to_bytes(self, value: tuple[Any, ...]) -> bytes:
        """The payload for a tuple.

        Raises:
            struct.error: when a value does not fit the format.
        """
        return self._struct.pack(*value)

    def from_bytes(self, buffer: bytes) -> tuple[Any, ...] | None:
        """The tuple, or None when the payload has another size."""
        return self._struct.unpack(buffer) if len(buffer) == self._struct.size else None


class StructPayloadType(_Formatted[T]):
    """One value, by a `struct` format: `StructPayloadType[float]("<d")`. Without `<` or `>` the format is native."""

    def __init__(self, format: str) -> None:  # noqa: A002 - the official client's name
        super().__init__(format)
        values = len(self._struct.unpack(bytes(self._struct.size)))
        if values != 1:
            raise ValueError(f"{format!r} holds {values} values; a StructPayloadType takes one: use TuplePayloadType")

    def to_bytes(self, value: T) -> bytes:
        """The payload for a value.

        Raises:
            struct.error: when the value does not fit the format.
        """
        return self._struct.pack(value)

    def from_bytes(self, buffer: bytes) -> T | None:
        """The value, or None when the payload has another size."""
        if len(buffer) != self._struct.size:
            return None
        value: T
        (value,) = self._struct.unpack(buffer)
        return value

    def _values(self, tuples: Iterable[tuple[Any, ...]]) -> Iterable[Any]:
        return map(itemgetter(0), tuples)


class BytesPayloadType(ChunkPayloadType[bytes]):
    """The payload's bytes as they are."""

    def to_bytes(self, value: bytes | bytearray | memoryview) -> bytes:
        """The same bytes."""
        return bytes(value)

    def from_bytes(self, buffer: bytes) -> bytes:
        """The same bytes."""
        return bytes(buffer)


class UnitPayloadType(ChunkPayloadType[tuple[()]]):
    """No payload: the key says everything. Its value is the empty tuple, whatever a payload holds."""

    def to_bytes(self, value: object) -> bytes:  # noqa: ARG002
        """No bytes."""
        return b""

    def from_bytes(self, buffer: bytes) -> tuple[()]:  # noqa: ARG002
        """The empty tuple."""
        return ()


def key_objects(records: Any) -> Iterator[Key]:
    """The keys of some records, which are indexed by the name of a component."""
    return starmap(Key, _KEY.iter_unpack(keys_of(records).tobytes()))
