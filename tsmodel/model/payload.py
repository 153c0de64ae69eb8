"""A model as the payload type of a channel."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from itertools import starmap
from operator import add, attrgetter
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec.structs import astuple

from tsmodel.client.payload_type import ChunkPayloadType, Encoded, key_objects
from tsmodel.client.record import Key, Record
from tsmodel.keys import KEY_FIELDS
from tsmodel.layout import RowCodec, VariableRecords, row_codec
from tsmodel.layout.row_codecs import Refusal
from tsmodel.types.field_faults import FieldFault
from tsmodel.wire.chunk import Chunk
from tsmodel.wire.records import bytes_of

if TYPE_CHECKING:
    from tsmodel.model.model import TSModel

__all__ = ["ModelPayloadType"]

M = TypeVar("M", bound="TSModel")

_HEAD: Final = struct.Struct("<4xiqiqq")
_UNSET_KEY: Final = (-1, -1, -1, -1, -1)


class ModelPayloadType(ChunkPayloadType[M]):
    """Serializes the payload fields of a model. `Reading.payload_type` returns one, for use with any channel."""

    def __init__(self, codec: RowCodec[M]) -> None:
        self._codec = codec

    def to_bytes(self, value: M) -> bytes:
        """Returns the payload bytes of `value`, without its key.

        Raises:
            EncodeError: if a field has the wrong type or is out of range.
        """
        return self._codec.payload_of(value)

    def from_bytes(self, buffer: bytes | memoryview) -> M | None:
        """Returns an object whose key is unset (all -1), or None if `buffer` does not match the model."""
        try:
            return self._codec.make(*_UNSET_KEY, *self._codec.values_of(bytes(buffer)))
        except FieldFault:
            return None

    def _value(self, key: Key, payload: bytes) -> M:
        try:
            row = self._codec.row_of(key, payload)
        except FieldFault as fault:
            raise self._unreadable(key, payload, f": {fault.why}" if isinstance(fault, Refusal) else "") from fault
        values: Any = row
        return self._codec.make(*_UNSET_KEY, *astuple(values)[len(KEY_FIELDS) :])

    def read(self, chunk: Chunk) -> Iterator[Record[M]]:
        """See `ChunkPayloadType.read`. Reads the whole chunk at once if all records match the model."""
        fit = self._codec.fit(chunk)
        if fit.mismatches:
            return super().read(chunk)  # one by one, to yield the records before the first mismatch
        if isinstance(fit.records, VariableRecords):
            keys: Iterator[Key] = starmap(Key, _HEAD.iter_unpack(bytes_of(fit.records.headers)))
            keyless: Any = msgspec.structs.replace(fit.records, headers=_unset(fit.records.headers))
        else:
            keys = key_objects(fit.records)
            keyless = _unset(np.asarray(fit.records))
        return map(Record, keys, self._codec.rows(keyless))

    def encode(self, data: Iterable[Record[M]], *, with_acq: bool, skip_invalid: bool = False) -> Encoded:
        """See `ChunkPayloadType.encode`. Uses the key of the record, not that of the object."""
        if skip_invalid:
            return super().encode(data, with_acq=with_acq, skip_invalid=True)
        records = list(data)
        batches = self._records_codec.encode(records, with_acq=with_acq)
        return Encoded(batches, len(records), 0)

    @property
    def _records_codec(self) -> RowCodec[Record[M]]:
        names = self._codec.layout.names

        def tuples(records: Iterable[Record[M]]) -> Iterator[tuple[Any, ...]]:
            records = list(records)
            keys = map(astuple, map(attrgetter("key"), records))
            values = map(attrgetter("value"), records)
            if len(names) > 1:
                return map(add, keys, map(attrgetter(*names), values))
            return ((*key, *(getattr(value, name) for name in names)) for key, value in zip(keys, values, strict=True))

        codec = row_codec(self._codec.layout, Record, self._codec.fixed, tuples, self._codec.constraints)
        codec.caps = self._codec.caps
        return codec


def _unset(records: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Copies records and unsets the keys."""
    records = records.copy()
    for name in KEY_FIELDS:
        records[name] = -1
    return records
