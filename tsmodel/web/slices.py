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
from itertools import pairwise
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from tsmodel.cli.models import Record
from tsmodel.model import TSModel
from tsmodel.model.expressions import ColumnInfo
from tsmodel.query import QuerySpec
from tsmodel.query.executor import Executor
from tsmodel.query.sinks import Regrouped, Rows, Selection
from tsmodel.session import Session
from tsmodel.web.refusals import Refused, Stopped
from tsmodel.wire.chunk import Chunk
from tsmodel.wire.sorting import run_lengths, run_starts

__all__ = ["Curve", "Key", "Points", "TooManyError", "Work", "count_of", "points_of", "rows_of", "slices"]

T = TypeVar("T")
Array = npt.NDArray[Any]
Key = tuple[int, int, int]
"""cid, mid and moid of a series."""

MOST_POINTS: Final = 2**20
"""Maximum number of records of a slice that is held as columns."""


class Work:
    """The work for one request: its limits, and whether the client still waits. Any thread may stop it.

    Args:
        records: the maximum number of records to read.
        seconds: the time limit.

    Attributes:
        skipped: records left out so far because their payload does not match the model.
    """

    def __init__(self, records: float = float("inf"), seconds: float = 60.0) -> None:
        self.skipped = 0
        self._records = records
        self._read = 0
        self._seconds = seconds
        self._end = time.monotonic() + seconds
        self._gone = threading.Event()

    def stop(self) -> None:
        """Ends the work: the client no longer waits for it."""
        self._gone.set()

    @property
    def is_stopped(self) -> bool:
        """Whether the client no longer waits."""
        return self._gone.is_set()

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

    def take(self, count: int) -> None:
        """Counts records, and refuses those beyond the limit."""
        self._read += count
        if self._read > self._records:
            raise Refused(
                f"the range has more than {self._records:,} records, the limit for a request",
                where="from, to",
                remedy="narrow the range of time, name fewer series, or start `tsmodel ui` with a larger --max-records",
                status=413,
            )


class TooManyError(Exception):
    """A slice has too many records. Internal: caught by `slices`."""


class Curve(NamedTuple):
    """One line of a chart: a field of a series.

    Attributes:
        model: the model of the records.
        key: the series.
        info: the column of values; None to only count points.
        all_versions: whether to include older versions of points.
    """

    model: type[TSModel]
    key: Key
    info: ColumnInfo | None
    all_versions: bool = False


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
    session: Session, spec: QuerySpec[Any], curve: Curve, start: int, end: int, width: int, work: Work
) -> Iterator[Points]:
    """Reads the points of a curve in slices, in the order of time.

    Args:
        session: the session to read from.
        spec: selects the series.
        curve: what to read.
        start, end: half-open range of capture time, ns since 2001.
        width: length of the first slice.
        work: counts the records, and ends the reading early.
    """
    with_acq = False  # most series are stored in the order of cap, and need no acq

    def read(low: int, high: int) -> Points:
        nonlocal with_acq
        within = _within(spec, low, high)
        parts, skipped = _parts(session, within, curve, work, with_acq=with_acq)
        if not with_acq and not _is_ascending(parts):
            with_acq = True
            parts, skipped = _parts(session, within, curve, work, with_acq=True)
        work.take(sum(len(part.cap) for part in parts))
        work.skipped += skipped
        return _points(parts, all_versions=curve.all_versions)

    for points, widen in slices(start, end, width, read):
        if len(points.cap):
            yield points
        if points.records < MOST_POINTS // 8:
            widen(4)


def rows_of(session: Session, spec: QuerySpec[Any], start: int, end: int, *, work: Work, most: int) -> list[Any]:
    """The records of a slice as objects, in no particular order.

    Raises:
        TooManyError: if there are more than `most`.
    """
    within = _within(spec, start, end)
    if within.in_memory and count_of(session, within, work) > most:
        raise TooManyError
    executor = Executor(within, session)
    found: list[Any] = []
    for rows in executor.stream(executor.streaming(lambda selection: _Rows(selection, work), Regrouped(4096))):
        found += rows
        if len(found) > most:
            raise TooManyError
    work.take(len(found))
    work.skipped += executor.last_run.skipped if executor.last_run is not None else 0
    return found


