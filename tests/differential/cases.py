"""Random models, records and conditions drawn from a seed, independent of tsmodel's query code.

A condition is a tree of tuples, which `oracles` turns into Python, SQL and tsmodel's expressions:
`("compare", field, operator, constant)`, `("between", field, low, high)`, `("in", field, constants)`, `("not", a)`,
`("and", a, b)`, `("or", a, b)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from random import Random
from typing import Any

import attrs
import numpy as np

import tsmodel as ts
from tsmodel import TSModel, field

OPERATORS = ("==", "!=", "<", "<=", ">", ">=")
KEYS = ("cid", "mid", "moid", "cap")
INTEGERS = {
    ts.Int8: ("TINYINT", 8, True),
    ts.Int16: ("SMALLINT", 16, True),
    ts.Int32: ("INTEGER", 32, True),
    ts.Int64: ("BIGINT", 64, True),
    ts.UInt8: ("UTINYINT", 8, False),
    ts.UInt16: ("USMALLINT", 16, False),
    ts.UInt32: ("UINTEGER", 32, False),
    ts.UInt64: ("UBIGINT", 64, False),
}
FLOATS = {ts.Float16: np.float16, ts.Float32: np.float32, ts.Float64: np.float64}


@attrs.frozen
class Field:
    """A field of a random model.

    Attributes:
        name: its name.
        kind: int, float, bool, decimal or text.
        sql: its SQL type.
        width: the NumPy type of a float, else None.
        nullable: whether None is allowed.
        draw: draws values as a user would write them.
        annotation: its field type.
        options: arguments of `field()`.
    """

    name: str
    kind: str
    sql: str
    width: Any
    nullable: bool
    draw: Callable[[Random], Any]
    annotation: Any
    options: dict[str, Any]

    def stored(self, value: Any) -> Any:
        """The value as read back: a float is rounded to the field's width."""
        if value is None or self.width is None:
            return value
        with np.errstate(over="ignore"):
            return float(self.width(value))


@attrs.frozen
class Case:
    """A model and its records.

    Attributes:
        model: the model.
        fields: its fields and key components, by name.
        rows: the records' stored values by name; `n` numbers them.
        puts: the records as objects, put by put.
    """

    model: type[TSModel]
    fields: dict[str, Field]
    rows: list[dict[str, Any]]
    puts: list[list[Any]]


def integer_field(rng: Random, name: str) -> Field:
    annotation = rng.choice(list(INTEGERS))
    sql, bits, signed = INTEGERS[annotation]
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    edges = [value for value in (low, high, high - 1, 0, 1, 2**53, 2**53 + 1, 2**31) if low <= value <= high]

    def draw(rng: Random) -> int:
        return rng.choice(edges) if rng.random() < 0.3 else rng.randint(max(low, -20), min(high, 20))

    return Field(name, "int", sql, None, False, draw, annotation, {})


def float_field(rng: Random, name: str) -> Field:
    annotation = rng.choice(list(FLOATS))
    special = [0.0, -0.0, 231.7, 0.1, 1 / 3, 1e-7, 65504.0, math.nan, math.inf, -math.inf]
    if annotation is not ts.Float16:
        special += [2.0**53, 1e30, 16777216.0]

    def draw(rng: Random) -> float:
        return rng.choice(special) if rng.random() < 0.3 else round(rng.uniform(-300, 300), 1)

    return Field(name, "float", "DOUBLE", FLOATS[annotation], False, draw, annotation, {})


def bool_field(rng: Random, name: str) -> Field:
    return Field(name, "bool", "BOOLEAN", None, False, lambda rng: rng.random() < 0.5, ts.Bool, {})


def decimal_field(rng: Random, name: str) -> Field:
    def draw(rng: Random) -> Decimal:
        units = rng.choice([0, 1, 10, 2**62, -(2**62)]) if rng.random() < 0.2 else rng.randint(-3000, 3000)
        return Decimal(units).scaleb(-2)

    return Field(name, "decimal", "DECIMAL(38, 2)", None, False, draw, ts.Scaled, {"digits": 2})


def text_field(rng: Random, name: str) -> Field:
    return Field(name, "text", "VARCHAR", None, False, lambda rng: rng.choice(["", "a", "ab", "b", "ä", "z"]), ts.Text, {})


