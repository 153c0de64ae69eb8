"""Frames of a query's records: dicts of arrays, structured arrays, Arrow tables. A sink adds the records of each chunk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tsmodel.frames.arrow import ArrowColumn, arrow_schema
from tsmodel.frames.columns import GrowingColumn, Wanted, chosen, fill, lying_within, structured
from tsmodel.frames.growing import Growing
from tsmodel.frames.libraries import library
from tsmodel.wire.records import octets_of

__all__ = ["ArrowFrame", "ColumnsFrame", "Frame", "StructuredFrame"]


class Frame:
    """Something made of records.

    Args:
        model: the records' model.
        wanted: the columns to take; all of them when none is named.
    """

    def __init__(self, model: type[Any], wanted: Sequence[Wanted]) -> None:
        self.model = model
        self.infos = chosen(model, wanted)

    def add(self, records: Any) -> None:
        """Takes records that a codec's `fit` gave; they need not stay valid."""
        raise NotImplementedError

    def result(self) -> Any:
        """What came of the records since it was last asked."""
        raise NotImplementedError


class ColumnsFrame(Frame):
    """A dict of arrays, one for each column."""

    def __init__(self, model: type[Any], wanted: Sequence[Wanted]) -> None:
        super().__init__(model, wanted)
        self._columns = [GrowingColumn(info) for info in self.infos]

    def add(self, records: Any) -> None:
        """See `Frame.add`."""
        for column in self._columns:
            column.add(records)

    def result(self) -> dict[str, npt.NDArray[Any]]:
        """See `Frame.result`."""
        return {info.alias: column.result() for info, column in zip(self.infos, self._columns, strict=True)}


class StructuredFrame(Frame):
    """One structured array of the fields as they are stored.

    Where nearly all of a record is asked for, whole records are taken, and the array's dtype has gaps for what is not: they
    are copied at once.
    """

    def __init__(self, model: type[Any], wanted: Sequence[Wanted]) -> None:
        super().__init__(model, wanted)
        self.dtype = structured(model, self.infos)
        self._taken: Growing | None = None
        self._whole: np.dtype[Any] | None = None

    def add(self, records: Any) -> None:
        """See `Frame.add`."""
        if not len(records):
            return
        dtype = records.dtype if isinstance(records, np.ndarray) else None
        if self._taken is None:
            lying = None if dtype is None else lying_within(self.dtype, self.infos, dtype)
            self._taken = Growing(self.dtype if lying is None else lying)
            self._whole = None if lying is None else dtype
        taken = self._taken.room(len(records))
        if dtype is not None and dtype == self._whole:
            octets_of(taken)[:] = octets_of(records)
        else:
            fill(taken, self.infos, records)

    def result(self) -> npt.NDArray[Any]:
        """See `Frame.result`."""
        return np.empty(0, self.dtype) if self._taken is None else self._taken.result()


class ArrowFrame(Frame):
    """An Arrow table."""

    def __init__(self, model: type[Any], wanted: Sequence[Wanted]) -> None:
        super().__init__(model, wanted)
        self.schema = arrow_schema(model, self.infos)
        self._columns = [ArrowColumn(info, kind) for info, kind in zip(self.infos, self.schema.types, strict=True)]

    def add(self, records: Any) -> None:
        """See `Frame.add`."""
        if len(records):
            for column in self._columns:
                column.add(records)

    def result(self) -> Any:
        """See `Frame.result`; a `pyarrow.Table`."""
        columns = [column.result() for column in self._columns]
        return library("pyarrow", "to_arrow()").Table.from_arrays(columns, schema=self.schema)
