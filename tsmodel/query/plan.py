"""The planner: from a spec to disjoint key ranges, and a residual filter.

Rules kept here:

* Conditions that the key ranges express exactly are not evaluated again; all other conditions are the residual filter.
* The residual is split: conditions on the key alone also apply to records whose payload cannot be decoded.
* A condition is evaluated on each model's own column, also when it names the column of a base class or of an older version:
  that column may have another offset or another type. A column that a model does not have is absent from its records, as
  None is: it meets only `!=`.
* The key ranges of several models are those where any of the models may have matching records. The key components that a
  class fixes need no filter: the model of a record was found by them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import and_, or_
from typing import Any

import msgspec
import numpy as np

from tsmodel.keys import KeyRange
from tsmodel.model.expressions import And, Between, Comparison, Expression, IsIn, Leaf, replaced
from tsmodel.model.meta import schema_of
from tsmodel.model.unions import ModelUnion
from tsmodel.query.boxes import KeyBounds, all_of, bounds_of, boxes_of, is_key_condition
from tsmodel.query.masks import Mask, mask_of
from tsmodel.query.spec import QuerySpec, own_column

__all__ = ["Plan", "UnionPlan", "bound_to", "plan", "plan_of"]


class Plan(msgspec.Struct, frozen=True):
    """How a query is answered.

    Attributes:
        boxes: disjoint key ranges to read; none when no key can match.
        key_residual: conditions on the key that the boxes do not express.
        residual: all other conditions that are left.
        widened: whether the boxes hold more than was asked for, because there would have been too many of them.
    """

    boxes: tuple[KeyRange, ...]
    key_residual: tuple[Expression, ...]
    residual: tuple[Expression, ...]
    widened: bool

    @property
    def filters(self) -> bool:
        """Whether records that are read may still be left out."""
        return bool(self.key_residual or self.residual)

    def key_mask(self, records: Any) -> Mask | None:
        """Which records meet the residual's conditions on the key; None when there are none."""
        return _mask(self.key_residual, records)

    def mask(self, records: Any) -> Mask | None:
        """Which records meet the whole residual; None when there is none."""
        return _mask((*self.key_residual, *self.residual), records)


class UnionPlan(Plan, frozen=True):
    """See `Plan`.

    Attributes:
        members: for each model, the residual conditions on its records.
    """

    members: tuple[tuple[Expression, ...], ...] = ()

    def mask(self, records: Any) -> Mask | None:
        """See `Plan.mask`; of `UnionRecords`, or of any records where only the key is filtered."""
        if not self.residual:
            return self.key_mask(records)
        pairs = zip(self.members, records.parts, strict=True)
        return np.concatenate([reduce(and_, [mask_of(term, part) for term in terms]) for terms, part in pairs])


def plan_of(spec: QuerySpec[Any]) -> Plan:
    """The plan of a spec."""
    model: Any = spec.model
    conditions, max_boxes = spec.all_conditions, spec.max_boxes
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
    covered = not read.widened and not bounds_of(whole).relaxed
    left = [each for each in conditions if not (covered and is_key_condition(each) and bounds_of(each).exact)]
    return UnionPlan(
        read.boxes,
        tuple(each for each in left if is_key_condition(each)),
        tuple(each for each in left if not is_key_condition(each)),
        read.widened,
        tuple(tuple(asked_of(each, condition) for condition in left) for each in model.models),
    )


def bound_to(model: type[Any], condition: Expression) -> Expression:
    """The condition on a model's own columns; it names no others.

    Raises:
        QueryError: when an own column cannot be compared with what was given for the one that it stands for.
    """

    def bound(leaf: Leaf) -> Expression:
        own = own_column(model, leaf.column)
        assert own is not None
        return leaf if own is leaf.column else leaf.of(own)

    return replaced(condition, bound)


def plan(conditions: Sequence[Expression], max_boxes: int = 64) -> Plan:
    """The plan for records that meet all `conditions`."""
    terms = [term for condition in conditions for term in _conjuncts(condition)]
    # What combines nothing and asks for the key is compiled at once: of such there may be very many.
    simple: list[Expression] = [
        term for term in terms if isinstance(term, (Comparison, Between, IsIn)) and term.column.is_key
    ]
    at_once = bounds_of(reduce(And, simple)) if simple else None
    compiled: dict[Expression, KeyBounds] = dict.fromkeys(simple, at_once) if at_once else {}
    compiled.update((term, bounds_of(term)) for term in terms if term not in compiled)
    together = all_of(list({id(part): part for part in compiled.values()}.values()))
    boxes = boxes_of(together.products, max_boxes)
    covered = not boxes.widened and not together.relaxed
    left = [term for term in terms if not (compiled[term].exact and covered)]
    return Plan(
        boxes.boxes,
        tuple(term for term in left if is_key_condition(term)),
        tuple(term for term in left if not is_key_condition(term)),
        boxes.widened,
    )


def _conjuncts(condition: Expression) -> list[Expression]:
    left, found = [condition], []
    while left:
        term = left.pop()
        if isinstance(term, And):
            left += (term.right, term.left)
        else:
            found.append(term)
    return found


def _mask(terms: tuple[Expression, ...], records: Any) -> Mask | None:
    if not terms:
        return None
    return mask_of(reduce(And, terms), records)


def _asked(condition: Leaf, model: type[Any], models: frozenset[str], nothing: Expression) -> Expression:
    """The condition on one model's records."""
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