def nullable_field(rng: Random, name: str) -> Field:
    item = rng.choice([integer_field, float_field, bool_field, decimal_field])(rng, name)
    options = {"item": item.annotation, **item.options}

    def draw(rng: Random) -> Any:
        return None if rng.random() < 0.3 else item.draw(rng)

    return attrs.evolve(item, nullable=True, draw=draw, annotation=ts.Nullable[Any], options=options)


KINDS = (integer_field, integer_field, float_field, float_field, bool_field, decimal_field, nullable_field, text_field)


def key_field(name: str, high: int) -> Field:
    return Field(name, "int", "BIGINT", None, False, lambda rng: rng.randint(0, high), None, {})


def random_case(rng: Random, most: int) -> Case:
    """A case with at most `most` records."""
    kinds = [rng.choice(KINDS) for _ in range(rng.randint(1, 5))]
    if rng.random() < 0.6:
        kinds = [kind for kind in kinds if kind is not text_field] or [float_field]
    made = [kind(rng, f"f{at}") for at, kind in enumerate(kinds)]
    annotations: dict[str, Any] = {"n": ts.UInt32, **{each.name: each.annotation for each in made}}
    namespace: dict[str, Any] = {each.name: field(**each.options) for each in made if each.options}
    options = {"byte_order": rng.choice(["little", "big"])}
    model: Any = type(TSModel)("Made", (TSModel,), {**namespace, "__annotations__": annotations}, **options)
    keys = [key_field("cid", 2), key_field("mid", 4), key_field("moid", 1), key_field("cap", 30)]
    fields = {each.name: each for each in [*keys, *made]}
    rows: list[dict[str, Any]] = []
    puts: list[list[Any]] = []
    count = rng.randint(1, most)
    while len(rows) < count:
        put = []
        for _ in range(rng.choice([1, 1, 2, 7, 50])):
            given = {name: each.draw(rng) for name, each in fields.items()}
            put.append(model(n=len(rows), **given))
            rows.append({"n": len(rows), **{name: each.stored(given[name]) for name, each in fields.items()}})
        puts.append(put)
    return Case(model, fields, rows, puts)


def random_condition(rng: Random, case: Case, depth: int = 3) -> tuple[Any, ...]:
    """A tree of conditions on a case's fields."""
    if depth and rng.random() < 0.6:
        kind = rng.choice(["and", "or", "not"])
        parts = [random_condition(rng, case, depth - 1) for _ in range(1 if kind == "not" else 2)]
        return (kind, *parts)
    chosen = rng.choice(list(case.fields.values()))
    if chosen.kind == "bool":
        return ("compare", chosen.name, rng.choice(["==", "!="]), rng.random() < 0.5)
    kind = rng.choice(["compare", "compare", "between", "in"])
    if kind == "compare":
        return ("compare", chosen.name, rng.choice(OPERATORS), constant(rng, case, chosen))
    if kind == "between":
        low, high = constant(rng, case, chosen), constant(rng, case, chosen)
        return ("between", chosen.name, low, high)
    return ("in", chosen.name, [constant(rng, case, chosen) for _ in range(rng.randint(0, 5))])


def constant(rng: Random, case: Case, chosen: Field) -> Any:
    """An operand for a field, mostly close to stored values."""
    value = rng.choice(case.rows)[chosen.name] if rng.random() < 0.5 else chosen.draw(rng)
    if value is None:
        value = 0
    if chosen.kind == "text":
        return value or "a"
    number = rng.random()
    if chosen.name in KEYS:
        return value
    if chosen.kind == "float":
        if math.isfinite(value) and number < 0.3:
            return rng.choice([int(value), int(value) + 1, Decimal(repr(value)), 2**53 + 1, 10**400, Decimal("231.7")])
        return value if number < 0.8 else rng.choice([1e39, -1e39, 231.7, 0.1, 65520.0, 2049.0])
    if chosen.kind == "decimal":
        return value if number < 0.7 else rng.choice([int(value), float(value), Decimal("0.005"), 0.1])
    return value if number < 0.7 else rng.choice([value + 0.5, float(2**53), -1, 2**64, 2**63 - 1])
