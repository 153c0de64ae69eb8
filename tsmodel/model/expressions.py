"""Conditions on the columns of a model, as values.

Rules kept here:

* An expression is an immutable tree. It knows nothing of key ranges or arrays: the query room compiles it.
* `&`, `|` and `~` combine expressions. `and`, `or`, `not` and `if` need a truth value, which an expression refuses to have.
* Operands are checked and converted by the column when the condition is made. What was given is kept as well: asked of
  another column, such as that of a newer version, the condition converts it as that column does.
"""

from __future__ import annotations

from typing import Any, Literal, NoReturn

import attrs

from tsmodel.errors import QueryError
from tsmodel.model.operands import ColumnInfo

__all__ = ["And", "Between", "Comparison", "Expression", "IsIn", "Not", "Operator", "Or"]

Operator = Literal["<", "<=", ">", ">=", "==", "!="]


class Expression:
    """A condition on records: `Reading.volts > 240`, combined by `&`, `|` and `~`."""

    __slots__ = ()

    def __and__(self, other: Expression) -> Expression:
        return And((self, _expression(other, "&")))

    def __or__(self, other: Expression) -> Expression:
        return Or((self, _expression(other, "|")))

    def __invert__(self) -> Expression:
        return Not(self)

    def __repr__(self) -> str:
        return f"<condition {self}>"

    def __bool__(self) -> NoReturn:
        raise QueryError(
            f"({self}) is a condition, not a truth value: combine conditions with & | ~ and parentheses, "
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
        return f"{self.column.alias} {self.operator} {self.value}"


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
        return f"{self.low} <= {self.column.alias} < {self.high}"


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


@attrs.frozen(eq=False, repr=False)
class And(Expression):
    """All of `terms`."""

    terms: tuple[Expression, ...]

    def __str__(self) -> str:
        return " & ".join(f"({term})" for term in self.terms)


@attrs.frozen(eq=False, repr=False)
class Or(Expression):
    """Any of `terms`."""

    terms: tuple[Expression, ...]

    def __str__(self) -> str:
        return " | ".join(f"({term})" for term in self.terms)


@attrs.frozen(eq=False, repr=False)
class Not(Expression):
    """Not `term`."""

    term: Expression

    def __str__(self) -> str:
        return f"~({self.term})"
