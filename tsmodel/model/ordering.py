"""An order of records: `Reading.cap.desc()`."""

from __future__ import annotations

import attrs

from tsmodel.model.operands import ColumnInfo

__all__ = ["Order"]


@attrs.frozen
class Order:
    """A column by which records are put in order, for `query.order_by(...)`.

    Attributes:
        column: the column.
        descending: whether the greatest value comes first. What is absent, or not a number, comes last either way.
    """

    column: ColumnInfo
    descending: bool = False

    def __str__(self) -> str:
        return f"{self.column.alias} descending" if self.descending else self.column.alias
