"""Conditions on the columns of a model, as values; and what a column is, and what may be compared with it.

Rules kept here:

* An expression is an immutable tree. It knows nothing of key ranges or arrays: the query room compiles it.
* `&`, `|` and `~` combine expressions. `and`, `or`, `not` and `if` need a truth value, which an expression refuses to have.
* Operands are checked and converted by the column when the condition is made. The original operand is kept as well: for
  another column, such as that of a newer version, the condition converts it as that column does.
* Nothing recurses: conditions may be as deep as memory allows. Walks are linear in the number of terms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Literal, NoReturn, TypeAlias, TypeGuard, TypeVar, cast

import attrs
import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from tsmodel.errors import QueryError
from tsmodel.layout import LayoutField, SpanRecords, VariableRecords
from tsmodel.types.codec import FieldCodec, FixedCodec
from tsmodel.types.field_faults import FieldFault

__all__ = [
    "And",
    "Between",
    "Chain",
    "ColumnInfo",
    "Comparison",
    "Expression",
    "IsIn",
    "Leaf",
    "Not",
    "Operator",
    "Or",
    "chain_of",
    "comparable",
    "constants_of",
    "folded",
    "leaves",
    "replaced",
    "shortened",
]


Mask = npt.NDArray[np.bool_]


@attrs.frozen
class ColumnInfo:
    """One column of a model.

    Attributes:
        model: the model's name, for messages.
        name: the field's name, or that of the key component.
        codec: how it is stored.
        is_key: whether it is a component of the key.
        alias: the model's own name of it.
        field: its place in the payload; None for a component of the key.
        is_nullable: whether values may be None.
    """

    model: str
    name: str
    codec: FieldCodec
    is_key: bool
    alias: str
    field: LayoutField | None = None
    is_nullable: bool = attrs.field(
        init=False,
        eq=False,
        repr=False,
        default=attrs.Factory(lambda self: self.codec.is_nullable, takes_self=True),
    )

    @property
    def fixed(self) -> FixedCodec:
        """How a value that is there is stored, for a column of fixed width."""
        fixed = self.codec.as_fixed if self.field is None else self.field.fixed
        assert fixed is not None
        return fixed

    def operand(self, value: object, *, ordering: bool = False) -> Any:
        """`value` as what the column is compared with: a number where stored numbers are, otherwise a value.

        `ordering` says that more than equality is asked.

        Raises:
            QueryError: when the column can never be compared with such a value.
        """
        if self.codec.comparisons == "none" or (ordering and self.codec.comparisons == "equality"):
            how = "compared" if self.codec.comparisons == "none" else "ordered; == and != can be asked"
            raise QueryError(f"{self.model}.{self.alias} ({self.codec.label}) cannot be {how}")
        if value is None and self.is_nullable:
            if ordering:
                raise QueryError(f"{self.model}.{self.alias} cannot be ordered with None; == and != can be asked")
            return None
        try:
            if self.codec.number is not None:
                return self.codec.operand(value)
            return self.codec.constant(value)
        except FieldFault as fault:
            label = f" ({self.codec.label}) " if fault.why.startswith("cannot") else ": "
            raise QueryError(f"{self.model}.{self.alias}{label}{fault.why}") from fault.__cause__ or fault

    def values(self, records: Any) -> npt.NDArray[Any]:
        """The column of some records that a codec's `fit` gave, shape (n,): stored numbers where the codec has a `number`
        (any number where the value is absent), otherwise values as objects (None where absent)."""
        if isinstance(records, VariableRecords) and not self.is_key:
            column: npt.NDArray[Any] = records[self.name]
            return self._comparables(column) if self.codec.number is None else self._numbers(column)
        if self.field is None:
            return records[self.name]  # type: ignore[no-any-return]
        if self.has_spans(records):
            return self._comparables(records.objects(self.field))
        column = records[self.field.slot]
        item = self.field.fixed
        if self.codec.number is not None:
            return item.numbers(column)
        objects = np.empty(len(column), object)
        objects[:] = [item.load(stored) for stored in item.stored_of(column)]
        if self.field.bit is not None:
            objects[~self._layout_present(records)] = None
        return self._comparables(objects)

    def objects(self, records: Any) -> list[Any]:
        """The values of some records that a codec's `fit` gave, as objects of the model have them."""
        if isinstance(records, VariableRecords) and not self.is_key:
            at = records.names.index(self.name)
            return [values[at] for values in records.values]
        if self.field is None:
            return records[self.name].tolist()  # type: ignore[no-any-return]
        if self.has_spans(records):
            return records.objects(self.field)
        item = self.field.fixed
        stored = item.stored_of(records[self.field.slot])
        if self.field.bit is None:
            return stored if item.is_plain else list(map(item.load, stored))
        present = self._layout_present(records).tolist()
        return [item.load(each) if there else None for each, there in zip(stored, present, strict=True)]

    def has_spans(self, records: Any) -> TypeGuard[SpanRecords]:
        """Whether the values are of variable length, and it is known where each lies in the records."""
        return isinstance(records, SpanRecords) and self.field is not None and self.field.name in records.spans

    def present(self, records: Any) -> Mask | None:
        """In which of some records there is a value, shape (n,); None when it is everywhere."""
        if not self.is_nullable:
            return None
        if isinstance(records, VariableRecords):
            present: Mask = np.array([value is not None for value in records[self.name]], np.bool_)
            return present
        assert self.field is not None
        if self.field.bit is not None:
            return self._layout_present(records)
        absent = self.field.fixed.absent(records[self.name])
        return None if absent is None else ~absent

    def _layout_present(self, records: Any) -> Mask:
        assert self.field is not None
        return self.field.present(records)

    def _comparables(self, values: Sequence[Any] | npt.NDArray[Any]) -> npt.NDArray[Any]:
        comparables = np.empty(len(values), object)
        comparables[:] = [None if value is None else self.codec.comparable(value) for value in values]
        return comparables

    def stored(self, records: Any) -> npt.NDArray[Any]:
        """The same as it is stored, in its byte order; shape (n,). For records of fixed size."""
        if self.field is None:
            return records[self.name]  # type: ignore[no-any-return]
        return self.field.fixed.stored_numbers(records[self.field.slot])

    def _numbers(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        assert self.field is not None
        return self.field.fixed.numbers_of(values.tolist())


Operator = Literal["<", "<=", ">", ">=", "==", "!="]


class Expression:
    """A condition on records: `Reading.volts > 240`, combined by `&`, `|` and `~`."""

    __slots__ = ()

    def __and__(self, other: Expression) -> Expression:
        return And(self, _expression(other, "&"))

    def __or__(self, other: Expression) -> Expression:
        return Or(self, _expression(other, "|"))

    def __invert__(self) -> Expression:
        return Not(self)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __repr__(self) -> str:
        return f"<condition {self}>"

    def __bool__(self) -> NoReturn:
        raise QueryError(
            f"({shortened(str(self))}) is a condition, not a truth value: combine conditions with & | ~ and parentheses, "
            "and use between() instead of a < x < b"
        )


def _expression(value: object, operator: str) -> Expression:
    if not isinstance(value, Expression):
        raise QueryError(f"{operator} combines conditions, not {value!r}; mind the parentheses: (a > 1) {operator} (b < 2)")
    return value


@attrs.frozen(eq=False, repr=False)
class Comparison(Expression):
    """`column operator given`; `value` is what the column makes of it."""

    column: ColumnInfo
    operator: Operator
    given: Any
    value: Any = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        value = self.column.operand(self.given, ordering=self.operator not in ("==", "!="))
        object.__setattr__(self, "value", value)

    def of(self, column: ColumnInfo) -> Comparison:
        """The same, asked of another column.

        Raises:
            QueryError: when that column cannot be compared with such a value.
        """
        return Comparison(column, self.operator, self.given)

    def __str__(self) -> str:
        return f"{self.column.alias} {self.operator} {self.value!s}"


@attrs.frozen(eq=False, repr=False)
class Between(Expression):
    """`low <= column < high`; `given` are the two as they were given."""

    column: ColumnInfo
    given: tuple[Any, Any]
    low: Any = attrs.field(init=False)
    high: Any = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        for name, given in zip(("low", "high"), self.given, strict=True):
            object.__setattr__(self, name, self.column.operand(given, ordering=True))

    def of(self, column: ColumnInfo) -> Between:
        """See `Comparison.of`."""
        return Between(column, self.given)

    def __str__(self) -> str:
        return f"{self.low!s} <= {self.column.alias} < {self.high!s}"


@attrs.frozen(eq=False, repr=False)
class IsIn(Expression):
    """`column` is one of `values`; `given` are these as they were given."""

    column: ColumnInfo
    given: tuple[Any, ...]
    values: tuple[Any, ...] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(map(self.column.operand, self.given)))

    def of(self, column: ColumnInfo) -> IsIn:
        """See `Comparison.of`."""
        return IsIn(column, self.given)

    def __str__(self) -> str:
        shown = ", ".join(map(str, self.values[:5]))
        more = f", … {len(self.values)} values" if len(self.values) > 5 else ""
        return f"{self.column.alias} in {{{shown}{more}}}"


