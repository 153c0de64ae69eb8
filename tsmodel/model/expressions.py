"""Conditions on the columns of a model, and the rules for what a column can be compared with.

Rules kept here:

* An expression is an immutable tree. It knows nothing about key ranges or arrays; `tsmodel.query` compiles it.
* `&`, `|` and `~` combine expressions. `and`, `or`, `not` and `if` need a truth value, so they raise a `QueryError`.
* The column checks and converts operands when the condition is built. The condition also keeps the original operand, so
  that another column, such as that of a newer version, can convert it in its own way.
* No function recurses: conditions may be as deep as memory allows. Walks are linear in the number of terms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, NoReturn, TypeAlias, TypeGuard, TypeVar, cast

import msgspec
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


class ColumnInfo(msgspec.Struct, frozen=True):
    """One column of a model.

    Attributes:
        model: name of the model, for messages.
        name: name of the field or key component.
        codec: how the column is stored.
        is_key: whether it is a key component.
        alias: the model's own name for the column.
        field: its place in the payload; None for a key component.
    """

    model: str
    name: str
    codec: FieldCodec
    is_key: bool
    alias: str
    field: LayoutField | None = None

    @property
    def is_nullable(self) -> bool:
        """Whether values may be None."""
        return self.codec.is_nullable

    @property
    def fixed(self) -> FixedCodec:
        """The codec of a value that is not None, for a column of fixed width."""
        fixed = self.codec.as_fixed if self.field is None else self.field.fixed
        assert fixed is not None
        return fixed

    def operand(self, value: object, *, ordering: bool = False) -> Any:
        """Converts `value` to the form the column is compared in: a number if stored numbers are compared, else a value.

        Args:
            value: the operand as the user gave it.
            ordering: whether the comparison needs an order, as `<` does.

        Raises:
            QueryError: if the column can never be compared with such a value.
        """
        if self.codec.comparisons == "none" or (ordering and self.codec.comparisons == "equality"):
            how = "compared" if self.codec.comparisons == "none" else "ordered; use == or !="
            raise QueryError(f"{self.model}.{self.alias} ({self.codec.label}) cannot be {how}")
        if value is None and self.is_nullable:
            if ordering:
                raise QueryError(f"{self.model}.{self.alias} cannot be ordered with None; use == or !=")
            return None
        try:
            if self.codec.number is not None:
                return self.codec.operand(value)
            return self.codec.constant(value)
        except FieldFault as fault:
            label = f" ({self.codec.label}) " if fault.why.startswith("cannot") else ": "
            raise QueryError(f"{self.model}.{self.alias}{label}{fault.why}") from fault.__cause__ or fault

    def values(self, records: Any) -> npt.NDArray[Any]:
        """Returns the column of records from a codec's `fit`, shape (n,).

        Stored numbers if the codec has a `number` (any number where the value is absent); otherwise values as objects (None
        where absent).
        """
        if isinstance(records, VariableRecords) and not self.is_key:
            column: npt.NDArray[Any] = records[self.name]
            return self._comparables(column) if self.codec.number is None else self.fixed.numbers_of(column.tolist())
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
        """Returns the values of records from a codec's `fit`, as they appear in objects of the model."""
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
        """Whether the values have variable length and the records know the span of each."""
        return isinstance(records, SpanRecords) and self.field is not None and self.field.name in records.spans

    def present(self, records: Any) -> Mask | None:
        """Mask of the records that have a value, shape (n,); None if all have one."""
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
        """Returns the column as stored, in its byte order; shape (n,). Only for records of fixed size."""
        if self.field is None:
            return records[self.name]  # type: ignore[no-any-return]
        return self.field.fixed.stored_numbers(records[self.field.slot])


Operator = Literal["<", "<=", ">", ">=", "==", "!="]


class Expression:
    """A condition on records, such as `Reading.volts > 240`. Combine conditions with `&`, `|` and `~`."""

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


class Comparison(Expression, msgspec.Struct, frozen=True, eq=False):
    """`column operator given`. `value` is the operand `given`, converted by the column."""

    column: ColumnInfo
    operator: Operator
    given: Any
    value: Any = None

    def __post_init__(self) -> None:
        value = self.column.operand(self.given, ordering=self.operator not in ("==", "!="))
        msgspec.structs.force_setattr(self, "value", value)

    def of(self, column: ColumnInfo) -> Comparison:
        """The same condition on another column.

        Raises:
            QueryError: if that column cannot be compared with such a value.
        """
        return Comparison(column, self.operator, self.given)

    def __str__(self) -> str:
        return f"{self.column.alias} {self.operator} {self.value!s}"


class Between(Expression, msgspec.Struct, frozen=True, eq=False):
    """`low <= column < high`. `given` holds the two original operands."""

    column: ColumnInfo
    given: tuple[Any, Any]
    low: Any = None
    high: Any = None

    def __post_init__(self) -> None:
        for name, given in zip(("low", "high"), self.given, strict=True):
            msgspec.structs.force_setattr(self, name, self.column.operand(given, ordering=True))

    def of(self, column: ColumnInfo) -> Between:
        """See `Comparison.of`."""
        return Between(column, self.given)

    def __str__(self) -> str:
        return f"{self.low!s} <= {self.column.alias} < {self.high!s}"


class IsIn(Expression, msgspec.Struct, frozen=True, eq=False):
    """`column` is one of `values`. `given` holds the original operands."""

    column: ColumnInfo
    given: tuple[Any, ...]
    values: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "values", tuple(map(self.column.operand, self.given)))

    def of(self, column: ColumnInfo) -> IsIn:
        """See `Comparison.of`."""
        return IsIn(column, self.given)

    def __str__(self) -> str:
        shown = ", ".join(map(str, self.values[:5]))
        more = f", … {len(self.values)} values" if len(self.values) > 5 else ""
        return f"{self.column.alias} in {{{shown}{more}}}"


