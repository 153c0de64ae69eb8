"""A model as the payload type of a channel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import repeat, starmap
from operator import add, attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec.structs import astuple

from tsmodel.client.encoding import Encoded
from tsmodel.client.payload_types import PayloadType, keys_of, payloads_of
from tsmodel.client.record import Record
from tsmodel.codec import RowCodec
from tsmodel.wire.records import GET_FORM

if TYPE_CHECKING:
    from tsmodel.model.base import TSModel

__all__ = ["ModelPayloadType"]

M = TypeVar("M", bound="TSModel")

_HEADER = GET_FORM.header.itemsize
_UNSET_KEY = (-1, -1, -1, -1, -1)


class ModelPayloadType(PayloadType[M]):
    """Serializes the payload fields of a model; `Reading.payload_type` is one, for any channel of the official shape."""

    def __init__(self, codec: RowCodec[M]) -> None:
        self._codec = codec
        self._keyless = partial(codec.make, *_UNSET_KEY)

    def to_bytes(self, value: M) -> bytes:
        """The payload fields of `value`; its key is not part of it.

        Raises:
            EncodeError: when a field has the wrong type or is out of range.
        """
        return self._codec.payload_of(value)

    def from_bytes(self, buffer: bytes | memoryview) -> M | None:
        """An object whose key is unset (all -1), or None when `buffer` does not have the layout's size."""
        payload = self._codec.payload
        if len(buffer) != payload.size:
            return None
        return self._codec.make(*_UNSET_KEY, *payload.unpack(buffer))

    def read(self, chunk: memoryview) -> Iterator[Record[M]]:
        """See `PayloadType.read`; records of the layout's size are read all at once."""
        found = GET_FORM.whole_records(chunk)
        payload = self._codec.payload
        if found.end != len(chunk) or found.record_size != _HEADER + payload.size:
            return super().read(chunk)
        payloads = payload.iter_unpack(payloads_of(chunk, payload.size)) if payload.size else repeat((), found.count)
        return map(Record, keys_of(chunk, payload.size), starmap(self._keyless, payloads))

    def encode(self, data: Iterable[Record[M]], *, with_acq: bool, skip_invalid: bool = False) -> Encoded:
        """See `PayloadType.encode`; the key is that of the record."""
        if skip_invalid:
            return super().encode(data, with_acq=with_acq, skip_invalid=True)
        records = list(data)
        batches = self._records_codec.encode(records, with_acq=with_acq)
        return Encoded(batches, len(records), 0)

    @property
    def _records_codec(self) -> RowCodec[Record[M]]:
        names = [field.name for field in self._codec.layout.fields]

        def tuples(records: Iterable[Record[M]]) -> Iterator[tuple[Any, ...]]:
            records = list(records)
            keys = map(astuple, map(attrgetter("key"), records))
            values = map(attrgetter("value"), records)
            if len(names) > 1:
                return map(add, keys, map(attrgetter(*names), values))
            return ((*key, *(getattr(value, name) for name in names)) for key, value in zip(keys, values, strict=True))

        return RowCodec(self._codec.layout, Record, self._codec.fixed, tuples)
