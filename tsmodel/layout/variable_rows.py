"""The row codec for payloads whose size depends on their values.

Rules kept here:

* Rows are read and written one by one.
* Columns are not: adding up columns of lengths gives the position of each field in each record.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import compress, starmap
from operator import add
from typing import Any, Final, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from tsmodel.errors import EncodeError
from tsmodel.keys import KEY_FIELDS, unpack_key
from tsmodel.layout.compiling import reader, writer
from tsmodel.layout.message_layout import MessageLayout
from tsmodel.layout.placing import Layout, LayoutField, Slot
from tsmodel.layout.row_codecs import Fit, Mismatch, RowCodec
from tsmodel.types.codec import MARKS
from tsmodel.types.field_faults import UNSUITABLE, FieldFault
from tsmodel.types.scalars import KEY_SCALARS
from tsmodel.wire.chunk import Batch, Chunk, RowChunk, gathered
from tsmodel.wire.records import GET_FORM, MAX_PAYLOAD, PUT_FORM, PUTA_FORM, RecordForm, bytes_of
from tsmodel.wire.sorting import run_starts

__all__ = ["SpanRecords", "VariableRecords", "VariableRowCodec", "has_spans", "spans_of"]


RowT = TypeVar("RowT")

_HEADER: Final = GET_FORM.header.itemsize
_KEY: Final = struct.Struct("<4xiqiqq")
_KEYS: Final = len(KEY_FIELDS)


class VariableRecords(msgspec.Struct, frozen=True, eq=False):
    """Records whose payloads are decoded. Indexed by a field's name, a slice or a mask, like a structured array.

    Attributes:
        headers: sizes and keys; structured array, shape (n,).
        raw: the bytes of the records, among others.
        starts: where each record begins; int64, shape (n,).
        ends: where each record ends; int64, shape (n,).
        values: the payload's values, for each record.
        names: names of those values.
    """

    headers: npt.NDArray[Any]
    raw: bytes
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    values: list[tuple[Any, ...]]
    names: tuple[str, ...]

    @property
    def payloads(self) -> list[bytes]:
        """The payload of each record."""
        raw = self.raw
        return [raw[a:b] for a, b in zip((self.starts + _HEADER).tolist(), self.ends.tolist(), strict=True)]

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, asked: Any) -> Any:
        """A key component's column, shape (n,); the values of a payload field as an array of objects, shape (n,); or a
        selection of the records, by a slice or a mask of shape (n,)."""
        if isinstance(asked, str):
            if asked in KEY_FIELDS:
                return self.headers[asked]
            at = self.names.index(asked)
            column = np.empty(len(self.values), object)
            column[:] = [values[at] for values in self.values]
            return column
        values = self.values[asked] if isinstance(asked, slice) else list(compress(self.values, asked.tolist()))
        return VariableRecords(self.headers[asked], self.raw, self.starts[asked], self.ends[asked], values, self.names)


class VariableRowCodec(RowCodec[RowT]):
    """See `RowCodec`."""

    def _prepare(self) -> None:
        layout = self.layout
        is_message = isinstance(layout, MessageLayout)
        self._read = _messages(layout) if is_message else reader(layout)
        self._writers = {} if is_message else {form.name: writer(layout, form) for form in (PUT_FORM, PUTA_FORM, GET_FORM)}
        self._has_spans = not is_message and has_spans(layout) and not (self.strict_read and self.constraints)
        self._checked = [(layout.names.index(name) + _KEYS, each) for name, each in self.constraints.items()]

    def _fit(self, chunk: Chunk) -> Fit:
        raw, starts, ends = _placed(chunk)
        try:
            values = self._read(raw, (starts + _HEADER).tolist(), ends.tolist())
        except UNSUITABLE:
            return self._sorted_out(raw, starts, ends)
        return Fit(VariableRecords(GET_FORM.headers(raw, starts), raw, starts, ends, values, self.layout.names))

    def fit_columns(self, chunk: Chunk) -> Fit:
        """See `RowCodec.fit_columns`; where all records fit they are `SpanRecords`."""
        if not self._has_spans:
            return self.fit(chunk)
        records = spans_of(self.layout, *_placed(chunk))
        return self.fit(chunk) if records is None else Fit(records)

    def rows(self, records: VariableRecords) -> Iterator[RowT]:
        keys = _KEY.iter_unpack(bytes_of(records.headers))
        return starmap(self.make, map(add, keys, records.values))

    def encode(self, rows: Sequence[RowT], *, with_acq: bool = False, first: int = 0) -> list[Batch]:
        if not rows:
            return []
        form = PUTA_FORM if with_acq else PUT_FORM
        tuples = list(self.tuples(rows))
        records = self._written(rows, tuples, form, first)
        cids = np.array([values[0] for values in tuples], "<i4")
        sizes = np.fromiter(map(len, records), np.int64, len(records))
        if int(sizes.max()) > form.most + 4:
            at = int(sizes.argmax())
            raise EncodeError(
                f"record {first + at}: its payload has {int(sizes[at]) - form.least - 4} bytes; the maximum is "
                f"{MAX_PAYLOAD}",
                record=first + at,
            )
        raw = b"".join(records)
        keys = form.headers(raw, np.cumsum(sizes) - sizes)
        self._check_keys(("cid",), {"cid": cids}, rows, first)
        self._check_keys(form.key_fields, keys, rows, first)
        if (cids == cids[0]).all():
            return [_batch(int(cids[0]), raw, sizes)]
        return list(_batches(cids, records, sizes))

    def chunk_of(self, rows: Sequence[RowT], keys: Any) -> Chunk:
        columns = zip(*(keys[name].tolist() for name in KEY_FIELDS), strict=True)
        tuples = [(*key, *values[_KEYS:]) for key, values in zip(columns, self.tuples(rows), strict=True)]
        records = self._written(rows, tuples, GET_FORM, 0)
        return RowChunk.of(records)

    def _written(self, rows: Sequence[RowT], tuples: list[tuple[Any, ...]], form: RecordForm, first: int) -> list[bytes]:
        """Encodes rows, given as tuples, as whole records."""
        try:
            for at, constraint in self._checked:
                for values in tuples:
                    if why := constraint.violation(values[at]):
                        raise ValueError(why)
            struct.pack(f"<{len(tuples)}i", *[values[0] for values in tuples])  # not every form carries the cid
            write = self._writers.get(form.name)
            try:
                if write is not None:
                    return write(tuples)
            except UNSUITABLE:
                pass  # the generated code rejects some valid values
            return self._written_slowly(tuples, form)
        except UNSUITABLE as error:
            self._explain(rows, first, error)

    def _written_slowly(self, tuples: list[tuple[Any, ...]], form: RecordForm) -> list[bytes]:
        key = [KEY_FIELDS.index(name) for name in form.key_fields]
        header = struct.Struct("<i" + "".join(KEY_SCALARS[name].code for name in form.key_fields)).pack
        payloads = (self.layout.write(values[_KEYS:]) for values in tuples)
        return [
            header(form.least + len(payload), *(values[at] for at in key)) + payload
            for values, payload in zip(tuples, payloads, strict=True)
        ]

    def values_of(self, payload: bytes) -> tuple[Any, ...]:
        try:
            (values,) = self._read(payload, (0,), (len(payload),))
            return values
        except UNSUITABLE:
            return super().values_of(payload)

    def payloads(self, records: VariableRecords) -> Iterable[bytes]:
        return records.payloads

    def _sorted_out(self, raw: bytes, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> Fit:
        values, sound, mismatches = [], np.ones(len(starts), np.bool_), []
        for at, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
            payload = raw[start + _HEADER : end]
            try:
                values.append(self.values_of(payload))
            except FieldFault as fault:
                sound[at] = False
                mismatches.append(Mismatch(unpack_key(raw[start + 4 : start + _HEADER]), payload, fault))
        starts, ends = starts[sound], ends[sound]
        records = VariableRecords(GET_FORM.headers(raw, starts), raw, starts, ends, values, self.layout.names)
        return Fit(records, tuple(mismatches))


def _placed(chunk: Chunk) -> tuple[bytes, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The bytes of a chunk, kept, and where each record begins and ends."""
    starts = chunk.offsets()
    return bytes(chunk.rows()), starts, np.append(starts[1:], chunk.nbytes)


