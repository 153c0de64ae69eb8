"""Payload types convert between the values of a channel and the bytes of a payload.

Rules kept here:

* A `struct` format without a byte-order mark keeps its native meaning, alignment included, as in the official client.
  A packed NumPy dtype of the same fields has another size wherever alignment pads.
* Only `to_bytes` and `from_bytes` of a user's payload type are called, so it may name its other methods as it likes. The
  types of this package, `ChunkPayloadType`, read records of one size a chunk at a time.
* The caller's arrays and dicts are read and never changed.
* A record whose payload does not have the dtype's size is an error that names its key.
* A value that cannot be stored is found before the first byte is sent.
* NumPy columns become records block by block, as they are sent: a block stays in the cache from the columns to the socket.
  They are sorted by cid once, however many cids there are.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import repeat, starmap
from operator import itemgetter
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from tsmodel.backend import Batch
from tsmodel.client.record import Key, Record
from tsmodel.errors import DecodeError, EncodeError
from tsmodel.keys import KEY_FIELDS, LIMITS
from tsmodel.layout.fixed_rows import batches_by_cid
from tsmodel.layout.row_codecs import SIZE_FIELD
from tsmodel.wire.chunk import Chunk, keys_of
from tsmodel.wire.reader import Held
from tsmodel.wire.records import GET_FORM, MAX_PAYLOAD, PUT_FORM, PUTA_FORM, RecordForm, bytes_of
from tsmodel.wire.sorting import order_of

__all__ = [
    "BytesPayloadType",
    "ChunkPayloadType",
    "Encoded",
    "NumpyPayloadType",
    "PayloadType",
    "StructPayloadType",
    "TuplePayloadType",
    "UnitPayloadType",
    "adapted",
    "key_objects",
]

T = TypeVar("T")

Array: TypeAlias = npt.NDArray[Any]
Columns: TypeAlias = Mapping[str, Array]

_SIZE: Final = struct.Struct("<i")
_KEY: Final = struct.Struct("<iqiqq")
_HEADER: Final = GET_FORM.header.itemsize

_BLOCK: Final = 2**14
"""Records that are checked, and made, at a time."""


class Encoded(msgspec.Struct, frozen=True, eq=False):
    """A put that is ready to be sent.

    Attributes:
        batches: the records, in order within each cid; can be iterated more than once.
        count: number of records.
        skipped: number of invalid records that were left out.
    """

    batches: Iterable[Batch]
    count: int
    skipped: int


class Collector:
    """Joins the batches of an answer."""

    def __init__(self) -> None:
        self._all: list[Any] = []

    def add(self, batch: list[Any]) -> None:
        """Adds a batch, which need not stay valid.

        Raises:
            MemoryError: if there is no memory for it. Earlier batches are kept.
        """
        self._all += batch

    def result(self) -> list[Any]:
        """All batches as one."""
        return self._all


class PayloadType(ABC, Generic[T]):
    """Interface of serializers. Subclass it for your own type."""

    @abstractmethod
    def to_bytes(self, value: T) -> bytes:
        """The payload for a value."""

    @abstractmethod
    def from_bytes(self, buffer: bytes) -> T | None:
        """The value of a payload, or None if it is not a payload of this type."""


class ChunkPayloadType(PayloadType[T]):
    """A payload type that reads a chunk and encodes a put as a whole. Channels work with these."""

    def read(self, chunk: Chunk) -> Iterator[Record[T]]:
        """Yields the records of a chunk.

        Raises:
            DecodeError: at the first payload that is not of this type, with its key, after the records before it.
        """
        for key, payload in chunk.pairs():
            yield Record(key, self._value(key, payload))

    def batches(self, chunk: Chunk) -> Iterator[list[Any]]:
        """Yields the records of a chunk in batches, none of them empty. They are valid as long as the chunk is.

        Raises:
            DecodeError: as `read`, after a batch of the records before.
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
        """Joins batches to the data of a `get` response."""
        return Collector()

    def kept(self, batch: list[Any]) -> list[Any]:
        """The batch, or a copy that does not depend on its chunk."""
        return batch

    def encode(self, data: Iterable[Any], *, with_acq: bool, skip_invalid: bool = False) -> Encoded:
        """Encodes the argument of `put`.

        Raises:
            EncodeError: for the first record whose key or value cannot be stored, with its number, unless such records are
                skipped.
        """
        form = PUTA_FORM if with_acq else PUT_FORM
        pieces: dict[int, list[bytes]] = {}
        skipped = number = 0
        for number, record in enumerate(data, 1):
            try:
                piece = self._encoded(record, form)
            except Exception as error:
                if skip_invalid:
                    skipped += 1
                    continue
                raise EncodeError(f"record {number - 1}, {record!r}: {error}", record=number - 1, value=record) from error
            pieces.setdefault(record.key.cid, []).append(piece)
        return Encoded([_batch(cid, each) for cid, each in pieces.items()], number - skipped, skipped)

    def _encoded(self, record: Record[T], form: RecordForm) -> bytes:
        key = record.key
        for name in ("cid", *form.key_fields):
            value, limits = getattr(key, name), LIMITS[name]
            if not limits.least <= value < limits.bound:
                raise ValueError(f"{name} is {value}; it must be {limits.least} to {limits.bound - 1}")
        payload = self.to_bytes(record.value)
        if len(payload) > MAX_PAYLOAD:
            raise ValueError(f"the payload has {len(payload)} bytes; at most {MAX_PAYLOAD} can be stored")
        header = key.to_bytes(with_cid=False, with_acq=form is PUTA_FORM)
        return b"".join((_SIZE.pack(form.least + len(payload)), header, payload))

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
    """A payload type of which only `to_bytes` and `from_bytes` are used."""

    def __init__(self, payload_type: PayloadType[T]) -> None:
        self._adapted = payload_type

    def to_bytes(self, value: T) -> bytes:
        return self._adapted.to_bytes(value)

    def from_bytes(self, buffer: bytes) -> T | None:
        return self._adapted.from_bytes(buffer)

    def _name(self) -> str:
        return type(self._adapted).__name__


