"""From a query's conditions to what is read and what is filtered.

Rules kept here:

* Conditions that the key ranges express exactly are not evaluated again; all others are the residual filter.
* The residual is split: what it says about the key alone decides also for records whose payload cannot be decoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import attrs

from tsmodel.keys import KeyRange
from tsmodel.model.expressions import And, Between, Comparison, Expression, IsIn
from tsmodel.query.boxes import boxes_of
from tsmodel.query.masks import Mask, mask_of
from tsmodel.query.regions import all_of, is_key_condition, regions_of

__all__ = ["DEFAULT_MAX_BOXES", "Plan", "plan"]

DEFAULT_MAX_BOXES = 64
"""Most key ranges that one query reads before neighbours are widened into one."""


@attrs.frozen
class Plan:
    """How a query is answered.

    Attributes:
        boxes: disjoint key ranges to read; none when no key can match.
        key_residual: conditions on the key that the boxes do not express.
        residual: all other conditions that are left.
        widened: whether the boxes hold more than was asked for because there would have been too many.
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


def plan(conditions: Sequence[Expression], max_boxes: int = DEFAULT_MAX_BOXES) -> Plan:
    """The plan for records that meet all `conditions`."""
    terms = [term for condition in conditions for term in _conjuncts(condition)]
    # What combines nothing and asks for the key is compiled at once: of such there may be very many.
    simple = [term for term in terms if isinstance(term, (Comparison, Between, IsIn)) and term.column.is_key]
    at_once = regions_of(reduce(And, simple)) if simple else None
    compiled = dict.fromkeys(simple, at_once) if at_once else {}
    compiled.update((term, regions_of(term)) for term in terms if term not in compiled)
    together = all_of(list({id(part): part for part in compiled.values()}.values()))
    boxes = boxes_of(together.regions, max_boxes)
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