def _messages(layout: Layout) -> Callable[[bytes, Iterable[int], Iterable[int]], list[tuple[Any, ...]]]:
    return lambda raw, starts, ends: [layout.read(raw[a:b]) for a, b in zip(starts, ends, strict=True)]


def _batches(cids: npt.NDArray[Any], records: list[bytes], sizes: npt.NDArray[np.int64]) -> Iterator[Batch]:
    """One batch per cid, in ascending order of cid; records keep their order."""
    order = np.argsort(cids, kind="stable")
    for part in np.split(order, run_starts([cids[order]])[1:]):
        yield _batch(int(cids[part[0]]), b"".join([records[at] for at in part.tolist()]), sizes[part])


def _batch(cid: int, raw: bytes, sizes: npt.NDArray[np.int64]) -> Batch:
    size = int(sizes[0])
    same = bool((sizes == size).all())
    return Batch(cid, memoryview(raw), len(sizes), size if same else 0, None if same else np.cumsum(sizes) - sizes)


Places = npt.NDArray[np.int64]

_HEADER_DTYPE = GET_FORM.header
_PLACED: dict[str, Any] = dict(_HEADER_DTYPE.fields or {})
_LONG = 24
"""Size from which it is faster to copy each content by itself than all of them byte by byte."""


def has_spans(layout: Layout) -> bool:
    """Whether payloads of a layout can be read as `SpanRecords`: only text, bytes and arrays have a variable size."""
    variable = [part for part in layout.parts if isinstance(part, LayoutField)]
    return bool(variable) and all(part.item.as_length is not None and part.item.as_length.has_spans for part in variable)