class _Combined(Expression):
    """A condition built with `&`, `|` or `~`."""

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
        """Pickles as a flat list, because pickle recurses into nested objects."""
        return _of_postfix, (list(_postfix(self)),)


class And(_Combined, msgspec.Struct, frozen=True, eq=False):
    """Both `left` and `right`."""

    left: Expression
    right: Expression


class Or(_Combined, msgspec.Struct, frozen=True, eq=False):
    """`left`, `right`, or both."""

    left: Expression
    right: Expression


class Not(_Combined, msgspec.Struct, frozen=True, eq=False):
    """Not `term`."""

    term: Expression


Leaf: TypeAlias = Comparison | Between | IsIn


def _parts(node: Expression) -> tuple[Expression, ...]:
    if isinstance(node, Not):
        return (node.term,)
    return (node.left, node.right) if isinstance(node, (And, Or)) else ()


def _postfix(condition: Expression) -> Iterator[Any]:
    """Yields the comparisons from left to right, and the class of each combination after its parts."""
    left: list[Any] = [condition]
    while left:
        node = left.pop()
        if not isinstance(node, type) and (parts := _parts(node)):
            left += (type(node), *parts[::-1])
        else:
            yield node


def _of_postfix(nodes: Iterable[Any], leaf: Callable[[Leaf], Expression] = lambda leaf: leaf) -> Expression:
    made: list[Expression] = []
    for node in nodes:
        if isinstance(node, type):
            count = 1 if node is Not else 2
            made[-count:] = [node(*made[-count:])]
        else:
            made.append(leaf(node))
    return made[0]


def leaves(condition: Expression) -> Iterator[Any]:
    """Yields the comparisons that a condition combines, from left to right."""
    return (node for node in _postfix(condition) if not isinstance(node, type))


def replaced(condition: Expression, leaf: Callable[[Leaf], Expression]) -> Expression:
    """Returns the condition with each comparison replaced by `leaf(comparison)`."""
    return _of_postfix(_postfix(condition), leaf)


def comparable(condition: Expression) -> tuple[Any, ...]:
    """Returns a hashable value that is equal for equal conditions; `==` on conditions does not compare them."""
    found: list[Any] = []
    for node in _postfix(condition):
        if isinstance(node, type):
            found.append(node)
        else:
            column, *asked = msgspec.structs.astuple(node)
            found.append((type(node), column.model, column.name, *map(_settled, asked)))
    return tuple(found)


def _settled(value: Any) -> Any:
    """A hashable form of an operand, equal for equal operands. NaN equals itself; lists and arrays equal tuples."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (tuple, list)):
        return tuple(map(_settled, value))
    if isinstance(value, Mapping):
        return frozenset((key, _settled(each)) for key, each in value.items())
    if isinstance(value, msgspec.Struct):
        return (type(value), *map(_settled, msgspec.structs.astuple(value)))
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, (float, np.floating)) and np.isnan(value):
        return np.nan
    return value if _is_hashable(value) else _Unhashable(value)


def _is_hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


class _Unhashable(msgspec.Struct):
    """An operand of a field type of the user, whose class compares objects but does not hash them."""

    value: Any

    def __hash__(self) -> int:
        return hash(_Unhashable)


def constants_of(leaf: Leaf) -> tuple[Any, ...]:
    """The operands of a comparison, as the column converted them."""
    if isinstance(leaf, IsIn):
        return leaf.values
    return (leaf.low, leaf.high) if isinstance(leaf, Between) else (leaf.value,)


class Chain(msgspec.Struct, frozen=True):
    """Conditions combined by one operator: all must hold, or any must hold.

    Attributes:
        is_all: True if all must hold; False if any must.
        leaves: the comparisons, each with a flag that says whether it is negated.
        chains: the nested chains, those with the greatest height first.
        height: the least number of chains whose results a walk must hold at the same time.
        depth: nesting depth of the chains.
    """

    is_all: bool
    leaves: list[tuple[Leaf, bool]]
    chains: list[Chain]
    height: int
    depth: int


def chain_of(condition: Expression) -> Chain:
    """Converts a condition to nested chains in which `&` and `|` alternate. Negations are pushed down to the leaves."""
    root = _Open(is_all=True)
    # Tuples of node, negated, and the chain it belongs to. A node of None marks the end of a chain.
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


class _Open:
    def __init__(self, *, is_all: bool, parent: _Open | None = None) -> None:
        self.is_all = is_all
        self.parent = parent
        self.leaves: list[tuple[Leaf, bool]] = []
        self.chains: list[Chain] = []

    def closed(self) -> Chain:
        # A walk holds the results of earlier chains while it works on a later one, so the highest chain goes first.
        chains = sorted(self.chains, key=lambda chain: -chain.height)
        height = max((chain.height + (at > 0) for at, chain in enumerate(chains)), default=0) or 1
        return Chain(self.is_all, self.leaves, chains, height, 1 + max((chain.depth for chain in chains), default=0))


C = TypeVar("C")


def folded(chain: Chain, add: Callable[[Chain, list[C], C], object], value: Callable[[Chain, list[C]], C]) -> C:
    """Folds a chain bottom-up: `add` collects the results of nested chains in a list, and `value` combines them."""
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
    """Shortens the text of a condition for messages."""
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]} … {len(text):,} characters"
