"""Parses conditions such as `--where 'volts > 240 and not valid'`.

Rules kept here:

* The text is parsed, never evaluated: anything but comparisons of a column with a constant is refused.
* A constant is a value of the column. Times may also be written as for `--cap`, enumerations by a member's name.
"""

from __future__ import annotations

import ast
import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from difflib import get_close_matches
from functools import reduce
from operator import and_, eq, ge, gt, le, lt, ne, or_
from typing import Any, Final

from tsmodel.cli.failures import UsageError
from tsmodel.cli.ranges import point
from tsmodel.errors import QueryError
from tsmodel.frames.frame import names_of
from tsmodel.interop.csv_times import has_times
from tsmodel.interop.structures import structure_of
from tsmodel.model import Expression
from tsmodel.model.meta import schema_of
from tsmodel.types.field_faults import FieldFault
from tsmodel.types.text_facet import ConversionFaults, Spelling

__all__ = ["condition"]

_COMPARISONS: Final[dict[type[ast.cmpop], Callable[[Any, Any], Any]]] = {
    ast.Lt: lt,
    ast.LtE: le,
    ast.Gt: gt,
    ast.GtE: ge,
    ast.Eq: eq,
    ast.NotEq: ne,
    ast.Is: eq,
    ast.IsNot: ne,
}
_TURNED: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.Gt,
    ast.LtE: ast.GtE,
    ast.Gt: ast.Lt,
    ast.GtE: ast.LtE,
}
_EXAMPLE: Final = "write such as: volts > 240 and mid in [4711, 4712]"
_NAMED: Final = {"true": True, "false": False, "null": None, "none": None, "nan": float("nan"), "inf": float("inf")}


def condition(text: str, model: Any, zone: dt.tzinfo) -> Expression:
    """The condition for a text.

    Args:
        text: comparisons (`< <= > >= == !=`, `in [...]`), combined by `and`, `or`, `not` and parentheses.
        model: the model with the columns.
        zone: time zone of times without an offset.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval")
        return _Reader(text.strip(), model, zone).read(tree.body)
    except SyntaxError as error:
        hint = "; `=` is written ==" if "==" in str(error.msg) or _has_single(text) else ""
        raise UsageError(f"--where {text!r} cannot be read{hint}; {_EXAMPLE}") from None
    except (RecursionError, MemoryError, ValueError) as error:
        if isinstance(error, (UsageError, QueryError)):
            raise
        raise UsageError(f"--where cannot be read: {error or 'it is too deep'}; {_EXAMPLE}") from None
    except QueryError as error:
        raise UsageError(f"--where {text!r}: {error}") from None


class _Reader:
    def __init__(self, text: str, model: Any, zone: dt.tzinfo) -> None:
        self._text = text
        self._model = model
        self._zone = zone
        self._structure = structure_of(model, Spelling())

    def read(self, node: ast.expr) -> Expression:
        if isinstance(node, ast.BoolOp):
            return reduce(and_ if isinstance(node.op, ast.And) else or_, map(self.read, node.values))
        if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.BitAnd, ast.BitOr)):
            return reduce(and_ if isinstance(node.op, ast.BitAnd) else or_, map(self.read, (node.left, node.right)))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.Invert)):
            return ~self.read(node.operand)
        if isinstance(node, ast.Compare):
            operands = [node.left, *node.comparators]
            pairs = zip(operands, node.ops, operands[1:], strict=False)
            return reduce(and_, (self._compared(*pair) for pair in pairs))
        if isinstance(node, (ast.Name, ast.Attribute)):
            column = self._column(node)
            if column is not None:
                try:
                    return self._comparison(column, ast.Eq(), ast.Constant(True), node)
                except QueryError:
                    raise self._refused(node, "is not a condition, because it is not a bool") from None
        raise self._refused(node, "is not a comparison")

    def _compared(self, left: ast.expr, operator: ast.cmpop, right: ast.expr) -> Expression:
        column = self._column(left)
        if column is not None:
            return self._comparison(column, operator, right, left)
        column = self._column(right)
        if column is None:
            raise self._unknown(left, right)
        turned = _TURNED.get(type(operator), type(operator))
        if turned in (ast.In, ast.NotIn):
            raise self._refused(right, "is a column; `in` takes a list of constants")
        return self._comparison(column, turned(), left, right)

    def _comparison(self, column: Any, operator: ast.cmpop, constant: ast.expr, node: ast.expr) -> Expression:
        if isinstance(operator, (ast.In, ast.NotIn)):
            if not isinstance(constant, (ast.List, ast.Tuple, ast.Set)):
                raise self._refused(constant, "is not a list such as [1, 2]")
            found: Expression = column.is_in([self._constant(column, each) for each in constant.elts])
            return ~found if isinstance(operator, ast.NotIn) else found
        compare = _COMPARISONS[type(operator)]
        made = compare(column, self._constant(column, constant))
        if not isinstance(made, Expression):
            raise self._refused(node, "cannot be compared with that")
        return made

    def _column(self, node: ast.expr) -> Any:
        """The column with this name; None if there is none."""
        return schema_of(self._model).columns.get(node.id) if isinstance(node, ast.Name) else None

    def _constant(self, column: Any, node: ast.expr) -> Any:
        value = self._value(node)
        if isinstance(value, float) and column.info.codec.present.digits is not None:
            return self._decimal(node)
        if not isinstance(value, str):
            return value
        conversion = self._structure.by_name[column.name].conversion
        try:
            if has_times(conversion):
                return point(value, self._zone)
            return conversion.load(value)
        except (ConversionFaults, FieldFault) as error:
            why = error.why if isinstance(error, FieldFault) else error.faults[0].why
            raise UsageError(f"--where {self._text!r}: {column.name}: {why}") from None

    def _decimal(self, node: ast.expr) -> Any:
        """A number by its digits: a float would lose some of them."""
        if isinstance(node, ast.UnaryOp):
            number = self._decimal(node.operand)
            return -number if isinstance(node.op, ast.USub) else number
        digits = ast.get_source_segment(self._text, node) if isinstance(node, ast.Constant) else None
        return Decimal(digits) if digits is not None else self._value(node)

    def _value(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float, str, bool, bytes, type(None))):
            return node.value
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
            value = self._value(node.operand)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                return -value if isinstance(node.op, ast.USub) else value
        if isinstance(node, ast.Name):
            if node.id.lower() in _NAMED:
                return _NAMED[node.id.lower()]
            if self._column(node) is not None:
                raise self._refused(node, "is a column; a column is compared with constants")
            return node.id  # the name of a member, without quotes
        raise self._refused(node, "is not a constant")

    def _unknown(self, left: ast.expr, right: ast.expr) -> UsageError:
        node = left if isinstance(left, (ast.Name, ast.Attribute)) else right
        name = ast.unparse(node)
        names = names_of(self._model)
        near = get_close_matches(name, names, 1)
        hint = f"did you mean {near[0]}?" if near else f"{self._model.__name__} has {', '.join(names)}"
        return UsageError(f"--where {self._text!r}: {name} is not a column; {hint}")

    def _refused(self, node: ast.AST, why: str) -> UsageError:
        return UsageError(f"--where {self._text!r}: {ast.unparse(node)} {why}; {_EXAMPLE}")


def _has_single(text: str) -> bool:
    return "=" in text.replace("==", "").replace("!=", "").replace("<=", "").replace(">=", "")