def adapted(payload_type: PayloadType[T]) -> ChunkPayloadType[T]:
    """The payload type itself, or an adapter for a user's type."""
    return payload_type if isinstance(payload_type, ChunkPayloadType) else _Adapted(payload_type)


class _Formatted(ChunkPayloadType[T]):
    """Payloads of a `struct` format."""

    def __init__(self, format: str) -> None:  # noqa: A002 - the official client's name
        self._struct = struct.Struct(format)

    def read(self, chunk: Chunk) -> Iterator[Record[T]]:
        """See `ChunkPayloadType.read`. Records of the format's size are read all at once."""
        size = self._struct.size
        if chunk.record_size != _HEADER + size:
            return super().read(chunk)
        payloads = chunk.column(0, np.dtype(f"V{size}")).tobytes() if size else b""
        tuples = self._struct.iter_unpack(payloads) if size else repeat((), len(chunk))
        return map(Record, key_objects(chunk.keys()), self._values(tuples))

    def _values(self, tuples: Iterable[tuple[Any, ...]]) -> Iterable[Any]:
        return tuples


class TuplePayloadType(_Formatted[tuple[Any, ...]]):
    """A tuple of values, in a `struct` format such as `"<if?"`. Without `<` or `>` the format is native and may pad."""

    def to_bytes(self, value: tuple[Any, ...]) -> bytes:
        """The payload for a tuple.

        Raises:
            struct.error: if a value does not fit the format.
        """
        return self._struct.pack(*value)

    def from_bytes(self, buffer: bytes) -> tuple[Any, ...] | None:
        """The tuple, or None if the payload has another size."""
        return self._struct.unpack(buffer) if len(buffer) == self._struct.size else None


