"""Objects on their way to storage: as they were added, and encoded.

A put carries neighbours in the order of addition, all with their acq or all without.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import attrgetter

import attrs

from tsmodel.backend import AcqInterval, Batch, PutId, PutInterval
from tsmodel.errors import EncodeError
from tsmodel.layout import RowCodec
from tsmodel.model import TSModel
from tsmodel.model.model import codec_of
from tsmodel.session.column_rows import ColumnRows
from tsmodel.session.receipt import Receipt
from tsmodel.wire.unstored import Unstored

__all__ = ["Put", "Segment", "encoded"]


@attrs.define(eq=False)
class Segment:
    """Objects that are stored by one put.

    Attributes:
        first: number of the first object, counted over what was added since the last receipt.
        keep_acq: whether they are stored with the acq they have.
        unless_stored: whether only those are stored that the database does not hold yet.
        rows: the objects; those that were given as columns are made when somebody asks for them.
        returned: numbers of the objects, where they are not `first` and those behind it.
        size: bytes of their records, as far as anybody has counted.
        models: their classes.
    """

    first: int
    keep_acq: bool
    rows: list[TSModel] | ColumnRows = attrs.field(factory=list)
    returned: list[int] | None = None
    size: float = 0.0
    models: set[type[TSModel]] = attrs.field(factory=set)
    unless_stored: bool = False

    @property
    def numbers(self) -> Sequence[int]:
        """Number of each object."""
        return range(self.first, self.first + len(self.rows)) if self.returned is None else self.returned

    def is_stored_as(self, keep_acq: bool, unless_stored: bool) -> bool:
        """Whether its objects are stored in this way."""
        return self.keep_acq is keep_acq and self.unless_stored is unless_stored

    def goes_on_with(self, other: Segment, most: int) -> bool:
        """Whether `other` can be joined to this one; columns are joined up to `most` records."""
        plain = self.returned is None and other.returned is None and self.is_stored_as(other.keep_acq, other.unless_stored)
        one, two = self.rows, other.rows
        if isinstance(one, ColumnRows) and isinstance(two, ColumnRows):
            plain = plain and one.goes_on_with(two) and len(one) + len(two) <= most
        elif isinstance(one, ColumnRows) or isinstance(two, ColumnRows):
            return False
        return plain and self.first + len(one) == other.first

    def take(self, other: Segment) -> None:
        """Joins `other`, which this one goes on with."""
        if isinstance(self.rows, ColumnRows):
            assert isinstance(other.rows, ColumnRows)
            self.rows = self.rows.joined(other.rows)
        else:
            self.rows += other.rows
        self.size += other.size
        self.models |= other.models

    def renumber(self, by: int) -> None:
        """Takes `by` off all numbers."""
        self.first -= by
        if self.returned is not None:
            self.returned = [number - by for number in self.returned]

    def part(self, keep: Sequence[bool]) -> Segment:
        """Those objects for which `keep` is true."""
        chosen = [at for at, kept in enumerate(keep) if kept]
        numbers = self.numbers
        if isinstance(self.rows, ColumnRows):
            rows: list[TSModel] | ColumnRows = self.rows.chosen(chosen)
        else:
            rows = [self.rows[at] for at in chosen]
        models = {self.rows.model} if isinstance(self.rows, ColumnRows) else set(map(type, rows))
        return Segment(self.first, self.keep_acq, rows, [numbers[at] for at in chosen], 0.0, models, self.unless_stored)


@attrs.frozen(eq=False)
class Stretch:
    """Neighbours of one model as they are sent.

    Attributes:
        at: position of the first in its segment.
        model: their class.
        cids: of each, in the order of addition.
        batches: what is sent.
    """

    at: int
    model: type[TSModel]
    cids: Sequence[int]
    batches: list[Batch]

    @property
    def size(self) -> int:
        """Bytes of the records."""
        return sum(len(batch.records) for batch in self.batches)


@attrs.frozen(eq=False)
class Put:
    """A segment as it is sent.

    Attributes:
        segment: the objects.
        stretches: the same as neighbours of one model.
    """

    segment: Segment
    stretches: list[Stretch]

    @property
    def with_acq(self) -> bool:
        """Whether records carry their acq."""
        return self.segment.keep_acq

    @property
    def batches(self) -> list[Batch]:
        """All batches, in the order in which they are sent."""
        return [batch for stretch in self.stretches for batch in stretch.batches]

    @property
    def size(self) -> int:
        """Bytes of all records."""
        return sum(stretch.size for stretch in self.stretches)

    def unstored(self) -> Unstored | None:
        """What finds out which of it is new, where only that is to be stored."""
        return Unstored(self.batches, with_acq=self.with_acq) if self.segment.unless_stored else None

    def receipt(self, interval: AcqInterval, seconds: float) -> Receipt:
        """What is stored when all of it is. The database says acqs only of a put whose records had none."""
        rows, puts = self.segment.rows, _ids(interval)
        if self.with_acq and isinstance(rows, ColumnRows):
            interval = rows.acqs
        elif self.with_acq:
            acqs = list(map(attrgetter("acq"), rows))
            interval = AcqInterval(min(acqs), max(acqs))
        return Receipt(len(rows), *interval, self.size, seconds, puts=puts, cids=_span(self.batches))

    def receipt_of(self, unstored: Unstored, interval: AcqInterval, seconds: float) -> Receipt:
        """What is stored when all that was new of it is."""
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
    """A segment as it is sent.

    Raises:
        EncodeError: when a field of some object cannot be stored, with the object's number.
    """
    if isinstance(segment.rows, ColumnRows):
        given = segment.rows
        return Put(segment, [Stretch(0, given.model, given.cids.tolist(), given.batches())])
    if segment.keep_acq:
        _check_acqs(segment)
    stretches = []
    for model, at, rows in _neighbours(segment):
        batches = _batches(codec_of(model), rows, segment, at)
        cids = [batches[0].cid] * len(rows) if len(batches) == 1 else list(map(attrgetter("cid"), rows))
        stretches.append(Stretch(at, model, cids, batches))
    return Put(segment, stretches)


def _batches(codec: RowCodec[TSModel], rows: Sequence[TSModel], segment: Segment, at: int) -> list[Batch]:
    if segment.returned is None:
        return codec.encode(rows, with_acq=segment.keep_acq, first=segment.first + at)
    try:
        return codec.encode(rows, with_acq=segment.keep_acq)
    except EncodeError as error:
        if error.record is not None:  # once more, for an error that names its own number
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
            f"record {number}: {type(segment.rows[at]).__name__}.acq was never set; keep_acq stores objects with the acq "
            "they have",
            record=number,
            field="acq",
            value=-1,
        )


def _neighbours(segment: Segment) -> Iterator[tuple[type[TSModel], int, Sequence[TSModel]]]:
    """Neighbours of one model, with the position of their first: so the order of addition, and so acq, is kept."""
    if len(segment.models) == 1:
        yield next(iter(segment.models)), 0, segment.rows
        return
    start = 0
    for model, rows in groupby(segment.rows, type):
        group = list(rows)
        yield model, start, group
        start += len(group)
