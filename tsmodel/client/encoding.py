"""Records of a channel as the batches of a put."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Protocol, TypeVar

import attrs

from tsmodel.backend import Batch
from tsmodel.client.record import Key, Record
from tsmodel.errors import EncodeError
from tsmodel.keys import KEY_FIELDS, LIMITS
from tsmodel.wire.records import MAX_PAYLOAD, PUT_FORM, PUTA_FORM

__all__ = ["Encoded", "encode_records"]

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