class _Combined(Expression):
    """What `&`, `|` and `~` make."""

    __slots__ = ()

    def __str__(self) -> str:
        texts: list[str] = []
        left: list[Expression | str] = [self]
        while left:
            node = left.pop()
            if isinstance(node, Not):
                left += (")", node.term, "~(")
            elif isinstance(node, (And, Or)):
                symbol = " & " if isinstance(node, And) else " | "
                left += (")", node.right, f"{symbol}(")
                # (a | b) | c reads as a | b | c
                left += (node.left,) if type(node.left) is type(node) else (")", node.left, "(")
            else:
                texts.append(str(node))
        return "".join(texts)

    def __reduce__(self) -> tuple[Any, ...]:
        """As a list of steps, for pickle recurses into what it finds."""
        steps: list[Any] = []
        places: dict[int, int] = {}
        left: list[Expression] = [self]
        while left:
            node = left[-1]
            parts = _parts(node)
            if id(node) in places:
                left.pop()
            elif missing := [part for part in parts if id(part) not in places]:
                left += missing
            else:
                left.pop()
                places[id(node)] = len(steps)
                steps.append((type(node), *(places[id(part)] for part in parts)) if parts else node)
        return _of_steps, (steps,)


@attrs.frozen(eq=False, repr=False, str=False)
class And(_Combined):
    """Both `left` and `right`."""

    left: Expression
    right: Expression


