"""The steps of a query that put records in order, or leave out all but some versions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs
from typing_extensions import Self

from tsmodel.codec.fixed_rows import FixedRowCodec
from tsmodel.codec.variable_rows import VariableRowCodec
from tsmodel.errors import QueryError
from tsmodel.keys import KEY_FIELDS
from tsmodel.model.base import TSModel, codec_of
from tsmodel.model.columns import Column
from tsmodel.model.expressions import Expression
from tsmodel.model.ordering import Order
from tsmodel.query.arranging import Arranged, Arrangement, ByKey, collectors, through
from tsmodel.query.ends import OnError, Selection
from tsmodel.query.planning import Plan
from tsmodel.query.stats import RunStats
from tsmodel.query.unions import own_column
from tsmodel.timestamps import TimeLike
from tsmodel.wire.chunk import Chunk

__all__ = ["ArrangementSteps"]

M = TypeVar("M", bound=TSModel)


class ArrangementSteps(Generic[M]):
    """Steps of `QueryBuilder`."""

    __slots__ = ()

    if TYPE_CHECKING:
        _model: type[M]
        _arrangement: Arrangement
        _on_error: OnError
        _wanted: int | None

        @property
        def stats(self) -> RunStats: ...
        def where(self, *conditions: Expression) -> Self: ...
        def _with(self, **changes: Any) -> Self: ...
        def _planned(self) -> Plan: ...
        def _column(self, name: str) -> Column[int]: ...

    def order_by(self, *columns: Column[Any] | Order) -> Self:
        """Records sorted by columns, the most significant first: `order_by(Reading.cap.desc(), Reading.mid)`.

        A database gives records in no particular order: all that match are read before the first is given, and held in
        memory, with `limit(n)` the best n of them. None and NaN come last. Records with equal values stay as they came.

        Raises:
            QueryError: for what is no column of the model, or one without an order; when run, for more records than
                `max_rows_in_memory`.
        """
        if not columns:
            raise QueryError("order_by takes columns, such as order_by(Reading.cap.desc(), Reading.mid)")
        return self._arranged(order=tuple(map(self._order, columns)))

    def latest(self) -> Self:
        """Of each cid, mid, moid and cap only the newest version, that of the greatest acq: corrections replace what they
        correct.

        Versions are compared before conditions on the payload are looked at, among those that conditions on the key
        let in: a condition on acq makes it the newest version within.
        """
        return self._arranged(latest=True)

    def as_of(self, acq: TimeLike) -> Self:
        """What the database knew at a time: the newest versions among those acquired at `acq` or before."""
        return self.where(self._column("acq") <= acq).latest()

    def revisions(self) -> Self:
        """All versions, those of one cid, mid, moid and cap side by side, the oldest first."""
        return self._arranged(order=tuple(self._order(self._column(name)) for name in KEY_FIELDS))

    def first_per_series(self) -> Self:
        """Of each cid, mid and moid only the record captured first, of those that match."""
        return self._arranged(per_series="first")

    def last_per_series(self) -> Self:
        """Of each cid, mid and moid only the record captured last, of those that match."""
        return self._arranged(per_series="last")

    def max_rows_in_memory(self, most: int) -> Self:
        """Most records that order_by, latest and others may hold (default 10 million) before they give up with an error."""
        if type(most) is not int or most < 1:
            raise QueryError(f"max_rows_in_memory takes an int from 1, not {most!r}")
        return self._arranged(most=most)

    def _arranged(self, **changes: Any) -> Self:
        return self._with(_arrangement=attrs.evolve(self._arrangement, **changes))

    def _order(self, column: object) -> Order:
        order = Order(column.info) if isinstance(column, Column) else column
        if not isinstance(order, Order):
            raise QueryError(f"order_by takes columns, such as {self._model.__name__}.cap, not {column!r}")
        own = own_column(self._model, order.column)
        if own is None:
            raise QueryError(f"{order.column.model}.{order.column.alias} is not a column of {self._model.__name__}")
        order = attrs.evolve(order, column=own)
        if order.column.codec.comparisons != "all":
            raise QueryError(f"{order.column.model}.{order.column.alias} ({order.column.codec.label}) has no order")
        if not self._is_plain:
            raise QueryError("records of several models or versions are not put in order: sort what all() gives")
        return order

    @property
    def _is_plain(self) -> bool:
        return isinstance(codec_of(self._model), (FixedRowCodec, VariableRowCodec))

    def _collectors(self) -> list[ByKey | Arranged]:
        arrangement, plan, stats = self._arrangement, self._planned(), self.stats
        selection = Selection(self._model, plan, None, self._on_error, stats) if self._is_plain else None
        if arrangement.per_series and selection is None and plan.residual:
            raise QueryError(
                f"{arrangement} of several models or versions takes conditions on the key only; take those on fields off"
            )
        return collectors(plan, arrangement, selection, self._wanted, stats)

    def _plainly(self, what: str) -> None:
        """Refuses what cannot be had of an arrangement."""
        if self._arrangement:
            raise QueryError(f"{what} goes along records as they come, without {self._arrangement}")

    def _through(self, chunks: Iterable[Chunk], others: list[ByKey | Arranged]) -> Iterable[Chunk]:
        """Chunks after they have gone through collectors; what these picked is counted when it is given back."""
        chunks = through(chunks, others)
        self.stats.records_returned = 0
        return chunks
