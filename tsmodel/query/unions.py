"""From conditions on several models to one plan; and conditions bound to the model whose records they are asked of.

Rules kept here:

* Each model's records are asked what its own columns say. A column that a model does not have is absent from its records,
  as None is: it meets nothing but `!=`.
* The key ranges are those where any of the models may have such records. That a record has the key components that its
  class fixes is known before the filter: its model was found by them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import and_, or_
from typing import Any

import attrs
import numpy as np

from tsmodel.model.columns import Column
from tsmodel.model.expressions import Comparison, Expression, Leaf, replaced
from tsmodel.model.meta import schema_of
from tsmodel.model.operands import ColumnInfo
from tsmodel.model.unions import ModelUnion, models_of
from tsmodel.query.masks import Mask, mask_of
from tsmodel.query.planning import Plan, plan
from tsmodel.query.regions import is_key_condition, regions_of

__all__ = ["UnionPlan", "column_named", "plan_of"]

Columns = Mapping[str, Column[Any]]


@attrs.frozen
class UnionPlan(Plan):
    """See `Plan`.

    Attributes:
        members: for each model, what is left to ask of its records.
    """

    members: tuple[tuple[Expression, ...], ...] = ()

    def mask(self, records: Any) -> Mask | None:
        """See `Plan.mask`; of `UnionRecords`, or of records of which nothing but the key is asked."""
        if not self.residual:
            return self.key_mask(records)
        pairs = zip(self.members, records.parts, strict=True)
        return np.concatenate([reduce(and_, [mask_of(term, part) for term in terms]) for terms, part in pairs])


def plan_of(model: Any, conditions: Sequence[Expression], max_boxes: int) -> Plan:
    """The plan for the records of a model, or of a union of models, that meet all `conditions`."""
    if not isinstance(model, ModelUnion):
        columns = schema_of(model).columns
        return plan([replaced(each, lambda leaf: _rebound(leaf, columns)) for each in conditions], max_boxes)
    schemas = [schema_of(each) for each in model.models]
    names = frozenset(schema.model for schema in schemas)
    nothing = schemas[0].columns["cid"].is_in([])

    def asked_of(model: str, columns: Columns, condition: Expression) -> Expression:
        return replaced(condition, lambda leaf: _asked(leaf, model, columns, names, nothing))

    whole = reduce(
        or_,
        [
            reduce(
                and_,
                [
                    ~nothing,
                    *(schema.columns[name] == value for name, value in schema.fixed.items()),
                    *(asked_of(schema.model, schema.columns, each) for each in conditions),
                ],
            )
            for schema in schemas
        ],
    )
    read = plan([whole], max_boxes)
    covered = not read.widened and not regions_of(whole).relaxed
    left = [each for each in conditions if not (covered and is_key_condition(each) and regions_of(each).exact)]
    return UnionPlan(
        read.boxes,
        tuple(each for each in left if is_key_condition(each)),
        tuple(each for each in left if not is_key_condition(each)),
        read.widened,
        tuple(tuple(asked_of(schema.model, schema.columns, each) for each in left) for schema in schemas),
    )


def column_named(model: Any, column: ColumnInfo) -> bool:
    """Whether a model, or one of a union, has this column."""
    found = (schema_of(each).columns.get(column.name) for each in models_of(model))
    return any(each is not None and each.info.codec == column.codec for each in found)


def _rebound(condition: Leaf, columns: Columns) -> Expression:
    """The same, asked of a model's own column: one of a base class may have another place in the payload."""
    info = columns[condition.column.name].info
    return condition if info is condition.column else attrs.evolve(condition, column=info)


def _asked(condition: Leaf, model: str, columns: Columns, models: frozenset[str], nothing: Expression) -> Expression:
    """What a condition asks of one model's records."""
    column = condition.column
    if column.is_key:
        return condition
    own = columns.get(column.name)
    is_meant = column.model == model or column.model not in models
    if is_meant and own is not None and own.info.codec == column.codec:
        return _rebound(condition, columns)
    if isinstance(condition, Comparison) and (condition.operator, condition.value is None) in (("!=", False), ("==", True)):
        return ~nothing
    return nothing