class StructPayloadType(_Formatted[T]):
    """A single value, in a `struct` format: `StructPayloadType[float]("<d")`. Without `<` or `>` the format is native."""

    def __init__(self, format: str) -> None:  # noqa: A002 - the official client's name
        super().__init__(format)
        values = len(self._struct.unpack(bytes(self._struct.size)))
        if values != 1:
            raise ValueError(f"{format!r} holds {values} values; a StructPayloadType takes one: use TuplePayloadType")

    def to_bytes(self, value: T) -> bytes:
        """The payload for a value.

        Raises:
            struct.error: if the value does not fit the format.
        """
        return self._struct.pack(value)

    def from_bytes(self, buffer: bytes) -> T | None:
        """The value, or None if the payload has another size."""
        if len(buffer) != self._struct.size:
            return None
        value: T
        (value,) = self._struct.unpack(buffer)
        return value

    def _values(self, tuples: Iterable[tuple[Any, ...]]) -> Iterable[Any]:
        return map(itemgetter(0), tuples)


class BytesPayloadType(ChunkPayloadType[bytes]):
    """The bytes of the payload."""

    def to_bytes(self, value: bytes | bytearray | memoryview) -> bytes:
        """The same bytes."""
        return bytes(value)

    def from_bytes(self, buffer: bytes) -> bytes:
        """The same bytes."""
        return bytes(buffer)


class UnitPayloadType(ChunkPayloadType[tuple[()]]):
    """No payload. The value is always the empty tuple, whatever a payload contains."""

    def to_bytes(self, value: object) -> bytes:  # noqa: ARG002
        """No bytes."""
        return b""

    def from_bytes(self, buffer: bytes) -> tuple[()]:  # noqa: ARG002
        """The empty tuple."""
        return ()


def _batch(cid: int, pieces: list[bytes]) -> Batch:
    sizes = set(map(len, pieces))
    return Batch(cid, memoryview(b"".join(pieces)), len(pieces), sizes.pop() if len(sizes) == 1 else 0)


def key_objects(records: Any) -> Iterator[Key]:
    """The keys of records that can be indexed by the name of a key component."""
    return starmap(Key, _KEY.iter_unpack(keys_of(records).tobytes()))


class ColumnBatches:
    """The valid rows of columns as batches, which are made anew by each iteration.

    Args:
        data: the argument of `put`; fields of an array may be copied several at a time.
        columns: cid, the other key fields and the payload fields, all of one length.
        target: dtype of a whole record on the wire.
        checked: the result of checking the rows.
    """

    def __init__(self, data: object, columns: Columns, target: np.dtype[Any], checked: Checked) -> None:
        cids, rows = columns["cid"], None if checked.valid is None else np.flatnonzero(checked.valid)
        self.count = len(cids) if rows is None else len(rows)
        if checked.cid is None:
            order = order_of([cids if rows is None else cids[rows]])
            if order is not None:
                rows = order if rows is None else rows[order]
        self._cid, self._cids, self._rows = checked.cid, cids, rows
        self._dtype = target
        self._pieces = {name: columns[name] for name in (target.names or ())[1:]}
        if isinstance(data, np.ndarray) and (spans := _spans(data.dtype, target)) is not None:
            self._dtype, self._pieces = _by_span(data, target, spans)

    def __iter__(self) -> Iterator[Batch]:
        size = self._dtype.itemsize
        # A block with size fields and zeros in gaps. Copying it is faster than writing them for each block.
        empty = np.zeros(min(_BLOCK, self.count), self._dtype)
        empty[SIZE_FIELD] = size - 4
        template = empty.view(np.uint8)
        for start in range(0, self.count, _BLOCK):
            stop = min(start + _BLOCK, self.count)
            rows: Any = slice(start, stop) if self._rows is None else self._rows[start:stop]
            records: Array = template[: (stop - start) * size].copy().view(self._dtype)
            for name, source in self._pieces.items():
                records[name] = source[rows]
            if self._cid is None:
                yield from batches_by_cid(self._cids[rows], records)
            else:
                yield Batch(self._cid, bytes_of(records), len(records), size)


