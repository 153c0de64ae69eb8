"""The planner: turns a spec into disjoint key ranges and a residual filter, which is evaluated on columns.

Rules kept here:

* Conditions that the key ranges express exactly are not evaluated again. All others form the residual filter.
* The residual is split: conditions on the key alone also apply to records whose payload cannot be decoded.
* A condition is evaluated on the model's own column, even if it names the column of a base class or an older version, which
  may have another offset or type. A column that a model does not have counts as null, which meets only `!=`.
* For several models, the key ranges are those where any of them may have matching records. Key components that a class
  fixes need no filter: they decide which model a record has.
* A mask agrees with Python's comparison of the decoded values with the condition's constants, which is exact. Constants
  were rounded to the width of a float column when the condition was made. NaN meets only `!=`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial, reduce
from itertools import chain as chained
from operator import and_, eq, ge, gt, le, lt, ne, or_
from typing import TYPE_CHECKING, Any, Final

import attrs
import msgspec
import numpy as np
import numpy.typing as npt

from tsmodel.keys import KEY_FIELDS, LIMITS, KeyRange
from tsmodel.model.expressions import (
    And,
    Between,
    Chain,
    ColumnInfo,
    Comparison,
    Expression,
    IsIn,
    Leaf,
    chain_of,
    constants_of,
    folded,
    leaves,
    replaced,
    shortened,
)
from tsmodel.model.meta import schema_of
from tsmodel.model.own_columns import own_column
from tsmodel.model.unions import ModelUnion
from tsmodel.query.boxes import (
    Domain,
    Intervals,
    KeyBounds,
    all_of,
    bounds_of,
    boxes_of,
    complement,
    domain_of,
    intersection,
    is_key_condition,
    of_condition,
    union,
)
from tsmodel.query.spec import QuerySpec
from tsmodel.timestamps import to_iso
from tsmodel.types.numbers import neighbours

if TYPE_CHECKING:
    from tsmodel.query.sinks import RunStats

__all__ = ["Explanation", "Mask", "Plan", "UnionPlan", "bound_to", "mask_of", "plan", "plan_of"]


class Plan(msgspec.Struct, frozen=True):
    """How a query is answered.

    Attributes:
        boxes: disjoint key ranges to read; empty when no key can match.
        key_residual: conditions on the key that the boxes do not express.
        residual: the other conditions that the boxes do not express.
        widened: whether the boxes contain surplus keys, because there would have been too many boxes.
    """

    boxes: tuple[KeyRange, ...]
    key_residual: tuple[Expression, ...]
    residual: tuple[Expression, ...]
    widened: bool

    @property
    def filters(self) -> bool:
        """Whether there is a residual filter."""
        return bool(self.key_residual or self.residual)

    def key_mask(self, records: Any) -> Mask | None:
        """Which records meet the conditions of the residual on the key; None when there are none."""
        return _mask(self.key_residual, records)

    def mask(self, records: Any) -> Mask | None:
        """Which records meet the whole residual; None when there is none."""
        return _mask((*self.key_residual, *self.residual), records)


class UnionPlan(Plan, frozen=True):
    """The plan of a query of several models.

    Attributes:
        members: for each model, the residual filter of its records.
    """

    members: tuple[tuple[Expression, ...], ...] = ()

    def mask(self, records: Any) -> Mask | None:
        """See `Plan.mask`. Takes `UnionRecords`, or any records if the residual concerns only the key."""
        if not self.residual:
            return self.key_mask(records)
        pairs = zip(self.members, records.parts, strict=True)
        return np.concatenate([reduce(and_, [mask_of(term, part) for term in terms]) for terms, part in pairs])


def plan_of(spec: QuerySpec[Any]) -> Plan:
    """Plans a spec."""
    model: Any = spec.model
    conditions, max_boxes = spec.all_conditions, spec.max_boxes
    if not isinstance(model, ModelUnion):
        return plan([bound_to(model, each) for each in conditions], max_boxes)
    schemas = [schema_of(each) for each in model.models]
    names = frozenset(schema.model for schema in schemas)
    nothing = schemas[0].columns["cid"].is_in([])

    def of_member(model: type[Any], condition: Expression) -> Expression:
        return replaced(condition, lambda leaf: _of_member(leaf, model, names, nothing))

    whole = reduce(
        or_,
        [
            reduce(
                and_,
                [
                    ~nothing,
                    *(schema.columns[name] == value for name, value in schema.fixed.items()),
                    *(of_member(each, condition) for condition in conditions),
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
        tuple(tuple(of_member(each, condition) for condition in left) for each in model.models),
    )


def bound_to(model: type[Any], condition: Expression) -> Expression:
    """Rewrites a condition to the model's own columns.

    Raises:
        QueryError: when an own column cannot be compared with the condition's constant.
    """

    def bound(leaf: Leaf) -> Expression:
        own = own_column(model, leaf.column)
        assert own is not None
        return leaf if own is leaf.column else leaf.of(own)

    return replaced(condition, bound)


def plan(conditions: Sequence[Expression], max_boxes: int = 64) -> Plan:
    """Plans a query for records that meet all `conditions`."""
    terms = [term for condition in conditions for term in _conjuncts(condition)]
    # Simple conditions on the key are compiled together: there may be very many.
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


def _of_member(condition: Leaf, model: type[Any], models: frozenset[str], nothing: Expression) -> Expression:
    """The condition for the records of one model of a union."""
    column = condition.column
    if column.is_key:
        return condition
    concerns_model = column.model == schema_of(model).model or column.model not in models
    own = own_column(model, column) if concerns_model else None
    if own is not None:
        return condition.of(own)
    if isinstance(condition, Comparison) and (condition.operator, condition.value is None) in (("!=", False), ("==", True)):
        return ~nothing
    return nothing


Mask = npt.NDArray[np.bool_]

_neighbours = lru_cache(maxsize=1024, typed=True)(neighbours)
"""Cached, because each chunk needs it again. The cache does not tell 0.0 from -0.0, nor does a comparison."""

_COMPARE: Final = {"<": lt, "<=": le, ">": gt, ">=": ge, "==": eq, "!=": ne}
_FEW: Final = 4
"""Up to this many intervals are compared one by one; more are found by binary search."""


def mask_of(condition: Expression, records: Any) -> Mask:
    """Which records of a codec's `fit` meet the condition; shape (n,)."""
    if isinstance(condition, (Comparison, Between, IsIn)):
        return _of_leaf(condition, records)
    return folded(chain_of(condition), _join, lambda chain, held: _of_chain(chain, held, records))


