"""Reads a target in slices of time, within limits of records and seconds, until the client disconnects.

Rules kept here:

* A slice must fit into memory: one with more than `most` records is read again in shorter slices.
* Work checks between chunks whether to go on, so closing a tab ends its requests.
* All versions of a point have the same cap, so they are in the same slice.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, TypeVar

import attrs
import numpy as np
import numpy.typing as npt

from tsmodel.cli.models import Record
from tsmodel.model.expressions import ColumnInfo
from tsmodel.query import QuerySpec
from tsmodel.query.executor import Executor
from tsmodel.query.sinks import Regrouped, Rows, Selection
from tsmodel.session import Session
from tsmodel.web.refusals import Refused, Stopped
from tsmodel.wire.chunk import Chunk
from tsmodel.wire.sorting import run_lengths, run_starts

__all__ = ["Budget", "Key", "Points", "Stop", "TooManyError", "count_of", "points_of", "rows_of", "slices"]

T = TypeVar("T")
Array = npt.NDArray[Any]
Key = tuple[int, int, int]
"""cid, mid and moid of a series."""
_Part = tuple[Array, Array | None, Array | None, Array | None]
"""cap, acq if requested, values, and which of the values are valid."""

MOST_POINTS: Final = 2**20
"""Maximum number of records of a slice that is held as columns."""


class Stop:
    """Tells work to end early. Thread-safe.

    Args:
        seconds: the time limit.
    """

    def __init__(self, seconds: float = 60.0) -> None:
        self._gone = threading.Event()
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def set(self) -> None:
        """Ends the work: the client no longer waits for it."""
        self._gone.set()

    def check(self) -> None:
        """Raises an exception if the work is to end.

        Raises:
            Stopped: when the client no longer waits.
            Refused: when the time limit is exceeded.
        """
        if self._gone.is_set():
            raise Stopped
        if time.monotonic() > self._end:
            raise Refused(
                f"this takes longer than {self._seconds:g} seconds",
                remedy="narrow the range with from= and to=, or name fewer series",
                status=503,
            )

    @property
    def is_set(self) -> bool:
        """Whether the client no longer waits."""
        return self._gone.is_set()


class TooManyError(Exception):
    """A slice has too many records. Internal: caught by `slices`."""


class _UnsortedError(Exception):
    """Records are not in the order of cap, or several have the same cap: sorting them needs acq. Internal."""


@attrs.define
class Budget:
    """The number of records that a request may read.

    Attributes:
        most: the limit.
        read: records read so far.
        skipped: records left out so far because their payload does not match the model.
    """

    most: int
    read: int = 0
    skipped: int = 0

    def take(self, count: int) -> None:
        """Counts records.

        Raises:
            Refused: when the limit is exceeded.
        """
        self.read += count
        if self.read > self.most:
            raise Refused(
                f"the range has more than {self.most:,} records, the limit for a request",
                where="from, to",
                remedy="narrow the range of time, name fewer series, or start `tsmodel ui` with a larger --max-records",
                status=413,
            )


class Points(NamedTuple):
    """Records of one series, sorted by cap: the newest version of each point, or all versions.

    Attributes:
        cap: capture times, ns since 2001, shape (n,).
        versions: how many versions each entry stands for, shape (n,); None for one each.
        values: stored numbers of a field, shape (n,); None if no field was requested.
        valid: which values are present and not NaN, shape (n,); None for all.
    """

    cap: Array
    versions: Array | None
    values: Array | None
    valid: Array | None

    @property
    def records(self) -> int:
        """Number of records, older versions included."""
        return len(self.cap) if self.versions is None else int(self.versions.sum())


def slices(
    start: int, end: int, width: int, read: Callable[[int, int], T], *, backwards: bool = False
) -> Iterator[tuple[T, Callable[[int], None]]]:
    """Reads consecutive slices of a range of time.

    Args:
        start, end: the half-open range, ns since 2001.
        width: length of the first slice.
        read: reads a half-open slice; raises TooManyError if it has too many records.
        backwards: starts with the last slice.

    Yields:
        The result of `read`, and a function that lengthens the following slices by a factor.

    Raises:
        Refused: when a single capture time has too many records.
    """
    width = max(1, width)

    def widen(factor: int) -> None:
        nonlocal width
        width *= factor

    while start < end:
        low, high = (max(start, end - width), end) if backwards else (start, min(end, start + width))
        try:
            found = read(low, high)
        except TooManyError:
            if high - low == 1:
                raise Refused(
                    "too many records have the same capture time",
                    where=f"cap {low}",
                    remedy="name fewer series with series=CID/MID/MOID",
                    status=413,
                ) from None
            width = max(1, (high - low) // 4)
            continue
        yield found, widen
        start, end = (start, low) if backwards else (high, end)


def points_of(
    session: Session,
    spec: QuerySpec[Any],
    info: ColumnInfo | None,
    start: int,
    end: int,
    *,
    width: int,
    all_versions: bool,
    budget: Budget,
    stop: Stop,
    most: int = MOST_POINTS,
) -> Iterator[Points]:
    """Reads the points of one series in slices, in the order of time.

    Args:
        session: the session to read from.
        spec: selects the series.
        info: the column of values; None for none.
        start, end: half-open range of capture time, ns since 2001.
        width: length of the first slice.
        all_versions: whether to include older versions of points.
        budget: counts the records.
        stop: ends the work early.
        most: maximum number of records of a slice.
    """

    with_acq = False  # most series are stored in the order of cap, and need no acq

    def read(low: int, high: int) -> Points:
        nonlocal with_acq
        within = _within(spec, low, high)
        if not with_acq:
            before = budget.read, budget.skipped
            try:
                return _points(_columns(session, within, info, budget, stop, most), all_versions=all_versions)
            except _UnsortedError:
                with_acq = True
                budget.read, budget.skipped = before
        return _points(_columns(session, within, info, budget, stop, most, with_acq=True), all_versions=all_versions)

    for points, widen in slices(start, end, width, read):
        if len(points.cap):
            yield points
        if points.records < most // 8:
            widen(4)


def rows_of(
    session: Session, spec: QuerySpec[Any], start: int, end: int, *, budget: Budget, stop: Stop, most: int
) -> list[Any]:
    """The records of a slice as objects, in no particular order.

    Raises:
        TooManyError: if there are more than `most`.
    """
    executor = Executor(_within(spec, start, end), session)
    found: list[Any] = []
    for rows in executor.stream(executor.streaming(lambda selection: _Rows(selection, stop), Regrouped(4096))):
        budget.take(len(rows))
        found += rows
        if len(found) > most:
            raise TooManyError
    if executor.last_run is not None:
        budget.skipped += executor.last_run.skipped
    return found


class _Rows(Rows[Any]):
    """A sink that makes objects until it is stopped."""

    def __init__(self, selection: Selection[Any], stop: Stop) -> None:
        super().__init__(selection)
        self._stop = stop

    def feed(self, chunk: Chunk) -> bool:
        self._stop.check()
        return super().feed(chunk)


def count_of(session: Session, spec: QuerySpec[Any], stop: Stop, most: int) -> int:
    """The number of records in the key ranges of a spec, ignoring conditions on fields.

    Raises:
        TooManyError: if there are more than `most`.
    """
    count = 0
    for box in Executor(spec, session).boxes():
        with session.backend.scan(box) as scan:
            for chunk in scan:
                stop.check()
                count += len(chunk)
                if count > most:
                    raise TooManyError
    return count


def _within(spec: QuerySpec[Any], start: int, end: int) -> QuerySpec[Any]:
    columns: Any = spec.model
    return spec.where(columns.cap.between(start, end))


class _Taken:
    """A sink that takes cap, acq if requested, and one column of each chunk."""

    def __init__(self, selection: Selection[Any], info: ColumnInfo | None, stop: Stop, *, with_acq: bool) -> None:
        self._selection = selection
        self._stop = stop
        self._info = info
        self._with_acq = with_acq
        # `Record` matches every payload, so nothing is decoded to check payloads.
        self._is_plain = selection.spec.model is Record and not selection.plan.filters
        self._last: list[_Part] = []

    def feed(self, chunk: Chunk) -> bool:
        self._stop.check()
        if self._info is None and self._is_plain:
            records = chunk.keys()
        else:
            records = self._selection.of(chunk, keys_only=self._info is None, columns=True)
        if not len(records):
            return self._selection.full
        cap = np.array(records["cap"], np.int64)
        acq = np.array(records["acq"], np.int64) if self._with_acq else None
        values = valid = None
        if self._info is not None:
            values = np.array(self._info.values(records))
            values = values.astype(values.dtype.newbyteorder("="), copy=False)
            valid = self._info.present(records)
        self._last.append((cap, acq, values, None if valid is None else np.array(valid)))
        return self._selection.full

    def result(self) -> list[_Part]:
        last, self._last = self._last, []
        return last


def _columns(
    session: Session,
    spec: QuerySpec[Any],
    info: ColumnInfo | None,
    budget: Budget,
    stop: Stop,
    most: int,
    *,
    with_acq: bool = False,
) -> list[_Part]:
    executor = Executor(spec, session)
    found: list[_Part] = []
    count = 0
    for part in executor.stream(executor.streaming(lambda selection: _Taken(selection, info, stop, with_acq=with_acq))):
        count += len(part[0])
        budget.take(len(part[0]))
        found.append(part)
        if count > most:
            budget.read -= count  # they are read again, in shorter slices
            raise TooManyError
    if executor.last_run is not None:
        budget.skipped += executor.last_run.skipped
    return found


def _points(parts: list[_Part], *, all_versions: bool) -> Points:
    """Sorts records by cap and acq, and selects versions.

    Raises:
        _UnsortedError: when sorting needs acq, which was not read.
    """
    if not parts:
        return Points(np.empty(0, np.int64), None, None, None)
    cap = np.concatenate([part[0] for part in parts])
    is_sorted = bool((cap[1:] > cap[:-1]).all())
    acqs = [part[1] for part in parts if part[1] is not None]
    if not is_sorted and len(acqs) < len(parts):
        raise _UnsortedError
    columns = [values for _, _, values, _ in parts if values is not None]
    values = np.concatenate(columns) if columns else None
    valid = None
    if any(part[3] is not None for part in parts):
        masks: list[Array] = [np.ones(len(each[0]), bool) if each[3] is None else each[3] for each in parts]
        valid = np.concatenate(masks)
    if values is not None and values.dtype.kind == "f":
        numbers = ~np.isnan(values)
        if not numbers.all():
            valid = numbers if valid is None else valid & numbers
    if valid is not None and valid.all():
        valid = None
    if is_sorted:
        return Points(cap, None, values, valid)
    order = np.lexsort((np.concatenate(acqs), cap))
    cap = cap[order]
    values = None if values is None else values[order]
    valid = None if valid is None else valid[order]
    if all_versions:
        return Points(cap, None, values, valid)
    starts = run_starts([cap])
    lengths = run_lengths(starts, len(cap))
    newest = starts + lengths - 1
    return Points(
        cap[newest], lengths, None if values is None else values[newest], None if valid is None else valid[newest]
    )
