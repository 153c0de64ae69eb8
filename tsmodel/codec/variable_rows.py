"""Rows of a payload whose size depends on its values: read and written one by one."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import compress, starmap
from operator import add
from typing import Any, Final, TypeVar

import attrs
import numpy as np
import numpy.typing as npt

from tsmodel.codec.compiling import reader, writer
from tsmodel.codec.constraints import Constraints
from tsmodel.codec.fitting import Fit, Mismatch
from tsmodel.codec.layout import Layout
from tsmodel.codec.messages import MessageLayout
from tsmodel.codec.rows import RowCodec
from tsmodel.codec.spans import has_spans, spans_of
from tsmodel.errors import EncodeError
from tsmodel.keys import KEY_FIELDS, unpack_key
from tsmodel.types.faults import UNSUITABLE, FieldFault
from tsmodel.types.scalars import KEY_SCALARS
from tsmodel.wire.chunk import Batch, Chunk, RowChunk
from tsmodel.wire.records import GET_FORM, MAX_PAYLOAD, PUT_FORM, PUTA_FORM, RecordForm, octets_of
from tsmodel.wire.sorting import run_starts

__all__ = ["VariableRecords", "VariableRowCodec"]

RowT = TypeVar("RowT")

_HEADER: Final = GET_FORM.header.itemsize
_KEY: Final = struct.Struct("<4xiqiqq")
_KEYS: Final = len(KEY_FIELDS)


@attrs.frozen(eq=False)
class VariableRecords:
    """Records whose payloads are read: indexed by a field's name, a slice or a mask, as a structured array is.

    Attributes:
        headers: sizes and keys; structured array, shape (n,).
        octets: the records, and perhaps others.
        starts: where each begins; int64, shape (n,).
        ends: where each ends; int64, shape (n,).
        values: the values of each one's payload.
        names: names of those values.
    """

    headers: npt.NDArray[Any]
    octets: bytes
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    values: list[tuple[Any, ...]]
    names: tuple[str, ...]

    @property
    def payloads(self) -> list[bytes]:
        """The payload of each."""
        octets = self.octets
        return [octets[a:b] for a, b in zip((self.starts + _HEADER).tolist(), self.ends.tolist(), strict=True)]

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, asked: Any) -> Any:
        """A key component's column, shape (n,); a payload field's values as an array of objects, shape (n,); or some of
        the records, by a slice or a mask of shape (n,)."""
        if isinstance(asked, str):
            if asked in KEY_FIELDS:
                return self.headers[asked]
            at = self.names.index(asked)
            column = np.empty(len(self.values), object)
            column[:] = [values[at] for values in self.values]
            return column
        values = self.values[asked] if isinstance(asked, slice) else list(compress(self.values, asked.tolist()))
        return VariableRecords(self.headers[asked], self.octets, self.starts[asked], self.ends[asked], values, self.names)


class VariableRowCodec(RowCodec[RowT]):
    """See `RowCodec`.

    Args:
        read: the values of a payload; whatever it raises for bytes that are none, `layout.read` explains.
        write: the payload of the values.
    """

    def __init__(
        self,
        layout: Layout,
        make: Callable[..., RowT],
        fixed: Mapping[str, int] | None = None,
        tuples: Callable[[Iterable[RowT]], Iterable[tuple[Any, ...]]] | None = None,
        constraints: Mapping[str, Constraints] | None = None,
        *,
        strict_read: bool = False,
    ) -> None:
        super().__init__(layout, make, fixed, tuples, constraints, strict_read=strict_read)
        is_message = isinstance(layout, MessageLayout)
        self._read = _messages(layout) if is_message else reader(layout)
        self._writers = {} if is_message else {form.name: writer(layout, form) for form in (PUT_FORM, PUTA_FORM, GET_FORM)}
        self._has_spans = not is_message and has_spans(layout) and not (self.strict_read and self.constraints)
        self._checked = [(layout.names.index(name) + _KEYS, each) for name, each in self.constraints.items()]

    def _fit(self, chunk: Chunk) -> Fit:
        octets, starts, ends = _placed(chunk)
        try:
            values = self._read(octets, (starts + _HEADER).tolist(), ends.tolist())
        except UNSUITABLE:
            return self._sorted_out(octets, starts, ends)
        return Fit(VariableRecords(GET_FORM.headers(octets, starts), octets, starts, ends, values, self.layout.names))

    def fit_columns(self, chunk: Chunk) -> Fit:
        """See `RowCodec.fit_columns`; where all records fit they are `SpanRecords`."""
        if not self._has_spans:
            return self.fit(chunk)
        records = spans_of(self.layout, *_placed(chunk))
        return self.fit(chunk) if records is None else Fit(records)

    def rows(self, records: VariableRecords) -> Iterator[RowT]:
        """See `RowCodec.rows`."""
        keys = _KEY.iter_unpack(octets_of(records.headers))
        return starmap(self.make, map(add, keys, records.values))

    def encode(self, rows: Sequence[RowT], *, with_acq: bool = False, first: int = 0) -> list[Batch]:
        """See `RowCodec.encode`."""
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
                f"record {first + at}: its payload has {int(sizes[at]) - form.least - 4} bytes; at most {MAX_PAYLOAD} can "
                "be stored",
                record=first + at,
            )
        octets = b"".join(records)
        keys = form.headers(octets, np.cumsum(sizes) - sizes)
        self._check_keys(("cid",), {"cid": cids}, rows, first)
        self._check_keys(form.key_fields, keys, rows, first)
        if (cids == cids[0]).all():
            return [_batch(int(cids[0]), octets, sizes)]
        return list(_batches(cids, records, sizes))

    def chunk_of(self, rows: Sequence[RowT], keys: Any) -> Chunk:
        """See `RowCodec.chunk_of`."""
        columns = zip(*(keys[name].tolist() for name in KEY_FIELDS), strict=True)
        tuples = [(*key, *values[_KEYS:]) for key, values in zip(columns, self.tuples(rows), strict=True)]
        records = self._written(rows, tuples, GET_FORM, 0)
        return RowChunk.of(records)

    def _written(self, rows: Sequence[RowT], tuples: list[tuple[Any, ...]], form: RecordForm, first: int) -> list[bytes]:
        """Whole records of rows, given as their values."""
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
                pass  # the fast way refuses some values that a field takes
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
        """See `RowCodec.values_of`."""
        try:
            (values,) = self._read(payload, (0,), (len(payload),))
            return values
        except UNSUITABLE:
            return super().values_of(payload)

    def payloads(self, records: VariableRecords) -> Iterable[bytes]:
        return records.payloads

    def _sorted_out(self, octets: bytes, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> Fit:
        values, sound, mismatches = [], np.ones(len(starts), np.bool_), []
        for at, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
            payload = octets[start + _HEADER : end]
            try:
                values.append(self.values_of(payload))
            except FieldFault as fault:
                sound[at] = False
                mismatches.append(Mismatch(unpack_key(octets[start + 4 : start + _HEADER]), payload, fault))
        starts, ends = starts[sound], ends[sound]
        records = VariableRecords(GET_FORM.headers(octets, starts), octets, starts, ends, values, self.layout.names)
        return Fit(records, tuple(mismatches))


def _placed(chunk: Chunk) -> tuple[bytes, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The rows of a chunk, as bytes that stay, and where each begins and ends."""
    starts = chunk.offsets()
    return bytes(chunk.rows()), starts, np.append(starts[1:], chunk.nbytes)


def _messages(layout: Layout) -> Callable[[bytes, Iterable[int], Iterable[int]], list[tuple[Any, ...]]]:
    return lambda octets, starts, ends: [layout.read(octets[a:b]) for a, b in zip(starts, ends, strict=True)]


def _batches(cids: npt.NDArray[Any], records: list[bytes], sizes: npt.NDArray[np.int64]) -> Iterator[Batch]:
    """One batch for each cid, cids ascending; the records of each in their order."""
    order = np.argsort(cids, kind="stable")
    for part in np.split(order, run_starts([cids[order]])[1:]):
        yield _batch(int(cids[part[0]]), b"".join([records[at] for at in part.tolist()]), sizes[part])


def _batch(cid: int, octets: bytes, sizes: npt.NDArray[np.int64]) -> Batch:
    size = int(sizes[0])
    same = bool((sizes == size).all())
    return Batch(cid, memoryview(octets), len(sizes), size if same else 0, None if same else np.cumsum(sizes) - sizes)