def _join(chain: Chain, held: list[Mask], mask: Mask) -> None:
    """Combines a mask with those of the chain so far."""
    if not held:
        held.append(mask)
    elif chain.is_all:
        held[0] = held[0] & mask
    else:
        held[0] = held[0] | mask


def _of_chain(chain: Chain, held: list[Mask], records: Any) -> Mask:
    """The mask of a chain; `held` has the combined mask of the chains within it."""
    among: dict[str, tuple[Domain, ColumnInfo, list[Intervals]]] = {}
    for leaf, negated in chain.leaves:
        column = leaf.column
        domain = None if column.is_nullable else domain_of(leaf)
        if domain is None:
            mask = _of_leaf(leaf, records)
            _join(chain, held, ~mask if negated else mask)
        else:  # what many leaves say about integers is looked up at once
            intervals = of_condition(leaf, domain)
            among.setdefault(column.name, (domain, column, []))[2].append(
                complement(intervals, domain) if negated else intervals
            )
    for domain, column, sets in among.values():
        within = intersection(sets, domain) if chain.is_all else union(chained.from_iterable(sets))
        _join(chain, held, _inside(column.values(records), within, domain))
    return held[0]


def _of_leaf(condition: Leaf, records: Any) -> Mask:
    present = condition.column.present(records)
    if isinstance(condition, Comparison) and condition.value is None:
        existing: Mask = np.ones(len(records), np.bool_) if present is None else present
        return np.logical_not(existing) if condition.operator == "==" else existing
    if isinstance(condition, IsIn) and condition.column.is_nullable and any(each is None for each in condition.values):
        others = IsIn(condition.column, tuple(given for given in condition.given if given is not None))
        mask = _of_leaf(others, records)
        return mask if present is None else mask | ~present
    mask = _of_values(condition, condition.column.values(records))
    if present is None:
        return mask
    # Like NaN, null meets only "!=".
    met: Mask = mask | ~present if isinstance(condition, Comparison) and condition.operator == "!=" else mask & present
    return met