def _spans(source: np.dtype[Any], target: np.dtype[Any]) -> list[tuple[int, int, int]] | None:
    """The spans to copy as source offset, target offset and length; None if a field must be converted."""
    spans: list[tuple[int, int, int]] = []
    for name in (target.names or ())[1:]:
        (kind, start), (wanted, place) = source.fields[name][:2], target.fields[name][:2]  # type: ignore[index]
        if kind != wanted:
            return None
        if spans and (start, place) == (spans[-1][0] + spans[-1][2], spans[-1][1] + spans[-1][2]):
            spans[-1] = (*spans[-1][:2], spans[-1][2] + kind.itemsize)
        else:
            spans.append((start, place, kind.itemsize))
    return spans


def _by_span(
    source: Array, target: np.dtype[Any], spans: list[tuple[int, int, int]]
) -> tuple[np.dtype[Any], dict[str, Array]]:
    """A dtype with the target's size and a field for each span, and the source column for each field."""
    names = [f"span {at}" for at in range(len(spans))]
    formats = [f"V{size}" for _, _, size in spans]
    dtype = np.dtype(
        {
            "names": [SIZE_FIELD, *names],
            "formats": [target[SIZE_FIELD], *formats],
            "offsets": [0, *(place for _, place, _ in spans)],
            "itemsize": target.itemsize,
        }
    )
    offsets = [start for start, _, _ in spans]
    given = np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": source.dtype.itemsize})
    records = np.asarray(source).view(given)
    return dtype, {name: records[name] for name in names}


class Checked(NamedTuple):
    """The result of checking rows.

    Attributes:
        valid: mask of the rows that can be stored, shape (n,); None for all.
        cid: the cid, if all rows have the same one; otherwise None.
    """

    valid: npt.NDArray[np.bool_] | None
    cid: int | None


def checked_rows(columns: Columns, payload: np.dtype[Any], *, skip_invalid: bool) -> Checked:
    """Checks all rows, before anything is sent.

    Raises:
        EncodeError: for the first row that cannot be stored, unless such rows are skipped.
    """
    cids = columns["cid"]
    count = len(cids)
    valid = None
    kinds = {name: np.dtype(LIMITS[name].dtype) if name in LIMITS else payload[name] for name in columns}
    doubtful = [name for name, column in columns.items() if _is_doubtful(name, column.dtype, kinds[name])]
    cid = int(cids[0]) if count else None
    for start in range(0, count, _BLOCK):
        if cid is not None and (cids[start : start + _BLOCK] != cid).any():
            cid = None
        for name in doubtful:
            if name == "cid" and cid is not None and LIMITS["cid"].least <= cid < LIMITS["cid"].bound:
                continue
            kind, block = kinds[name], columns[name][start : start + _BLOCK]
            refused = _refused(name, block, kind)
            if refused is None or not refused.any():
                continue
            if not skip_invalid:
                at = int(refused.argmax())
                raise _error(name, block[at], start + at, kind)
            valid = np.ones(count, np.bool_) if valid is None else valid
            valid[start : start + _BLOCK] &= ~refused
    return Checked(valid, cid)


def columns_of(data: Array | Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Array]:
    """The named columns, all of one length.

    Raises:
        EncodeError: if a column is missing or has another length.
    """
    known = set(data) if isinstance(data, Mapping) else set(data.dtype.names or ())
    if missing := [name for name in names if name not in known]:
        raise EncodeError(f"missing columns: {', '.join(missing)}; required are {', '.join(names)}", field=missing[0])
    columns = {name: np.asarray(data[name]) for name in names}
    lengths = {name: len(column) for name, column in columns.items() if column.ndim}
    count = max(lengths.values(), default=1)
    for name, length in lengths.items():
        if length != count:
            raise EncodeError(f"column {name} has {length} values, others have {count}", field=name)
    return {name: column if column.ndim else np.broadcast_to(column, count) for name, column in columns.items()}