@attrs.frozen(eq=False, repr=False, str=False)
class Or(_Combined):
    """`left`, `right`, or both."""

    left: Expression
    right: Expression


@attrs.frozen(eq=False, repr=False, str=False)
class Not(_Combined):
    """Not `term`."""

    term: Expression


Leaf: TypeAlias = Comparison | Between | IsIn


def _parts(node: Expression) -> tuple[Expression, ...]:
    if isinstance(node, Not):
        return (node.term,)
    return (node.left, node.right) if isinstance(node, (And, Or)) else ()


def _of_steps(steps: list[Any]) -> Expression:
    made: list[Expression] = []
    for step in steps:
        made.append(step[0](*(made[place] for place in step[1:])) if isinstance(step, tuple) else step)
    return made[-1]


def leaves(condition: Expression) -> Iterator[Any]:
    """What a condition combines, from left to right."""
    left = [condition]
    while left:
        node = left.pop()
        if parts := _parts(node):
            left += parts[::-1]
        else:
            yield node


def comparable(condition: Expression) -> tuple[Any, ...]:
    """A value that is equal for conditions that ask for the same in the same words: they themselves are equal to none."""
    found: list[Any] = []
    left = [condition]
    while left:
        node = left.pop()
        found.append(type(node))
        if parts := _parts(node):
            left += parts[::-1]
        else:
            column, *asked = attrs.astuple(cast("Any", node), recurse=False)
            found.append((column.model, column.name, *asked))
    return tuple(found)