def count_of(session: Session, spec: QuerySpec[Any], work: Work) -> int:
    """The number of records in the key ranges of a spec, ignoring conditions on fields.

    Raises:
        TooManyError: if there are more than `MOST_POINTS`.
    """
    count = 0
    for box in Executor(spec, session).boxes():
        with session.backend.scan(box) as scan:
            for chunk in scan:
                work.check()
                count += len(chunk)
                if count > MOST_POINTS:
                    raise TooManyError
    return count


def _within(spec: QuerySpec[Any], start: int, end: int) -> QuerySpec[Any]:
    columns: Any = spec.model
    return spec.where(columns.cap.between(start, end))


class _Rows(Rows[Any]):
    """A sink that makes objects until the work is stopped."""

    def __init__(self, selection: Selection[Any], work: Work) -> None:
        super().__init__(selection)
        self._work = work

    def feed(self, chunk: Chunk) -> bool:
        self._work.check()
        return super().feed(chunk)


class _Part(NamedTuple):
    """Columns of a chunk; None for those that were not requested."""

    cap: Array
    acq: Array | None
    values: Array | None
    valid: Array | None


class _Columns:
    """A sink that takes the columns of a curve from each chunk."""

    def __init__(self, selection: Selection[Any], info: ColumnInfo | None, *, with_acq: bool) -> None:
        self._selection = selection
        self._info = info
        self._with_acq = with_acq
        # `Record` matches every payload, so nothing is decoded to check payloads.
        self._is_plain = info is None and selection.spec.model is Record and not selection.plan.filters
        self._last: list[_Part] = []

    def feed(self, chunk: Chunk) -> bool:
        info = self._info
        records = chunk.keys() if self._is_plain else self._selection.of(chunk, keys_only=info is None, columns=True)
        values = valid = None
        if info is not None:
            values = np.array(info.values(records))
            values = values.astype(values.dtype.newbyteorder("="), copy=False)
            valid = info.present(records)
            valid = np.ones(len(values), bool) if valid is None else np.array(valid)
            if values.dtype.kind == "f":
                valid &= ~np.isnan(values)
        acq = np.array(records["acq"], np.int64) if self._with_acq else None
        self._last = [_Part(np.array(records["cap"], np.int64), acq, values, valid)]
        return self._selection.full

    def result(self) -> list[_Part]:
        return self._last


def _parts(session: Session, spec: QuerySpec[Any], curve: Curve, work: Work, *, with_acq: bool) -> tuple[list[_Part], int]:
    """The columns of all chunks, and how many records do not match the model.

    Raises:
        TooManyError: if there are more than `MOST_POINTS` records.
    """
    executor = Executor(spec, session)
    parts: list[_Part] = []
    count = 0
    for part in executor.stream(executor.streaming(lambda selection: _Columns(selection, curve.info, with_acq=with_acq))):
        work.check()
        parts.append(part)
        count += len(part.cap)
        if count > MOST_POINTS:
            raise TooManyError
    return parts, 0 if executor.last_run is None else executor.last_run.skipped


def _is_ascending(parts: list[_Part]) -> bool:
    caps = [part.cap for part in parts if len(part.cap)]
    return all((cap[1:] > cap[:-1]).all() for cap in caps) and all(a[-1] < b[0] for a, b in pairwise(caps))


def _points(parts: list[_Part], *, all_versions: bool) -> Points:
    """Sorts records by cap and acq, if that was read, and selects versions."""

    def whole(name: str) -> Any:
        columns = [getattr(part, name) for part in parts]
        return None if columns[0] is None else np.concatenate(columns)

    if not parts:
        return Points(np.empty(0, np.int64), None, None, None)
    cap, acq, values, valid = map(whole, _Part._fields)
    if valid is not None and valid.all():
        valid = None
    if acq is None or (cap[1:] > cap[:-1]).all():
        return Points(cap, None, values, valid)
    order = np.lexsort((acq, cap))
    versions = None
    if not all_versions:
        starts = run_starts([cap[order]])
        versions = run_lengths(starts, len(cap))
        order = order[starts + versions - 1]
    return Points(cap[order], versions, *(None if each is None else each[order] for each in (values, valid)))