def _of_values(condition: Comparison | Between | IsIn, column: npt.NDArray[Any]) -> Mask:
    """Which values of a column meet the condition; anything for nulls."""
    number = condition.column.codec.number
    if number is None:
        return _of_objects(condition, column)
    domain = domain_of(condition)
    if domain is not None:
        return _inside(column, of_condition(condition, domain), domain)
    if number.kind == "bool":
        column = column.view(np.uint8) != 0
        if isinstance(condition, IsIn):
            return np.isin(column, np.array(condition.values, np.bool_))
        return _compared(condition, column, lambda value: (value, value))
    if isinstance(condition, IsIn):
        # A number between two neighbouring floats equals no stored value.
        among = [low for low, high in map(partial(_neighbours, numpy=number.numpy), condition.values) if low == high]
        return np.isin(column, np.array(among, number.numpy))
    return _compared(condition, column, partial(_neighbours, numpy=number.numpy))


def _compared(condition: Comparison | Between, column: npt.NDArray[Any], ends: Callable[[Any], tuple[Any, Any]]) -> Mask:
    """Which numbers of a column meet the condition. `ends` gives the stored numbers next to a constant: the greatest not
    above it, and the least not below it."""
    mask: Mask
    if isinstance(condition, Between):
        mask = (column >= ends(condition.low)[1]) & (column < ends(condition.high)[1])
        return mask
    low, high = ends(condition.value)
    if condition.operator in ("==", "!="):
        is_equal = column == low if low == high else np.zeros(len(column), np.bool_)
        return is_equal if condition.operator == "==" else ~is_equal
    compare = _COMPARE[condition.operator]
    mask = compare(column, low if condition.operator in ("<=", ">") else high)
    return mask


def _of_objects(condition: Comparison | Between | IsIn, column: npt.NDArray[Any]) -> Mask:
    """Which objects meet the condition: compared one by one, by Python."""
    holds: Callable[[Any], bool]
    if isinstance(condition, IsIn):
        try:
            known = frozenset(condition.values)
            return np.fromiter((value is not None and value in known for value in column), np.bool_, len(column))
        except TypeError:  # values that cannot be hashed, such as lists
            holds = condition.values.__contains__
    elif isinstance(condition, Between):
        holds = lambda value: condition.low <= value < condition.high  # noqa: E731
    else:
        compare, operand = _COMPARE[condition.operator], condition.value
        holds = lambda value: compare(value, operand)  # noqa: E731
    return np.fromiter((value is not None and holds(value) for value in column), np.bool_, len(column))


def _inside(column: npt.NDArray[Any], intervals: Intervals, domain: Domain) -> Mask:
    if len(intervals) > _FEW:
        return _looked_up(column, intervals)
    mask = np.zeros(len(column), np.bool_)
    for low, high in intervals:
        inside = np.ones(len(column), np.bool_)
        if low > domain[0]:
            inside &= column >= low
        if high < domain[1]:
            inside &= column < high
        mask |= inside
    return mask


