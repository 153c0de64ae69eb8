"""Puts: segments of added records, their encoded form, and the result of reconciling them.

Rules kept here:

* A put contains records that were added one after another, all with their own acq or all without.
* Records added as columns are kept in encoded form; objects are made on demand.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, Final, overload

import msgspec
import numpy as np
import numpy.typing as npt

from tsmodel.backend import AcqInterval, Batch, PutId, PutInterval
from tsmodel.errors import EncodeError
from tsmodel.layout import RowCodec
from tsmodel.layout.column_input import Given, fill, rows_of, rows_of_columns
from tsmodel.layout.fixed_rows import FixedRowCodec, batches_by_cid
from tsmodel.model import TSModel
from tsmodel.model.model import codec_of
from tsmodel.session.receipt import Receipt
from tsmodel.timestamps import EPOCH_UNIX_NS, now_ns, to_iso, to_unix_ns
from tsmodel.wire.records import PUT_FORM, PUTA_FORM
from tsmodel.wire.stored import Copies, Unstored

__all__ = ["ColumnRows", "Found", "Put", "Segment", "encoded", "found_of", "made_of", "unit_hint"]

_UNITS: Final = (("seconds", 10**9), ("milliseconds", 10**6), ("microseconds", 10**3), ("nanoseconds", 1))
_RECENT: Final = 5 * 365 * 86_400 * 10**9
_AHEAD: Final = 86_400 * 10**9
_CAP: Final = struct.Struct("<q")
_CAP_AT: Final = PUT_FORM.header.fields["cap"][1]  # type: ignore[index]
_SLICE: Final = 65_536
"""Rows encoded at a time: few enough to stay in the CPU cache."""


class ColumnRows(Sequence[TSModel]):
    """Encoded records of one model with payloads of fixed size, as a sequence of objects.

    The records are a structured array, shape (n,), in PUT form, or in PUTA form `with_acq`. `cids` has the cid of each.
    """

    def __init__(self, model: type[TSModel], with_acq: bool, cids: npt.NDArray[Any], records: npt.NDArray[Any]) -> None:
        self.model = model
        self.with_acq = with_acq
        self._cids = [cids]
        self._records = [records]
        self._count = len(records)

    @property
    def cids(self) -> npt.NDArray[Any]:
        """The cid of each, shape (n,)."""
        self._cids = [_joined(self._cids)]
        return self._cids[0]

    @property
    def records(self) -> npt.NDArray[Any]:
        """The records; structured array, shape (n,)."""
        self._records = [_joined(self._records)]
        return self._records[0]

    @property
    def nbytes(self) -> int:
        """Size of the records in a put."""
        return self._count * self._records[0].dtype.itemsize

    @property
    def acqs(self) -> AcqInterval:
        """Least and greatest acq of records that carry theirs."""
        acqs = self.records["acq"]
        return AcqInterval(int(acqs.min()), int(acqs.max()))

    def batches(self) -> list[Batch]:
        """The records as one batch for each cid."""
        return batches_by_cid(self.cids, self.records)

    def goes_on_with(self, other: ColumnRows) -> bool:
        """Whether `other` can be joined to these."""
        return self.model is other.model and self.with_acq is other.with_acq

    def joined(self, other: ColumnRows) -> ColumnRows:
        """These followed by `other`; the records are joined once, when they are needed."""
        joined = ColumnRows(self.model, self.with_acq, self._cids[0], self._records[0])
        joined._cids = [*self._cids, *other._cids]
        joined._records = [*self._records, *other._records]
        joined._count = self._count + other._count
        return joined

    def chosen(self, places: Sequence[int]) -> ColumnRows:
        """The records at some positions."""
        return ColumnRows(self.model, self.with_acq, self.cids[places], self.records[places])

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[TSModel]:
        return rows_of(_fixed_codec(self.model), self.cids, self.records, with_acq=self.with_acq)

    @overload
    def __getitem__(self, at: int) -> TSModel: ...
    @overload
    def __getitem__(self, at: slice) -> ColumnRows: ...
    def __getitem__(self, at: int | slice) -> TSModel | ColumnRows:
        if isinstance(at, slice):
            return ColumnRows(self.model, self.with_acq, self.cids[at], self.records[at])
        place = range(self._count)[at]
        return next(iter(self[place : place + 1]))


def made_of(
    model: type[TSModel], columns: Mapping[str, Given], count: int, *, with_acq: bool, first: int = 0
) -> ColumnRows | list[TSModel]:
    """Makes records from columns of `count` rows, by storage name: encoded records if payloads have a fixed size, otherwise
    objects. `first` is the number of the first row, for errors.

    Raises:
        SessionError: when a column is missing.
        EncodeError: when a value cannot be stored, with the row's number and the field.
    """
    from tsmodel.frames.input import with_defaults

    codec = codec_of(model).writing
    if not isinstance(codec, FixedRowCodec):
        whole = with_defaults(model, columns, count, with_acq=with_acq)
        return rows_of_columns(codec, model.__name__, whole, count, with_acq=with_acq, first=first)
    cids, records = np.empty(count, np.int32), codec.blank(PUTA_FORM if with_acq else PUT_FORM, count)
    for start in range(0, max(count, 1), _SLICE):
        rows = slice(start, start + _SLICE)
        part = {name: given[rows] for name, given in columns.items()}
        whole = with_defaults(model, part, len(records[rows]), with_acq=with_acq)
        fill(codec, model.__name__, whole, cids[rows], records[rows], first=first + start)
    return ColumnRows(model, with_acq, cids, records)


def _fixed_codec(model: type[TSModel]) -> FixedRowCodec[TSModel]:
    codec = codec_of(model).writing
    assert isinstance(codec, FixedRowCodec)
    return codec


def _joined(parts: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    if len(parts) == 1:
        return parts[0]
    # As opaque bytes: NumPy joins structured arrays field by field.
    dtype = parts[0].dtype
    whole: npt.NDArray[Any] = np.concatenate([part.view(f"V{dtype.itemsize}") for part in parts]).view(dtype)
    return whole


class Segment(msgspec.Struct, eq=False):
    """The objects of one put, before they are encoded.

    Attributes:
        first: number of the first object, counted from the last receipt.
        keep_acq: whether they are stored with their own acq.
        unless_stored: whether objects that the database already holds are skipped.
        rows: the objects.
        returned: numbers of the objects, if they are not consecutive from `first` on.
        size: bytes of their records, as far as counted.
        models: their classes.
        shard: the store that keeps all of them, where the backend is over several; None for one that is not split yet.
    """

    first: int
    keep_acq: bool
    rows: list[TSModel] | ColumnRows = msgspec.field(default_factory=list)
    returned: list[int] | None = None
    size: float = 0.0
    models: set[type[TSModel]] = msgspec.field(default_factory=set)
    unless_stored: bool = False
    shard: int | None = None

    @property
    def numbers(self) -> Sequence[int]:
        """Number of each object."""
        return range(self.first, self.first + len(self.rows)) if self.returned is None else self.returned

    def goes_on_with(self, other: Segment, most: int) -> bool:
        """Whether `other` can be appended to this segment; columns are joined up to `most` records."""
        one, two = self.rows, other.rows
        if isinstance(one, ColumnRows) and isinstance(two, ColumnRows):
            fits = one.goes_on_with(two) and len(one) + len(two) <= most
        else:
            fits = not isinstance(one, ColumnRows) and not isinstance(two, ColumnRows)
        alike = (self.keep_acq, self.unless_stored, self.shard) == (other.keep_acq, other.unless_stored, other.shard)
        is_next = self.returned is None and other.returned is None and self.first + len(one) == other.first
        return fits and alike and is_next

    def copy(self) -> Segment:
        """Another segment with the same objects."""
        rows = self.rows if isinstance(self.rows, ColumnRows) else list(self.rows)
        return Segment(self.first, self.keep_acq, rows, self.returned, self.size, set(self.models), self.unless_stored)

    def take(self, other: Segment) -> None:
        """Appends `other`; see `goes_on_with`."""
        if isinstance(self.rows, ColumnRows):
            assert isinstance(other.rows, ColumnRows)
            self.rows = self.rows.joined(other.rows)
        else:
            self.rows += other.rows
        self.size += other.size
        self.models |= other.models

    def renumber(self, by: int) -> None:
        """Subtracts `by` from all numbers."""
        self.first -= by
        if self.returned is not None:
            self.returned = [number - by for number in self.returned]

    def part(self, keep: Sequence[bool]) -> Segment:
        """The objects for which `keep` is true."""
        chosen = [at for at, kept in enumerate(keep) if kept]
        numbers = self.numbers
        if isinstance(self.rows, ColumnRows):
            rows: list[TSModel] | ColumnRows = self.rows.chosen(chosen)
        else:
            rows = [self.rows[at] for at in chosen]
        models = {self.rows.model} if isinstance(self.rows, ColumnRows) else set(map(type, rows))
        returned = [numbers[at] for at in chosen]
        return Segment(self.first, self.keep_acq, rows, returned, 0.0, models, self.unless_stored, self.shard)


class Slice(msgspec.Struct, frozen=True, eq=False):
    """Adjacent objects of one model in a segment, encoded. The first one is at position `at` of its segment; `cids` has the
    cid of each, in the order of addition."""

    at: int
    model: type[TSModel]
    cids: Sequence[int]
    batches: list[Batch]

    @property
    def size(self) -> int:
        """Bytes of the records."""
        return sum(len(batch.records) for batch in self.batches)


class Put(msgspec.Struct, frozen=True, eq=False):
    """An encoded segment."""

    segment: Segment
    slices: list[Slice]

    @property
    def with_acq(self) -> bool:
        """Whether records carry their acq."""
        return self.segment.keep_acq

    @property
    def shard(self) -> int | None:
        """The store that keeps all of them, where the backend is over several."""
        return self.segment.shard

    @property
    def batches(self) -> list[Batch]:
        """All batches, in the order in which they are sent."""
        return [batch for part in self.slices for batch in part.batches]

    @property
    def size(self) -> int:
        """Bytes of all records."""
        return sum(part.size for part in self.slices)

    def of_shards(self, shard_of: Callable[[int], int]) -> list[Put]:
        """The same objects as a put for each store that keeps some of them."""
        cids = np.concatenate([np.asarray(part.cids, np.int64) for part in self.slices])
        known, place = np.unique(cids, return_inverse=True)
        shards = {cid: shard_of(cid) for cid in known.tolist()}
        found = sorted(set(shards.values()))
        if len(found) == 1:
            self.segment.shard = found[0]
            return [self]
        of_each = np.array(list(shards.values()))[place]
        return [self._of_shard(at, of_each == at, shards) for at in found]

    def _of_shard(self, shard: int, is_kept: npt.NDArray[np.bool_], shards: Mapping[int, int]) -> Put:
        segment = self.segment.part(is_kept.tolist())
        segment.shard, segment.size = shard, self.segment.size * len(segment.rows) / len(self.segment.rows)
        slices: list[Slice] = []
        at = 0
        for part in self.slices:
            cids = [cid for cid in part.cids if shards[cid] == shard]
            if cids:
                batches = [batch for batch in part.batches if shards[batch.cid] == shard]
                slices.append(Slice(at, part.model, cids, batches))
            at += len(cids)
        return Put(segment, slices)

    def unstored(self) -> Unstored | None:
        """Determines which records are new, if only new ones are stored; else None."""
        return Unstored(self.batches, with_acq=self.with_acq) if self.segment.unless_stored else None

    def receipt(self, interval: AcqInterval, seconds: float) -> Receipt:
        """The receipt of a stored put. The database reports acqs only for records without their own."""
        rows, puts = self.segment.rows, _ids(interval)
        if self.with_acq and isinstance(rows, ColumnRows):
            interval = rows.acqs
        elif self.with_acq:
            acqs = list(map(attrgetter("acq"), rows))
            interval = AcqInterval(min(acqs), max(acqs))
        return Receipt(len(rows), *interval, self.size, seconds, puts=puts, cids=_span(self.batches))

    def receipt_of(self, unstored: Unstored, interval: AcqInterval, seconds: float) -> Receipt:
        """The receipt of a put of which only the new records were stored."""
        left = unstored.left_of(self.batches)
        count = sum(batch.count for batch in left)
        skipped = len(self.segment.rows) - count
        if not count:
            return Receipt(seconds=seconds, skipped=skipped)
        puts = _ids(interval)
        if self.with_acq:
            interval = AcqInterval(*unstored.acqs())
        size = sum(len(batch.records) for batch in left)
        return Receipt(count, *interval, size, seconds, skipped, puts, _span(left))


def encoded(segment: Segment) -> Put:
    """Encodes a segment.

    Raises:
        EncodeError: when a field of some object cannot be stored, with the object's number.
    """
    if isinstance(segment.rows, ColumnRows):
        given = segment.rows
        return Put(segment, [Slice(0, given.model, given.cids.tolist(), given.batches())])
    if segment.keep_acq:
        _check_acqs(segment)
    slices = []
    for model, at, rows in _neighbours(segment):
        batches = _batches(codec_of(model), rows, segment, at)
        cids = [batches[0].cid] * len(rows) if len(batches) == 1 else list(map(attrgetter("cid"), rows))
        slices.append(Slice(at, model, cids, batches))
    return Put(segment, slices)


def unit_hint(part: Slice) -> str | None:
    """A warning if the first capture time looks like a time since 1970: read that way, it lies in the recent past. None if
    it looks right.

    Multiples of a million, as in tests and simulations, look right.
    """
    if not part.batches or len(part.batches[0].records) < PUT_FORM.header.itemsize:
        return None
    (cap,) = _CAP.unpack_from(part.batches[0].records, _CAP_AT)
    now = to_unix_ns(now_ns())
    for unit, ns in _UNITS:
        since_1970 = cap * ns
        if now - _RECENT <= since_1970 <= now + _AHEAD and (ns == 1 or cap % 10**6):
            factor = f" * {ns:_}" if ns > 1 else ""
            return (
                f"{part.model.__name__}: cap={cap} is {to_iso(cap)}, but would be {to_iso(since_1970 - EPOCH_UNIX_NS)} in "
                f"{unit} since 1970. cap counts nanoseconds since 2001; "
                f"tsmodel.timestamps.from_unix_ns(cap{factor}) converts it. Ignore this warning if the time is right"
            )
    return None


def _batches(codec: RowCodec[TSModel], rows: Sequence[TSModel], segment: Segment, at: int) -> list[Batch]:
    if segment.returned is None:
        return codec.encode(rows, with_acq=segment.keep_acq, first=segment.first + at)
    try:
        return codec.encode(rows, with_acq=segment.keep_acq)
    except EncodeError as error:
        if error.record is not None:  # encode it again, for an error with the right number
            number = segment.returned[at + error.record]
            codec.encode(rows[error.record : error.record + 1], with_acq=segment.keep_acq, first=number)
        raise


def _ids(interval: AcqInterval) -> tuple[PutId, ...]:
    return (interval.put,) if isinstance(interval, PutInterval) else ()


def _span(batches: Sequence[Batch]) -> range:
    cids = [batch.cid for batch in batches]
    return range(min(cids), max(cids) + 1)


def _check_acqs(segment: Segment) -> None:
    acqs = list(map(attrgetter("acq"), segment.rows))
    if -1 in acqs:
        at = acqs.index(-1)
        number = segment.numbers[at]
        raise EncodeError(
            f"record {number}: {type(segment.rows[at]).__name__}.acq was never set, but keep_acq stores objects with "
            "their own acq: set it, or leave keep_acq out",
            record=number,
            field="acq",
            value=-1,
        )


def _neighbours(segment: Segment) -> Iterator[tuple[type[TSModel], int, Sequence[TSModel]]]:
    """Groups adjacent objects of one model, with the position of the first one. This preserves the order of acqs."""
    if len(segment.models) == 1:
        yield next(iter(segment.models)), 0, segment.rows
        return
    start = 0
    for model, rows in groupby(segment.rows, type):
        group = list(rows)
        yield model, start, group
        start += len(group)


class Found(msgspec.Struct, frozen=True):
    """The outcome of a reconciliation: whether each object of the put is stored, and the receipt for those that are."""

    stored: list[bool]
    receipt: Receipt


def found_of(put: Put, copies: Copies) -> Found:
    """Determines which objects of a put are stored, from the copies of its records in the database."""
    stored = [False] * len(put.segment.rows)
    cids = set()
    for part, masks in zip(put.slices, copies.stored(), strict=True):
        positions: dict[int, list[int]] = {}
        for position, cid in enumerate(part.cids, part.at):
            positions.setdefault(cid, []).append(position)
        left = {cid: iter(each) for cid, each in positions.items()}
        for batch, mask in zip(part.batches, masks, strict=True):
            for is_stored, position in zip(mask.tolist(), left[batch.cid], strict=False):
                stored[position] = is_stored
            if mask.any():
                cids.add(batch.cid)
    if copies.acq_min is None or copies.acq_max is None:
        return Found(stored, Receipt())
    span = range(min(cids), max(cids) + 1)
    return Found(stored, Receipt(sum(stored), copies.acq_min, copies.acq_max, copies.size, cids=span))