def constants_of(leaf: Leaf) -> tuple[Any, ...]:
    """What a column is compared with, as the column makes it of what was given."""
    if isinstance(leaf, IsIn):
        return leaf.values
    return (leaf.low, leaf.high) if isinstance(leaf, Between) else (leaf.value,)


def replaced(condition: Expression, leaf: Callable[[Leaf], Expression]) -> Expression:
    """The same with other conditions in place of those that it combines."""
    left: list[Expression | type] = [condition]
    made: list[Expression] = []
    while left:
        node = left.pop()
        if isinstance(node, type):
            count = 1 if node is Not else 2
            made[-count:] = [node(*made[-count:])]
        elif parts := _parts(node):
            left += (type(node), *parts[::-1])
        else:
            made.append(leaf(cast("Leaf", node)))
    return made[0]


@attrs.frozen
class Chain:
    """Conditions that all hold, or of which any does.

    Attributes:
        is_all: whether all of them.
        leaves: those that combine no others, each with whether it is negated.
        chains: the others; first those of which a walk holds most at once.
        height: of how many chains a walk holds something at once, at least.
        depth: how many chains lie within one another.
    """

    is_all: bool
    leaves: list[tuple[Leaf, bool]]
    chains: list[Chain]
    height: int
    depth: int


def chain_of(condition: Expression) -> Chain:
    """A condition as chains within chains, in which `&` and `|` alternate; negations are pushed down to the leaves."""
    root = _Open(is_all=True)
    # Each with the chain that it belongs to, and whether it is negated; a chain alone when all of it was seen.
    left: list[tuple[Expression | None, bool, _Open]] = [(condition, False, root)]
    while left:
        node, negated, chain = left.pop()
        while isinstance(node, Not):
            node, negated = node.term, not negated
        if node is None:
            assert chain.parent is not None
            chain.parent.chains.append(chain.closed())
        elif isinstance(node, (And, Or)):
            is_all = isinstance(node, And) != negated
            if is_all != chain.is_all:
                chain = _Open(is_all=is_all, parent=chain)
                left.append((None, False, chain))
            left += ((node.right, negated, chain), (node.left, negated, chain))
        else:
            chain.leaves.append((cast("Leaf", node), negated))
    return root.closed()


@attrs.define
class _Open:
    is_all: bool
    parent: _Open | None = None
    leaves: list[tuple[Leaf, bool]] = attrs.field(factory=list)
    chains: list[Chain] = attrs.field(factory=list)

    def closed(self) -> Chain:
        # While a chain is walked, what came of those before it is held: the one that holds most goes first.
        chains = sorted(self.chains, key=lambda chain: -chain.height)
        height = max((chain.height + (at > 0) for at, chain in enumerate(chains)), default=0) or 1
        return Chain(self.is_all, self.leaves, chains, height, 1 + max((chain.depth for chain in chains), default=0))


C = TypeVar("C")


def folded(chain: Chain, add: Callable[[Chain, list[C], C], object], value: Callable[[Chain, list[C]], C]) -> C:
    """What comes of a chain: `value` of it and of the list to which `add` took what came of the chains within it."""
    walk: list[tuple[Chain, Iterator[Chain], list[C]]] = [(chain, iter(chain.chains), [])]
    while True:
        node, rest, held = walk[-1]
        inner = next(rest, None)
        if inner is not None:
            walk.append((inner, iter(inner.chains), []))
            continue
        made = value(node, held)
        walk.pop()
        if not walk:
            return made
        add(walk[-1][0], walk[-1][2], made)


_MOST_SHOWN: Final = 2000


def shortened(text: str) -> str:
    """The text of a condition for a person to read, who reads no thousands of terms."""
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]} … {len(text):,} characters"
