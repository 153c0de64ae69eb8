"""The target of `tsmodel ui`: a session, the models of its records, and caches of series and windows.

Rules kept here:

* Caches match the target: they are extended by new records, which are found by their acq, and rebuilt after records were
  removed or stored with an acq of their own.
* A server has no directory of its series. Only those of a window of time are listed, and the response says so.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from functools import reduce
from operator import or_
from typing import Any, Final

import attrs

from tsmodel.cli.models import Record
from tsmodel.keys import LIMITS, KeyRange
from tsmodel.model import TSModel
from tsmodel.model.expressions import ColumnInfo
from tsmodel.model.meta import schema_of
from tsmodel.query import QuerySpec
from tsmodel.query.sinks import Series, SeriesFound
from tsmodel.query.spec import OnError
from tsmodel.session import Session
from tsmodel.store.capabilities import Outline, Outliner, Position
from tsmodel.timestamps import now_ns
from tsmodel.types.declaring import did_you_mean
from tsmodel.web.refusals import Refused
from tsmodel.web.slices import MOST_POINTS, Curve, Key, Points, Work, points_of
from tsmodel.web.summaries import Windows, fitting, joined, nice, windows_of
from tsmodel.wire.chunk import Chunk

__all__ = ["Catalogue", "Limits", "Source", "is_drawn"]

DAY: Final = 24 * 3600 * 10**9
LOOK = 0.5
"""Seconds between checks for changes of the target."""
_PER_WINDOW: Final = 64
"""Approximate number of points in a cached window."""
_KEPT_BYTES: Final = 256 * 2**20
"""Maximum size of cached windows."""
_LISTED_SECONDS: Final = 20.0
"""Time limit for listing series; what was found until then is returned as incomplete."""


@attrs.frozen
class Limits:
    """Limits of requests.

    Attributes:
        records: maximum number of records that a request reads.
        seconds: maximum duration of a request.
        page: maximum number of records on a page.
        windows: maximum number of windows of a line.
        lines: maximum number of lines of a chart.
        followers: maximum number of concurrent requests that follow new records.
    """

    records: int = 50_000_000
    seconds: float = 60.0
    page: int = 10_000
    windows: int = 10_000
    lines: int = 32
    followers: int = 64


@attrs.frozen
class Catalogue:
    """The series of a target.

    Attributes:
        series: by cid, mid and moid, sorted.
        start, end: the half-open range of cap that was read, ns since 2001.
        is_whole: whether all of the range was read.
    """

    series: dict[Key, Series]
    start: int
    end: int
    is_whole: bool


@attrs.define
class _Kept:
    """Cached windows, and the state of the target that they match."""

    windows: Windows
    epoch: int
    position: Position


class Source:
    """A target that several threads read.

    Args:
        session: the session; closed with the source.
        models: models of the records; a series gets the first one whose fixed key components match.
        limits: limits of requests.
    """

    def __init__(self, session: Session, models: Iterable[type[TSModel]] = (), limits: Limits | None = None) -> None:
        self.session = session
        self.models = {model.__name__: model for model in models}
        self.limits = limits or Limits()
        self.name = session.name.partition("?")[0]
        store = session.backend
        self._store = store if isinstance(store, Outliner) else None
        self._catalogue: Catalogue | None = None
        self._position = Position(0)
        self._looked = 0.0
        self._epoch = 0
        self._kept: OrderedDict[tuple[object, ...], _Kept] = OrderedDict()
        self._locks: dict[object, threading.Lock] = {}
        self._guard = threading.Lock()

    @property
    def is_server(self) -> bool:
        """Whether the target is a server, which cannot list series without reading records."""
        return self._store is None

    def close(self) -> None:
        """Closes the session."""
        self.session.close()

    # Models

    def model(self, name: str | None, series: Iterable[Key] = ()) -> type[TSModel]:
        """The model with this name; without a name, the first that fits all of the series, or else `Record`."""
        if name is not None:
            found = self.models.get(name)
            if found is None:
                raise Refused(
                    f"there is no model {name!r}{did_you_mean(name, self.models)}",
                    "model",
                    f"name one of {', '.join(self.models)}"
                    if self.models
                    else "leave it out, or start `tsmodel ui` with --model",
                )
            return found
        wanted = list(series)
        for each in self.models.values():
            if all(_is_of(each, key) for key in wanted):
                return each
        return Record

    # Series

    def catalogue(self, work: Work) -> Catalogue:
        """All series of a store, or those of the last day on a server; up to date with the target."""
        with self._locked("catalogue", work):
            if self._catalogue is None or time.monotonic() - self._looked >= LOOK:
                self._look(work)
                self._looked = time.monotonic()
            assert self._catalogue is not None
            return self._catalogue

    def found_between(self, start: int, end: int, work: Work) -> Catalogue:
        """The series in a half-open range of cap, counting only records in this range."""
        found, is_whole = self._series_in(KeyRange.of(cap=(start, end)), work, self.limits.records)
        return Catalogue(found, start, end, is_whole)

    def check_known(self, keys: Iterable[Key], work: Work) -> None:
        """Checks that a store has these series; a server does not tell."""
        for _ in range(2):
            catalogue = self.catalogue(work)
            missing = next((key for key in keys if key not in catalogue.series), None)
            if missing is None or self.is_server or not catalogue.is_whole:
                return
            self.look_again()  # it may be new
        name = "/".join(map(str, missing or ()))
        raise Refused(f"there is no series {name}", "series", "choose one that /api/series lists", 404)

    def span_of(self, keys: Iterable[Key], work: Work) -> tuple[int, int]:
        """The default range of a request: all of the named series, or of all series. On a server, the last day."""
        catalogue = self.catalogue(work)
        entries = [catalogue.series[key] for key in keys if key in catalogue.series] or list(catalogue.series.values())
        if self.is_server or not entries:
            return catalogue.start, catalogue.end
        return min(each.cap_min for each in entries), max(each.cap_max for each in entries) + 1

    def slice_width(self, keys: Iterable[Key], start: int, end: int, most: int, work: Work) -> int:
        """A guess at the length of a slice of time that has `most` records."""
        catalogue = self.catalogue(work)
        wanted = list(keys)
        entries = [catalogue.series[key] for key in wanted if key in catalogue.series]
        if not wanted:
            entries = list(catalogue.series.values())
        rate = sum(each.count / (each.cap_max - each.cap_min + 1) for each in entries)
        if not rate:
            return max(1, (end - start) // 16)
        return max(1, min(end - start, int(most / rate)))

    # Points and windows

    def spec(self, model: type[TSModel], keys: Iterable[Key], on_error: OnError = "skip") -> QuerySpec[Any]:
        """The spec for the records of the named series, or of all series."""
        columns: Any = model
        each = [(columns.cid == cid) & (columns.mid == mid) & (columns.moid == moid) for cid, mid, moid in keys]
        spec: QuerySpec[Any] = QuerySpec(model, on_error=on_error)
        return spec.where(reduce(or_, each)) if each else spec

    def points(self, curve: Curve, start: int, end: int, work: Work) -> Iterator[Points]:
        """The points of a curve, in slices."""
        width = self.slice_width([curve.key], start, end, MOST_POINTS // 2, work)
        return points_of(self.session, self.spec(curve.model, [curve.key]), curve, start, end, width, work)

    def windows(self, curve: Curve, start: int, end: int, every: int, work: Work) -> Windows:
        """The windows of a curve that overlap a half-open range of time, ns since 2001; `every` is their length, ns."""
        start, end = start // every * every, -(-end // every) * every
        entry = None if self.is_server else self.catalogue(work).series.get(curve.key)
        if entry is not None:
            overlap = min(end, entry.cap_max + 1) - max(start, entry.cap_min)
            expected = entry.count * max(0, overlap) / (entry.cap_max - entry.cap_min + 1)
            base = _base(entry)
            if entry.count > MOST_POINTS and expected > MOST_POINTS // 4 and every % base == 0:
                return self._kept_windows(curve, base, work).between(start, end).longer(every)
        return self._read_windows(curve, start, end, every, work)

    def every(self, keys: Iterable[Key], start: int, end: int, most: int, work: Work) -> int:
        """A length of windows that suits all of the series, of which about `most` cover a range of time."""
        width = max(1, -(-(end - start) // most))
        entries = [] if self.is_server else [self.catalogue(work).series.get(key) for key in keys]
        bases = [_base(each) for each in entries if each is not None and each.count > MOST_POINTS]
        common = math.lcm(*(base for base in bases if base <= width))
        return fitting(start, end, most, common if common > 1 else 0)

    def look_again(self) -> None:
        """Makes the next request check the target for changes."""
        self._looked = -math.inf

    def _kept_windows(self, curve: Curve, base: int, work: Work) -> Windows:
        """The windows of a whole series, of length `base`, from the cache; brings them up to date."""
        name = (curve.key, curve.model.__name__, curve.info and curve.info.name, curve.all_versions)
        with self._locked(name, work):
            epoch, position = self._epoch, self._position
            kept = self._kept.get(name)
            if kept is None or kept.epoch != epoch or kept.windows.every != base:
                kept = _Kept(self._read_windows(curve, *self.span_of([curve.key], work), base, work), epoch, position)
            elif kept.position != position:
                dirty = self._dirty(curve.key, kept.position.acq, position.acq, work)
                if dirty is not None:
                    start, end = dirty[0] // base * base, (dirty[1] // base + 1) * base
                    fresh = self._read_windows(curve, start, end, base, work)
                    kept.windows = kept.windows.replaced(start, end, fresh)
                kept.position = position
            with self._guard:
                self._kept[name] = kept
                self._kept.move_to_end(name)
                while len(self._kept) > 1 and sum(each.windows.nbytes for each in self._kept.values()) > _KEPT_BYTES:
                    self._kept.popitem(last=False)
            return kept.windows

    def _read_windows(self, curve: Curve, start: int, end: int, every: int, work: Work) -> Windows:
        start, end = max(start, LIMITS["cap"].least), min(end, LIMITS["cap"].bound)
        return joined((windows_of(points, every) for points in self.points(curve, start, end, work)), every)

    def _dirty(self, key: Key, low: int, high: int, work: Work) -> tuple[int, int] | None:
        """The range of cap of records that a series got in a range of acq; None without any."""
        if low >= high:
            return None
        found, _ = self._series_in(_box(key, acq=(low, high)), work)
        entry = found.get(key)
        return None if entry is None else (entry.cap_min, entry.cap_max)

    # Changes of the target

    def _look(self, work: Work) -> None:
        position = self._now()
        known = self._catalogue
        if known is not None and position == self._position and not (self.is_server and _is_old(known)):
            return
        if known is not None and self._only_grew(position) and not self.is_server and known.is_whole:
            found, _ = self._series_in(KeyRange.of(acq=(self._position.acq, position.acq)), work)
            self._catalogue = attrs.evolve(known, series=_united(known.series, found))
        else:
            start, end = self._listed()
            box = KeyRange.of(cap=(start, end), acq=(LIMITS["acq"].least, position.acq))
            if self._store is not None:  # records stored with an acq of their own may lie ahead
                box = KeyRange.of(cap=(start, end))
            found, is_whole = self._series_in(box, work, self.limits.records if self.is_server else None)
            if self._store is not None and self._now() != position:
                position = Position(position.acq, -1, -1)  # the target changed meanwhile: rebuild it next time
            self._epoch += 1
            self._catalogue = Catalogue(found, start, end, is_whole)
        self._position = position

    def _listed(self) -> tuple[int, int]:
        if self.is_server:
            now = now_ns()
            return now - DAY, now + DAY // 24
        return LIMITS["cap"].least, LIMITS["cap"].bound

    def _now(self) -> Position:
        if self._store is None:
            return Position(self.session.backend.last_acq(KeyRange()))
        return self._store.position()

    def _only_grew(self, position: Position) -> bool:
        """Whether only records were added, with acqs that the target assigned."""
        before = self._position
        if self._store is None or position.removals != before.removals or before.puts < 0:
            return False
        # The acqs of a put that keeps them may lie anywhere.
        return not any(
            put.keeps_acq and (put.number >= before.puts or put.acq_max >= before.acq) for put in self.session.puts()
        )

    def _series_in(self, box: KeyRange, work: Work, most: int | None = None) -> tuple[dict[Key, Series], bool]:
        """The series of a box, and whether they are complete: reading stops after a time, or `most` records."""
        if box.is_empty:
            return {}, True
        everything: Any = _Everything()
        counted = SeriesFound(everything)
        until, is_whole, read = time.monotonic() + _LISTED_SECONDS, True, 0
        backend = self.session.backend
        found: Any = closing(backend.outline(box)) if isinstance(backend, Outliner) else backend.scan(box)
        with found as parts:
            for part in parts:
                work.check()
                if isinstance(part, Outline):
                    counted.add(part[:3], *part[3:])
                    continue
                counted.feed(part)
                read += len(part)
                if time.monotonic() > until or (most is not None and read > most):
                    is_whole = False
                    break
        return {(each.cid, each.mid, each.moid): each for each in counted.result()}, is_whole

    @contextmanager
    def _locked(self, name: object, work: Work) -> Iterator[None]:
        """Holds the lock with this name; waiting for it ends with the work."""
        with self._guard:
            lock = self._locks.setdefault(name, threading.Lock())
        while not lock.acquire(timeout=0.1):
            work.check()
        try:
            yield
        finally:
            lock.release()


class _Everything:
    """A selection of all records that reads only their keys."""

    full = False

    def of(self, chunk: Chunk, *, keys_only: bool) -> Any:
        assert keys_only
        return chunk.keys()


def is_drawn(info: ColumnInfo) -> bool:
    """Whether a column can be drawn: an amount or a bool."""
    codec = info.codec.present
    return not info.is_key and codec.number is not None and (codec.is_amount or codec.number.kind == "bool")


def _is_of(model: type[TSModel], key: Key) -> bool:
    fixed = schema_of(model).fixed
    return all(fixed.get(name, value) == value for name, value in zip(("cid", "mid", "moid"), key, strict=True))


def _box(key: Key, **intervals: tuple[int, int]) -> KeyRange:
    cid, mid, moid = key
    return KeyRange.of(cid=(cid, cid + 1), mid=(mid, mid + 1), moid=(moid, moid + 1), **intervals)


def _base(entry: Series) -> int:
    """The length of cached windows of a series, ns."""
    return nice((entry.cap_max - entry.cap_min + 1) * _PER_WINDOW / entry.count)


def _is_old(catalogue: Catalogue) -> bool:
    """Whether its day ended more than ten minutes ago."""
    return now_ns() > catalogue.end - DAY // 24 + 600 * 10**9


def _united(known: dict[Key, Series], found: dict[Key, Series]) -> dict[Key, Series]:
    if not found:
        return known
    made = dict(known)
    for key, each in found.items():
        old = made.get(key)
        made[key] = (
            each
            if old is None
            else Series(*key, old.count + each.count, min(old.cap_min, each.cap_min), max(old.cap_max, each.cap_max))
        )
    return made if len(made) == len(known) else dict(sorted(made.items()))