class SpanRecords(msgspec.Struct, frozen=True, eq=False):
    """Records with columns of the fields of fixed width, and the positions of the other fields. Indexed by the name of a
    key component or a slot, by a slice or a mask, like a structured array.

    Attributes:
        fixed: key components and slots; structured array, shape (n,).
        raw: the bytes that contain the other fields.
        spans: where each field of variable length begins and ends in each record, by name; shape (n,) each.
    """

    fixed: npt.NDArray[Any]
    raw: bytes
    spans: dict[str, tuple[Places, Places]]

    def __len__(self) -> int:
        return len(self.fixed)

    def __getitem__(self, asked: Any) -> Any:
        """A column, shape (n,), or a selection of the records."""
        if isinstance(asked, str):
            return self.fixed[asked]
        spans = {name: (starts[asked], stops[asked]) for name, (starts, stops) in self.spans.items()}
        return SpanRecords(self.fixed[asked], self.raw, spans)

    def contents(self, field: LayoutField) -> tuple[Places, npt.NDArray[np.uint8]]:
        """The concatenated contents of a field of variable length, without lengths.

        Returns:
            Where each content begins, and where the last one ends, shape (n + 1,); and the bytes.
        """
        starts, stops = self.spans[field.name]
        return _contents(self.raw, starts, stops)

    def objects(self, field: LayoutField) -> list[Any]:
        """The values of a field of variable length; None if absent."""
        starts, stops = self.spans[field.name]
        item = field.item.as_length
        assert item is not None
        pieces = map(self.raw.__getitem__, map(slice, starts.tolist(), stops.tolist()))
        values = item.contents(pieces)
        if field.bit is None:
            return values
        return [value if there else None for value, there in zip(values, field.present(self.fixed).tolist(), strict=True)]


def spans_of(layout: Layout, raw: bytes, starts: Places, ends: Places) -> SpanRecords | None:
    """Reads records as columns; None if any of them does not match the layout.

    Args:
        layout: one that `has_spans`.
        raw: whole records in GET form.
        starts: where each begins, shape (n,).
        ends: where each ends.
    """
    keys = [(name, _PLACED[name][0]) for name in KEY_FIELDS]
    fixed = np.empty(len(starts), [*keys, *((slot.name, slot.dtype) for slot in layout.slots)])
    at = starts + _HEADER_DTYPE.itemsize + layout.leading
    if (at > ends).any() or (
        layout.version is not None and (gathered(raw, at - 1, np.dtype("u1")) != layout.version).any()
    ):
        return None
    for name in KEY_FIELDS:
        kind, offset = _PLACED[name][:2]
        fixed[name] = gathered(raw, starts + offset, kind)
    spans = {}
    for part in layout.parts:
        if isinstance(part, Slot):
            stop = at + part.gap + part.dtype.itemsize
            if (stop > ends).any():
                return None
            fixed[part.name] = gathered(raw, at + part.gap, part.dtype)
        else:
            present = None if part.bit is None else part.present(fixed)
            span = _span(part.item.as_length, present, raw, at, ends)
            if span is None:
                return None
            spans[part.name] = span
            stop = span[1]
        at = stop
    if (at + layout.tail != ends).any():
        return None
    faulty = layout.faulty(fixed)
    if faulty is not None and faulty.any():
        return None
    records = SpanRecords(fixed, raw, spans)
    for field in layout.fields:
        if field.name in spans:
            assert field.item.as_length is not None
            if not field.item.as_length.are_sound(*records.contents(field)):
                return None
    return records


def _span(
    item: Any, present: npt.NDArray[np.bool_] | None, raw: bytes, at: Places, ends: Places
) -> tuple[Places, Places] | None:
    """Where the contents of a field begin and end; absent ones take no bytes. None if one exceeds its record."""
    if item.prefix is None:
        starts, stops = at, ends
        if item.unit > 1 and ((stops - starts) % item.unit).any():
            return None
        return (starts, stops) if present is None else (starts, np.where(present, stops, starts))
    size = item.prefix.size
    starts = at + size
    if (starts > ends if present is None else present & (starts > ends)).any():
        return None
    kind = np.dtype(MARKS[item.byte_order] + item.prefix.numpy)
    if present is None:
        counts = gathered(raw, at, kind).astype(np.int64)
    else:
        starts = np.where(present, starts, at)
        counts = np.zeros(len(at), np.int64)
        counts[present] = gathered(raw, at[present], kind)
    stops = starts + counts * item.unit
    return None if (stops > ends).any() else (starts, stops)


def _contents(raw: bytes, starts: Places, stops: Places) -> tuple[Places, npt.NDArray[np.uint8]]:
    lengths = stops - starts
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    total = int(offsets[-1])
    if not total:
        return offsets, np.empty(0, np.uint8)
    if total >= _LONG * len(lengths):
        joined = b"".join(map(raw.__getitem__, starmap(slice, zip(starts.tolist(), stops.tolist(), strict=True))))
        return offsets, np.frombuffer(joined, np.uint8)
    if (lengths == lengths[0]).all():
        return offsets, gathered(raw, starts, np.dtype(f"V{lengths[0]}")).view(np.uint8)
    places = np.repeat(starts - offsets[:-1], lengths)
    places += np.arange(total)
    return offsets, np.frombuffer(raw, np.uint8)[places]