def _looked_up(column: npt.NDArray[Any], intervals: Intervals) -> Mask:
    """Finds for each value the last interval that starts at or below it, by binary search."""
    kind = column.dtype.newbyteorder("=")
    lows = np.array([low for low, _ in intervals], kind)
    lasts = np.array([high - 1 for _, high in intervals], kind)
    values = column.astype(kind)
    at = np.searchsorted(lows, values, side="right") - 1
    mask: Mask = (at >= 0) & (values <= lasts[at])
    return mask


_MOST_SHOWN = 8


@attrs.frozen(repr=False)
class Explanation:
    """How a query is answered, to be printed.

    Attributes:
        spec: the query.
        plan: its key ranges and residual filter.
        stats: statistics of its last run; None before the first.
    """

    spec: QuerySpec[Any]
    plan: Plan
    stats: RunStats | None

    @property
    def model(self) -> str:
        """The model's name."""
        return self.spec.model.__name__

    @property
    def limit(self) -> int | None:
        """Most records returned, or None."""
        return self.spec.limit

    def __str__(self) -> str:
        lines = [f"query of {self.model}"]
        boxes = self.plan.boxes
        widened = ", widened because there would be too many" if self.plan.widened else ""
        lines.append(f"  key ranges: {len(boxes)}{widened}" + ("" if boxes else " (nothing can match: nothing is read)"))
        lines += [f"    {number}. {_shown(box)}" for number, box in enumerate(boxes[:_MOST_SHOWN], 1)]
        if len(boxes) > _MOST_SHOWN:
            lines.append(f"    … {len(boxes) - _MOST_SHOWN} more")
        residual = shortened(" & ".join(f"({term})" for term in (*self.plan.key_residual, *self.plan.residual)))
        lines.append(f"  residual filter: {residual or 'none'}")
        if rounded := self._rounded():
            lines.append(f"  rounded to the column's width: {rounded}")
        if self.spec.in_memory:
            lines.append(f"  then: {self.spec.in_memory}")
        if self.limit is not None:
            count = f"{self.limit:,} record{'s' * (self.limit != 1)}"
            is_sort = self.spec.order and self.spec.versions == "all" and not self.spec.per_series
            kept = f"the first {count}" + ("; others are dropped while reading" if is_sort else "")
            lines.append(f"  limit: {kept if self.spec.in_memory else f'stops after {count}'}")
        lines.append(f"  last run: {self.stats or 'none yet'}")
        return "\n".join(lines)

    __repr__ = __str__

    def _rounded(self) -> str:
        """Constants that differ from their text, because they were rounded to the width of their column."""
        found: dict[str, None] = {}
        for term in (*self.plan.key_residual, *self.plan.residual):
            for leaf in leaves(term):
                for value in constants_of(leaf):
                    if isinstance(value, np.floating) and float(str(value)) != float(value):
                        found[f"{leaf.column.alias} {value!s} is {float(value)}"] = None
                if len(found) > _MOST_SHOWN:
                    return ", ".join([*found][:_MOST_SHOWN]) + ", …"
        return ", ".join(found)

    def _repr_html_(self) -> str:
        """The text as a table, for notebooks."""
        from html import escape

        title, *lines = str(self).splitlines()
        rows = []
        for line in lines:
            name, _, value = line.strip().partition(": ")
            if line.startswith("    "):
                rows.append(f"<tr><td></td><td><code>{escape(line.strip())}</code></td></tr>")
            else:
                rows.append(f"<tr><th style='text-align: left'>{escape(name)}</th><td>{escape(value)}</td></tr>")
        return f"<table><caption>{escape(title)}</caption>{''.join(rows)}</table>"


def _shown(box: KeyRange) -> str:
    parts = []
    for name, (low, high) in zip(KEY_FIELDS, box.intervals(), strict=True):
        limits = LIMITS[name]
        if (low, high) == (limits.least, limits.bound):
            continue
        text = to_iso if name in ("cap", "acq") else str
        start = "min" if low == limits.least else text(low)
        stop = "max" if high == limits.bound else text(high)
        parts.append(f"{name} {start}" if high == low + 1 else f"{name} [{start}, {stop})")
    return ", ".join(parts) or "all keys"
