"""`Query`: the ends that read what was asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from typing_extensions import Self

from tsmodel.backend import Backend
from tsmodel.model.base import TSModel, query_factory
from tsmodel.query.arranging import fed, fed_whole
from tsmodel.query.builder import QueryBuilder
from tsmodel.query.context import Source, current
from tsmodel.query.drive import run, stream
from tsmodel.query.ends import Count, End, Regrouped, Rows
from tsmodel.query.follow import FollowEnds
from tsmodel.query.frames import FrameEnds
from tsmodel.query.resample import ResampleEnds
from tsmodel.query.select import SelectStep
from tsmodel.query.series import Series, SeriesFound
from tsmodel.wire.chunk import Chunk

__all__ = ["Query"]

M = TypeVar("M", bound=TSModel)
R = TypeVar("R")


class Query(SelectStep, FollowEnds[M], ResampleEnds[M], FrameEnds[M], QueryBuilder[M]):
    """A query of a model. Immutable; reads when an end is called: `all`, `first`, `one`, `count`, iteration and others."""

    __slots__ = ()

    def using(self, source: Source) -> Self:
        """Reads from `source`, a session, instead of the innermost open one."""
        return self._with(_source=source)

    def all(self) -> list[M]:
        """All matching records, in no particular order."""
        return self._run(Rows(self._selection(None)))

    def first(self) -> M | None:
        """Some matching record, or None; reading stops at it."""
        rows = self._run(Rows(self._selection(1)))
        return rows[0] if rows else None

    def one(self) -> M:
        """The only matching record.

        Raises:
            NoResultError: when there is none.
            MultipleResultsError: when there are several.
        """
        return self._required(self.one_or_none())

    def one_or_none(self) -> M | None:
        """The only matching record, or None.

        Raises:
            MultipleResultsError: when there are several.
        """
        return self._only(self._run(Rows(self._selection(2))))

    def count(self) -> int:
        """How many records match. They are read, but no objects are made."""
        return self._run(Count(self._selection(None)))

    def exists(self) -> bool:
        """Whether any record matches; reading stops at the first."""
        return self._run(Count(self._selection(1))) > 0

    def __iter__(self) -> Iterator[M]:
        """The matching records one by one, holding no more than a chunk's worth at a time."""
        for rows in self._stream(Rows(self._selection(None))):
            yield from rows

    def batches(self, size: int) -> Iterator[list[M]]:
        """The matching records in lists of `size`, the last one shorter.

        Raises:
            QueryError: when `size` is not at least 1.
        """
        return self._batches(Regrouped(self._checked_size(size)))

    def last_acq(self) -> int:
        """An acq, ns since 2001, below which the records of this query never change again.

        Reading `acq_between(a, q.last_acq())` and going on from there sees every record once.
        """
        backend = self._backend()
        return min(backend.last_acq(box) for box in self._boxes_to_ask())

    def _batches(self, regrouped: Regrouped[M]) -> Iterator[list[M]]:
        for rows in self._stream(Rows(self._selection(None))):
            yield from regrouped.take(rows)
        yield from regrouped.rest()

    def _backend(self) -> Backend:
        backend: Backend = self._reading().backend
        return backend

    def _reading(self) -> Any:
        return self._source or current(self._model.__name__)

    def _bound(self) -> Self:
        return self.using(self._reading())

    def _is_limited(self) -> bool:
        """Whether one more condition could let in other records than it leaves of these."""
        return self._limit is not None or bool(self._arrangement)

    def _at_most(self, most: int) -> Self:
        return self.limit(most if self._limit is None else min(most, self._limit))

    def series(self) -> list[Series]:
        """The series that have matching records, sorted: cid, mid, moid, how many, and their span of capture time. No
        objects are made of the records."""
        return self._run(SeriesFound(self._selection(None)))

    def _run(self, end: End[R]) -> R:
        if not self._arrangement:
            return run(self._backend(), self._boxes(), end, self.stats)
        return fed_whole(self._chunks(), end)

    def _stream(self, end: End[R]) -> Iterator[R]:
        if not self._arrangement:
            return stream(self._backend(), self._boxes(), end, self.stats)
        return fed(self._chunks(), end)

    def _chunks(self) -> Iterable[Chunk]:
        first, *others = self._collectors()
        return self._through(run(self._backend(), self._boxes(), first, self.stats), others)


query_factory.append(Query)
