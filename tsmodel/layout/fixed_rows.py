"""The row codec for payloads of fixed size.

Rules kept here:

* A chunk is read at once: NumPy checks it, then `struct` and the row class run in C. Rows are written in slices of 512,
  with one `struct` call each. Neither runs Python code per record, except for one comprehension if stored values differ
  from values.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise, starmap
from typing import Any, Final, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from tsmodel.keys import KEY_FIELDS, unpack_key
from tsmodel.layout.compiling import dumper, is_plain, loader
from tsmodel.layout.constraints import Bounds
from tsmodel.layout.placing import VERSION, Layout, placed_dtype
from tsmodel.layout.row_codecs import SIZE_FIELD, Fit, Mismatch, RowCodec, fit
from tsmodel.types.field_faults import UNSUITABLE, FieldFault
from tsmodel.types.scalars import KEY_SCALARS
from tsmodel.wire.chunk import Batch, Chunk, RowChunk
from tsmodel.wire.records import GET_FORM, PUT_FORM, PUTA_FORM, RecordForm, bytes_of
from tsmodel.wire.sorting import order_of, run_starts

__all__ = ["FixedRowCodec", "batches_by_cid"]


RowT = TypeVar("RowT")

_SLICE: Final = 512
"""Rows packed by one call: enough to make the call cheap, few enough to keep their values in the cache."""

_KEYS: Final = len(KEY_FIELDS)

_Dump: TypeAlias = Callable[[Iterable[tuple[Any, ...]]], Iterable[tuple[Any, ...]]]
_Holds: TypeAlias = Sequence[tuple[int, Callable[[Sequence[Any]], bool]]]


class FixedRowCodec(RowCodec[RowT]):
    """See `RowCodec`."""

    def _prepare(self) -> None:
        layout = self.layout
        slots = layout.slots
        plain = is_plain(layout)
        self._load = None if plain else loader(layout, _KEYS)
        self._dump = None if plain else dumper(layout, _KEYS)
        key_codes = "".join(scalar.code for scalar in KEY_SCALARS.values())
        self._codes = key_codes + layout.codes
        self._width = _KEYS + len(slots)
        self._strict_dump = dumper(layout, _KEYS, strict=True)
        self._holds = [(at, slot.codec.holds) for at, slot in enumerate(slots, _KEYS) if slot.codec and slot.codec.defers]
        self._floats = [slot.name for slot in slots if slot.codec and slot.codec.is_plain and slot.dtype.kind == "f"]
        self._unpack = struct.Struct(f"<4x{self._codes}")
        self._slice = struct.Struct("<" + self._codes * _SLICE)
        self._values_dtype = _joined(
            [(name, scalar.dtype()) for name, scalar in KEY_SCALARS.items()], _little(layout.stored)
        )
        self._swapped = None
        little = _dtype(GET_FORM, layout, stored=True, little=True)
        if little != _dtype(GET_FORM, layout, stored=True):
            self._swapped = little
        self.dtype = _dtype(GET_FORM, layout)
        at_slot = {slot.name: at for at, slot in enumerate(slots, _KEYS)}
        bounds = {
            field: self.constraints[field.name].bounds(field.codec)
            for field in layout.fields
            if field.name in self.constraints
        }
        self._bounds: list[tuple[int, Bounds]] = [(at_slot[field.slot], each) for field, each in bounds.items() if each]
        self._slow = [
            (layout.names.index(field.name) + _KEYS, self.constraints[field.name])
            for field, each in bounds.items()
            if not each
        ]

    def _fit(self, chunk: Chunk) -> Fit:
        found = fit(chunk, self.dtype)
        faulty = self.layout.faulty(found.records) if len(found.records) else None
        if faulty is None or not faulty.any():
            return found
        return Fit(found.records[~faulty], (*found.mismatches, *self._faults(_raw(np.asarray(found.records))[faulty])))

    def rows(self, records: Any) -> Iterator[RowT]:
        if self._swapped is not None:
            records = np.asarray(records).view(_dtype(GET_FORM, self.layout, stored=True)).astype(self._swapped)
        unpacked = self._unpack.iter_unpack(bytes_of(records))
        return starmap(self.make, unpacked) if self._load is None else iter(self._load(self.make, unpacked))

    def encode(self, rows: Sequence[RowT], *, with_acq: bool = False, first: int = 0) -> list[Batch]:
        if not rows:
            return []
        form = PUTA_FORM if with_acq else PUT_FORM
        values = self._values(rows, first)
        self._check_keys(("cid", *form.key_fields), values, rows, first)
        return batches_by_cid(values["cid"], self._records(form, values))

    def chunk_of(self, rows: Sequence[RowT], keys: Any) -> Chunk:
        records = self._records(GET_FORM, self._values(rows, 0))
        for name in KEY_FIELDS:
            records[name] = keys[name]
        return RowChunk(bytes_of(records), len(records), records.dtype.itemsize, lasting=True)

    def blank(self, form: RecordForm, count: int) -> npt.NDArray[Any]:
        """Records whose fields are still to be filled; structured array of stored values, shape (count,)."""
        dtype = _dtype(form, self.layout, stored=True)
        return self._marked(np.zeros(count, dtype) if "x" in self._codes else np.empty(count, dtype))

    def _marked(self, records: npt.NDArray[Any]) -> npt.NDArray[Any]:
        records[SIZE_FIELD] = records.dtype.itemsize - 4
        if self.layout.version is not None:
            records[VERSION] = self.layout.version
        return records

    def _records(self, form: RecordForm, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if self._swapped is not None:
            records = self.blank(form, len(values))
            for name in (records.dtype.names or ())[1:]:
                if name != VERSION:
                    records[name] = values[name]
            return records
        records = np.empty(len(values), _dtype(form, self.layout, stored=True))
        header, size = form.header.itemsize, self._values_dtype.itemsize
        key_at, payload_at = _offset(self._values_dtype, form.key_fields[0]), GET_FORM.header.itemsize - 4
        _block(records, 4, header - 4)[:] = _block(values, key_at, header - 4)
        _block(records, header, size - payload_at)[:] = _block(values, payload_at, size - payload_at)
        return self._marked(records)

    def payloads(self, records: Any) -> Iterable[bytes]:
        header = GET_FORM.header.itemsize
        return (raw.tobytes()[header:] for raw in _raw(np.asarray(records)))

    def _faults(self, records: npt.NDArray[np.void]) -> list[Mismatch]:
        """Explains records of the right size that have an invalid value."""
        mismatches = []
        header = GET_FORM.header.itemsize
        for raw in map(bytes, records):
            try:
                self.layout.read(raw[header:])
            except FieldFault as fault:
                mismatches.append(Mismatch(unpack_key(raw[4:header]), raw[header:], fault))
        assert len(mismatches) == len(records), "NumPy's check and the field's own disagree"
        return mismatches

    def _values(self, rows: Sequence[RowT], first: int) -> npt.NDArray[Any]:
        """Packs all fields of rows, key components first, into a little-endian structured array."""
        packed = np.empty(len(rows), self._values_dtype)
        raw = bytes_of(packed)
        for start in range(0, len(rows), _SLICE):
            part = rows[start : start + _SLICE]
            at = start * self._values_dtype.itemsize
            try:
                try:
                    self._pack(raw, at, part, self._dump, self._holds)
                except UNSUITABLE:  # the fast code rejects some valid values
                    self._pack(raw, at, part, self._strict_dump, [])
            except UNSUITABLE as error:
                self._explain(part, first + start, error)
        # `struct` packs a Decimal beyond the range of floats as infinity.
        infinite = {at for name in self._floats for at in np.flatnonzero(np.isinf(packed[name])).tolist()}
        try:
            self._strict_dump(self.tuples([rows[at] for at in infinite]))
        except UNSUITABLE as error:
            self._explain(rows, first, error)
        return packed

    def _pack(self, raw: memoryview, start: int, rows: Sequence[RowT], dump: _Dump | None, holds: _Holds) -> None:
        width = self._width
        tuples = self.tuples(rows)
        if self._slow:
            tuples = list(tuples)
            for at, constraint in self._slow:
                for each in tuples:
                    if why := constraint.violation(each[at]):
                        raise ValueError(why)
        # Flattens in C: chain.from_iterable takes as long per value as this does per row.
        values: list[Any] = []
        deque(map(values.extend, tuples if dump is None else dump(tuples)), maxlen=0)
        if not all(held(values[at::width]) for at, held in holds):
            raise ValueError("a field cannot hold its value")
        pack = self._slice if len(rows) == _SLICE else struct.Struct("<" + self._codes * len(rows))
        pack.pack_into(raw, start, *values)
        if not all(bounds.hold(values[at::width]) for at, bounds in self._bounds):
            raise ValueError("a value violates a constraint")


def _block(records: npt.NDArray[Any], offset: int, size: int) -> npt.NDArray[np.void]:
    """A view of the same bytes of each record, to copy adjacent fields at once."""
    block = placed_dtype(["block"], [np.dtype((np.void, size))], [offset], records.dtype.itemsize)
    return records.view(block)["block"]


def _raw(records: npt.NDArray[Any]) -> npt.NDArray[np.void]:
    """Views records as opaque bytes, because NumPy does not copy the padding between members."""
    return records.view(np.dtype((np.void, records.dtype.itemsize)))


def _dtype(form: RecordForm, layout: Layout, *, stored: bool = False, little: bool = False) -> np.dtype[Any]:
    """A whole record as a structured dtype: its size, the key fields of its form, the payload."""
    payload = layout.stored if stored else layout.dtype
    return _joined(
        [(SIZE_FIELD, np.dtype("<i4")), *((name, form.header[name]) for name in form.key_fields)],
        _little(payload) if little else payload,
    )


def _joined(leading: list[tuple[str, np.dtype[Any]]], payload: np.dtype[Any]) -> np.dtype[Any]:
    head = np.dtype(leading)
    names, fields = payload.names or (), payload.fields
    parts: list[tuple[str, np.dtype[Any], int]] = [(name, kind, _offset(head, name)) for name, kind in leading]
    parts += [(name, fields[name][0], head.itemsize + _offset(payload, name)) for name in names] if fields else []
    return placed_dtype(
        [name for name, _, _ in parts],
        [kind for _, kind, _ in parts],
        [offset for _, _, offset in parts],
        head.itemsize + payload.itemsize,
    )


def _offset(dtype: np.dtype[Any], name: str) -> int:
    assert dtype.fields is not None
    return dtype.fields[name][1]


def _little(payload: np.dtype[Any]) -> np.dtype[Any]:
    little: np.dtype[Any] = payload.newbyteorder("<")
    return little


def batches_by_cid(cids: npt.NDArray[Any], records: npt.NDArray[Any]) -> list[Batch]:
    """One batch for each cid, cids ascending; the records of each in their order. One sort, however many cids there are.

    Args:
        cids: cid of each record, shape (n,).
        records: structured array in PUT or PUTA form, shape (n,).
    """
    if not len(cids):
        return []
    order = order_of([cids])
    if order is not None:
        cids, records = cids[order], np.take(records, order)
    edges = [*run_starts([cids]).tolist(), len(cids)]
    return [_batch(int(cids[start]), records[start:end]) for start, end in pairwise(edges)]


def _batch(cid: int, records: npt.NDArray[Any]) -> Batch:
    return Batch(cid, bytes_of(records), len(records), records.dtype.itemsize, payload=_payload(records.dtype))


@lru_cache(maxsize=256)
def _payload(dtype: np.dtype[Any]) -> np.dtype[Any] | None:
    """The dtype of the payloads of records, whose fields follow those of the key or are one field; None for no payload."""
    fields = dict(dtype.fields or {})
    if "payload" in fields:
        payload: np.dtype[Any] = fields["payload"][0]
        return payload
    header = (PUTA_FORM if "acq" in fields else PUT_FORM).header.itemsize
    placed = [(name, kind, offset - header) for name, (kind, offset, *_) in fields.items() if offset >= header]
    if not placed:
        return None
    names, kinds, offsets = zip(*placed, strict=True)
    return placed_dtype(list(names), list(kinds), list(offsets), dtype.itemsize - header)
