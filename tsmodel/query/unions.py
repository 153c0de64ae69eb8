"""From conditions on several models to one plan; and conditions bound to the model whose records they are asked of.

Rules kept here:

* Each model's records are asked what its own columns say, also when the condition names the column of a base class or of
  an older version: that one may have another place in the payload, or another type. A column that a model does not have is
  absent from its records, as None is: it meets nothing but `!=`.
* The key ranges are those where any of the models may have such records. That a record has the key components that its
  class fixes is known before the filter: its model was found by them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import and_, or_
from typing import Any

import attrs
import numpy as np

from tsmodel.model.evolution import chain_of
from tsmodel.model.expressions import Comparison, Expression, Leaf, replaced
from tsmodel.model.meta import SCHEMA, schema_of
from tsmodel.model.operands import ColumnInfo
from tsmodel.model.unions import ModelUnion, models_of
from tsmodel.query.masks import Mask, mask_of
from tsmodel.query.planning import Plan, plan
from tsmodel.query.regions import is_key_condition, regions_of

__all__ = ["UnionPlan", "bound_to", "own_column", "plan_of"]


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
        return plan([bound_to(model, each) for each in conditions], max_boxes)
    schemas = [schema_of(each) for each in model.models]
    names = frozenset(schema.model for schema in schemas)
    nothing = schemas[0].columns["cid"].is_in([])

    def asked_of(model: type[Any], condition: Expression) -> Expression:
        return replaced(condition, lambda leaf: _asked(leaf, model, names, nothing))

    whole = reduce(
        or_,
        [
            reduce(
                and_,
                [
                    ~nothing,
                    *(schema.columns[name] == value for name, value in schema.fixed.items()),
                    *(asked_of(each, condition) for condition in conditions),
                ],
            )
            for each, schema in zip(model.models, schemas, strict=True)
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
        tuple(tuple(asked_of(each, condition) for condition in left) for each in model.models),
    )


def own_column(model: Any, column: ColumnInfo) -> ColumnInfo | None:
    """The column of a model, or of the first of a union that has one, that `column` stands for: the one of this name, when
    `column` is the model's own, or one of its base classes or older versions, or is stored in the same way."""
    for each in models_of(model):
        own = schema_of(each).columns.get(column.name)
        if own is not None and (own.info.codec == column.codec or _is_inherited(each, column)):
            return own.info
    return None


def bound_to(model: type[Any], condition: Expression) -> Expression:
    """The condition, asked of a model's own columns, of which it names all.

    Raises:
        QueryError: when an own column cannot be compared with what was given for the one that it stands for.
    """

    def bound(leaf: Leaf) -> Expression:
        own = own_column(model, leaf.column)
        assert own is not None
        return leaf if own is leaf.column else leaf.of(own)

    return replaced(condition, bound)


def _is_inherited(model: type[Any], column: ColumnInfo) -> bool:
    bases = (each for each in map(vars, model.__mro__) if SCHEMA in each)
    lineage = (*(each[SCHEMA] for each in bases), *chain_of(schema_of(model)))
    return any(column.name in each.columns and each.columns[column.name].info is column for each in lineage)


def _asked(condition: Leaf, model: type[Any], models: frozenset[str], nothing: Expression) -> Expression:
    """What a condition asks of one model's records."""
    column = condition.column
    if column.is_key:
        return condition
    is_meant = column.model == schema_of(model).model or column.model not in models
    own = own_column(model, column) if is_meant else None
    if own is not None:
        return condition.of(own)
    if isinstance(condition, Comparison) and (condition.operator, condition.value is None) in (("!=", False), ("==", True)):
        return ~nothing
    return nothing