def _is_doubtful(name: str, given: np.dtype[Any], kind: np.dtype[Any]) -> bool:
    """Whether a field of dtype `kind` cannot hold all values of the given dtype.

    Raises:
        EncodeError: if it cannot hold values of that dtype at all.
    """
    kind = kind.subdtype[0] if kind.subdtype is not None else kind
    if given.kind in "iu" and kind.kind in "iu":
        (least, greatest), (low, high) = _storable(name, kind), _range(given)
        return low < least or high > greatest
    if not np.can_cast(given, kind, "same_kind"):
        raise EncodeError(f"column {name} holds {given}, which cannot become {kind}; convert it first", field=name)
    return given.kind == "f" and kind.itemsize < given.itemsize


def _refused(name: str, column: Array, kind: np.dtype[Any]) -> npt.NDArray[np.bool_] | None:
    """A mask of the rows of a doubtful column that the field cannot hold; None if it can hold all."""
    kind = kind.subdtype[0] if kind.subdtype is not None else kind
    if column.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return _in_rows(np.isinf(column.astype(kind)) & ~np.isinf(column))
    (least, greatest), (low, high) = _storable(name, kind), _range(column.dtype)
    below, above = low < least and int(column.min()) < least, high > greatest and int(column.max()) > greatest
    if not (below or above):
        return None
    outside = np.zeros(column.shape, np.bool_)
    if below:
        outside |= column < column.dtype.type(least)
    if above:
        outside |= column > column.dtype.type(greatest)
    return _in_rows(outside)


def _storable(name: str, kind: np.dtype[Any]) -> tuple[int, int]:
    """Least and greatest value of an integer field."""
    return (LIMITS[name].least, LIMITS[name].bound - 1) if name in LIMITS else _range(kind)


def _in_rows(found: Any) -> npt.NDArray[np.bool_]:
    """Whether a row contains any true value, shape (n,)."""
    return np.asarray(np.reshape(found, (len(found), -1)).any(axis=1), np.bool_)


@cache
def _range(kind: np.dtype[Any]) -> tuple[int, int]:
    info = np.iinfo(kind)
    return int(info.min), int(info.max)


def _error(name: str, value: Any, record: int, kind: np.dtype[Any]) -> EncodeError:
    allowed = f"{kind}"
    if name in LIMITS:
        allowed = f"{LIMITS[name].least} to {LIMITS[name].bound - 1}"
    elif kind.kind in "iu":
        allowed = "{} to {}".format(*_range(kind))
    return EncodeError(f"record {record}: {name} is {value}; it must be {allowed}", record=record, field=name, value=value)


