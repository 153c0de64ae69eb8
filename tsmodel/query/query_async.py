"""`AsyncQuery`: the same queries, awaited."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy.typing as npt

from tsmodel.html import Listed
from tsmodel.model.column import Column
from tsmodel.model.model import TSModel
from tsmodel.query.builder import QueryBuilder
from tsmodel.query.context import AsyncSource
from tsmodel.query.executor import AsyncExecutor, Make
from tsmodel.query.query import DEFAULT_BATCH_SIZE
from tsmodel.query.sinks import Count, Framed, Regrouped, Rows
from tsmodel.query.spec import QuerySpec, at_least
from tsmodel.timestamps import DurationLike, TimeLike

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa
    from matplotlib.axes import Axes

    from tsmodel.frames.arrow_tables import DtypeBackend
    from tsmodel.frames.frame import Frame, Wanted
    from tsmodel.query.following import AsyncFollow
    from tsmodel.query.resample import AsyncResampling, Fill
    from tsmodel.query.select import AsyncSelected
    from tsmodel.query.sinks import Series

__all__ = ["AsyncQuery"]

M = TypeVar("M", bound=TSModel)
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
R = TypeVar("R")


class AsyncQuery(QueryBuilder[M]):
    """A query of a model on an asynchronous session: built as `Query` is; what reads is awaited.

    Args:
        what: the model; or a spec, as `query.spec` gives it.
        source: the session to read from.
    """

    __slots__ = ()

    _executor: AsyncExecutor[M]

    @overload
    def __init__(self, what: type[M], source: AsyncSource) -> None: ...
    @overload
    def __init__(self, what: QuerySpec[M], source: AsyncSource) -> None: ...
    def __init__(self, what: Any, source: AsyncSource) -> None:
        super().__init__(AsyncExecutor(what if isinstance(what, QuerySpec) else QuerySpec(what), source))

    def using(self, source: AsyncSource) -> AsyncQuery[M]:
        """Reads from `source`, an asynchronous session."""
        return type(self)(self.spec, source)

    async def all(self) -> list[M]:
        """See `Query.all`."""
        return Listed(await self._run(Rows))

    async def first(self) -> M | None:
        """See `Query.first`."""
        rows: list[M] = await self._run(Rows, 1)
        return rows[0] if rows else None

    async def one(self) -> M:
        """See `Query.one`."""
        return self._required(await self.one_or_none())

    async def one_or_none(self) -> M | None:
        """See `Query.one_or_none`."""
        return self._only(await self._run(Rows, 2))

    async def count(self) -> int:
        """See `Query.count`."""
        return await self._run(Count)

    async def exists(self) -> bool:
        """See `Query.exists`."""
        return await self._run(Count, 1) > 0

    def __aiter__(self) -> AsyncIterator[M]:
        """The matching records one by one. When stopping early, `aclose()` the iterator: it may hold a connection."""
        return self._executor.stream(self._executor.streaming(Rows))

    def batches(self, size: int) -> AsyncIterator[list[M]]:
        """See `Query.batches`."""
        return self._executor.stream(self._executor.streaming(Rows, Regrouped(size)))

    async def last_acq(self) -> int:
        """See `Query.last_acq`."""
        return await self._executor.run(self._executor.asking())

    async def delete(
        self,
        dry_run: bool = False,
        *,
        note: str | None = None,
        undecodable: bool = False,
        allow_full_scan: bool = False,
    ) -> int:
        """See `Query.delete`. It goes on to its end in a thread, also when it is cancelled."""
        return await self._executor.run(
            self._executor.removing(
                "delete", dry_run=dry_run, note=note, undecodable=undecodable, allow_full_scan=allow_full_scan
            )
        )

    async def series(self) -> list[Series]:
        """See `Query.series`."""
        from tsmodel.query.sinks import SeriesFound

        return await self._run(SeriesFound)

    @overload
    def select(self, a: Column[A], /) -> AsyncSelected[tuple[A]]: ...
    @overload
    def select(self, a: Column[A], b: Column[B], /) -> AsyncSelected[tuple[A, B]]: ...
    @overload
    def select(self, a: Column[A], b: Column[B], c: Column[C], /) -> AsyncSelected[tuple[A, B, C]]: ...
    @overload
    def select(self, a: Column[A], b: Column[B], c: Column[C], d: Column[D], /) -> AsyncSelected[tuple[A, B, C, D]]: ...
    @overload
    def select(
        self, a: Column[A], b: Column[B], c: Column[C], d: Column[D], e: Column[E], /
    ) -> AsyncSelected[tuple[A, B, C, D, E]]: ...
    @overload
    def select(self, *columns: Column[Any]) -> AsyncSelected[tuple[Any, ...]]: ...
    @overload
    def select(self, **named: Column[Any]) -> AsyncSelected[Any]: ...
    def select(self, *columns: Column[Any], **named: Column[Any]) -> AsyncSelected[Any]:
        """See `Query.select`."""
        from tsmodel.query.select import AsyncSelected

        return AsyncSelected(self._executor, columns, named)

    def resample(
        self,
        every: DurationLike,
        *,
        origin: TimeLike | None = None,
        tz: str | dt.tzinfo | None = None,
        fill: Fill | None = None,
    ) -> AsyncResampling:
        """See `Query.resample`; its `agg` is awaited."""
        from tsmodel.query.resample import AsyncResampling

        return AsyncResampling(self._executor, every, origin, tz, fill)

    def follow(
        self,
        since: TimeLike | None = None,
        poll: DurationLike = "1s",
        checkpoint: str | os.PathLike[str] | None = None,
        *,
        checkpoint_every: int = 1,
        wait: bool = True,
    ) -> AsyncFollow[M]:
        """See `Query.follow`. The checkpoint is written without awaiting."""
        from tsmodel.query.following import AsyncFollow, follow_plan

        return AsyncFollow(follow_plan(self._executor, since, poll, checkpoint, checkpoint_every, wait=wait))

    async def to_numpy(self, *columns: Wanted) -> npt.NDArray[Any]:
        """See `Query.to_numpy`."""
        from tsmodel.frames.frame import StructuredFrame

        array: npt.NDArray[Any] = await self._framed(StructuredFrame(self.spec.model, columns))
        return array

    async def columns(self, *columns: Wanted) -> dict[str, npt.NDArray[Any]]:
        """See `Query.columns`."""
        from tsmodel.frames.frame import ColumnsFrame

        arrays: dict[str, npt.NDArray[Any]] = await self._framed(ColumnsFrame(self.spec.model, columns))
        return arrays

    async def to_arrow(self, *columns: Wanted) -> pa.Table:
        """See `Query.to_arrow`."""
        from tsmodel.frames.frame import ArrowFrame

        return await self._framed(ArrowFrame(self.spec.model, columns))

    async def to_pandas(
        self,
        *columns: Wanted,
        tz: str = "UTC",
        index: str | tuple[str, ...] | None = None,
        dtype_backend: DtypeBackend | None = None,
    ) -> pd.DataFrame:
        """See `Query.to_pandas`."""
        from tsmodel.frames.arrow_tables import pandas_of

        return pandas_of(await self.to_arrow(*columns), tz, index, dtype_backend)

    async def plot(
        self,
        y: Wanted | Sequence[Wanted],
        *,
        x: Wanted = "cap",
        by: Wanted | Sequence[Wanted] | None = ("cid", "mid", "moid"),
        ax: Axes | None = None,
        tz: str | dt.tzinfo = "UTC",
        max_lines: int = 20,
    ) -> Axes:
        """See `Query.plot`."""
        from tsmodel.frames.charts import Chart

        chart = Chart.of(self.spec.model, x, y, by, ax=ax, tz=tz, max_lines=max_lines)
        return chart.draw(await self.to_arrow(*chart.columns))

    async def to_polars(self, *columns: Wanted) -> pl.DataFrame:
        """See `Query.to_polars`."""
        from tsmodel.frames.arrow_tables import polars_of

        return polars_of(await self.to_arrow(*columns))

    def iter_arrow(self, *columns: Wanted, batch_size: int = DEFAULT_BATCH_SIZE) -> AsyncIterator[pa.RecordBatch]:
        """See `Query.iter_arrow`. When stopping early, `aclose()` the iterator: it may hold a connection."""
        from tsmodel.frames.arrow_tables import Rebatched
        from tsmodel.frames.frame import ArrowFrame

        framed = partial(Framed, frame=ArrowFrame(self.spec.model, columns))
        work = self._executor.streaming(framed, Rebatched(at_least(1, batch_size, "batches")))
        return self._executor.stream(work)

    async def _run(self, make: Make[R], limit: int | None = None) -> R:
        return await self._executor.run(self._executor.running(make, limit))

    async def _framed(self, frame: Frame) -> Any:
        return await self._run(partial(Framed, frame=frame))
