"""The model's own column for a column of a base class or of an older version.

Rules kept here:

* Wherever columns are named, in conditions, `select`, `order_by`, frames and aggregates, the same ones are accepted.
"""

from __future__ import annotations

from typing import Any

from tsmodel.errors import QueryError
from tsmodel.model.evolution import chain_of
from tsmodel.model.expressions import ColumnInfo
from tsmodel.model.meta import SCHEMA, schema_of
from tsmodel.model.unions import models_of

__all__ = ["column_of", "listed", "own_column"]


def own_column(model: Any, column: ColumnInfo) -> ColumnInfo | None:
    """The model's own column for `column`; None if it has none. Of a union, the first model that has one counts.

    It is the column of that name if `column` belongs to the model, to a base class or to an older version, or is stored in
    the same way.
    """
    for each in models_of(model):
        own = schema_of(each).columns.get(column.name)
        if own is not None and (own.info is column or own.info.codec == column.codec or _is_inherited(each, column)):
            return own.info
    return None


def column_of(model: Any, column: ColumnInfo, what: str = "") -> ColumnInfo:
    """The model's own column for `column`; see `own_column`.

    Raises:
        QueryError: on behalf of `what`, when it has none.
    """
    own = own_column(model, column)
    if own is None:
        raise QueryError(f"{what}{column.model}.{column.alias} is not a column of {listed(model)}")
    return own


def listed(model: Any) -> str:
    """The name of a model and the names of its columns."""
    names = dict.fromkeys(name for each in models_of(model) for name in schema_of(each).columns)
    return f"{model.__name__}, which has {', '.join(names)}"


def _is_inherited(model: type[Any], column: ColumnInfo) -> bool:
    bases = (each for each in map(vars, model.__mro__) if SCHEMA in each)
    lineage = (*(each[SCHEMA] for each in bases), *chain_of(schema_of(model)))
    return any(column.name in each.columns and each.columns[column.name].info == column for each in lineage)