class NumpyPayloadType(ChunkPayloadType[Any]):
    """Payloads of one NumPy dtype. `get` returns structured arrays, `put` takes columns.

    Args:
        dtype: dtype of the payload: a structured dtype, a list of fields, a format such as `"i4,f8"` (fields f0, f1), or
            None for no fields. A plain dtype such as `np.int32` becomes one field, v0. Fields are packed without gaps.

    Attributes:
        dtype: structured dtype of the payload.
        parsing_dtype: dtype of a record in an answer: `_size`, cid, mid, moid, cap, acq, then the payload fields.
        record_dtype: `parsing_dtype` without `_size`.
        serializer_dtype_with_acq: dtype of a record of `puta`: `_size`, mid, moid, cap, acq, then the payload fields.
        serializer_dtype_no_acq: dtype of a record of `put`, which has no acq.

    `put` and `puta` take a structured array, a recarray, or a dict of columns with the fields cid, mid, moid, cap (for
    `puta` also acq) and the payload fields; other fields are ignored. In a dict, a single value applies to all records.
    The data of a `get` response is a list of one array, or an empty list without records.

    Raises:
        ValueError: if a field has the name of a key component, or the dtype holds Python objects or exceeds a payload.
    """

    def __init__(self, dtype: npt.DTypeLike | None) -> None:
        payload = np.dtype([] if dtype is None else dtype)
        if payload.names is None:
            payload = np.dtype([("v0", payload)])
        self.dtype = np.dtype(_fields(payload))
        taken = {SIZE_FIELD, *KEY_FIELDS} & set(self.dtype.names or ())
        if taken:
            raise ValueError(
                f"payload fields cannot be called {', '.join(sorted(taken))}: records have fields of that name"
            )
        if self.dtype.hasobject or self.dtype.itemsize > MAX_PAYLOAD:
            raise ValueError(f"{self.dtype} cannot be a payload, which holds plain values of at most {MAX_PAYLOAD} bytes")
        self.parsing_dtype = self._of(GET_FORM)
        self.record_dtype = np.dtype(_fields(self.parsing_dtype)[1:])
        self.serializer_dtype_with_acq = self._of(PUTA_FORM)
        self.serializer_dtype_no_acq = self._of(PUT_FORM)

    def to_bytes(self, value: Any) -> bytes:
        """The payload for one value: a tuple, or an element of a structured array.

        Raises:
            ValueError, TypeError, OverflowError: if the value does not fit.
        """
        return np.array(value, self.dtype).tobytes()

    def from_bytes(self, buffer: bytes) -> Any | None:
        """The payload as an element of a structured array, or None if it has another size."""
        return np.frombuffer(buffer, self.dtype)[0] if len(buffer) == self.dtype.itemsize else None

    def batches(self, chunk: Chunk) -> Iterator[list[Array]]:
        """Yields the records of a chunk as one array, a view.

        Raises:
            DecodeError: at the first payload of another size, after the records before it.
        """
        if chunk.record_size == self.parsing_dtype.itemsize:
            yield [np.frombuffer(chunk.rows(), self.parsing_dtype)]
            return
        first = int((chunk.sizes() != self.parsing_dtype.itemsize).argmax())
        if first:
            yield [np.frombuffer(chunk.take(slice(first)).rows(), self.parsing_dtype)]
        key, payload = next(chunk.take(slice(first, first + 1)).pairs())
        raise DecodeError(
            f"the payload of record {key} has {len(payload)} bytes; {self.dtype} takes {self.dtype.itemsize}",
            key=key,
            payload=payload,
        )

    def collector(self) -> Collector:
        """Joins arrays."""
        return _ArrayCollector(self.parsing_dtype)

    def kept(self, batch: list[Array]) -> list[Array]:
        """Copies the arrays."""
        return [array.copy() for array in batch]

    def encode(self, data: Any, *, with_acq: bool, skip_invalid: bool = False) -> Encoded:
        """Encodes columns; see the class. Also accepts a list of Record.

        Raises:
            EncodeError: for a column that is missing or has another length or kind, and for a value that its field cannot
                hold, with the number of the record.
        """
        if not isinstance(data, (np.ndarray, Mapping)):
            return super().encode(data, with_acq=with_acq, skip_invalid=skip_invalid)
        target = self.serializer_dtype_with_acq if with_acq else self.serializer_dtype_no_acq
        columns = columns_of(data, ("cid", *(target.names or ())[1:]))
        checked = checked_rows(columns, self.dtype, skip_invalid=skip_invalid)
        batches = ColumnBatches(data, columns, target, checked)
        return Encoded(batches, batches.count, len(columns["cid"]) - batches.count)

    def _of(self, form: RecordForm) -> np.dtype[Any]:
        """The dtype of a whole record in a form."""
        return np.dtype([(SIZE_FIELD, form.header["n"]), *_fields(form.header)[1:], *_fields(self.dtype)])


def _fields(dtype: np.dtype[Any]) -> list[tuple[str, np.dtype[Any]]]:
    return [(name, dtype[name]) for name in dtype.names or ()]


class _ArrayCollector(Collector):
    """Joins arrays, without a copy if they lie one after another in the receive buffer."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        super().__init__()
        self._dtype = dtype
        self._held = Held()

    def add(self, batch: list[Array]) -> None:
        for array in batch:
            if self._all or not self._held.take(array):
                self._all.append(array.copy())

    def result(self) -> list[Array]:
        held = self._held.result(self._dtype)
        whole = np.concatenate([held, *self._all]) if self._all else held
        return [whole] if len(whole) else []
