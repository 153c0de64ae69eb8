"""Independent implementations of conditions, order, versions and windows: plain Python, DuckDB, and pandas for windows.

They share these rules, none of them taken from tsmodel's code:

* None and NaN match only `!=`.
* A float compared with a Float16 or Float32 field is first rounded to that width, unless it would overflow. Compared with
  a decimal, a float stands for its decimal text. All other comparisons of numbers are exact.
"""

from __future__ import annotations

import math
import operator
from collections import defaultdict
from collections.abc import Callable, Iterable
from decimal import Decimal
from functools import reduce
from typing import Any

import duckdb
import numpy as np
import pandas as pd
from differential.cases import Case, Field

COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class NotInSQL(Exception):
    """A condition that SQL cannot express exactly, because its numbers have no common SQL type."""


def rounded(of: Field, value: Any) -> Any:
    """A constant in the form compared with a field."""
    if of.kind == "decimal" and type(value) is float and math.isfinite(value):
        return Decimal(repr(value))
    if of.width in (np.float16, np.float32) and type(value) is float and math.isfinite(value):
        with np.errstate(over="ignore"):
            narrow = float(of.width(value))
        return narrow if math.isfinite(narrow) else value
    return value


def meets(case: Case, condition: tuple[Any, ...], row: dict[str, Any]) -> bool:
    """Whether a record matches a condition."""
    kind, *parts = condition
    if kind == "not":
        return not meets(case, parts[0], row)
    if kind in ("and", "or"):
        return (all if kind == "and" else any)(meets(case, part, row) for part in parts)
    of, value = case.fields[parts[0]], row[parts[0]]
    if kind == "compare":
        return compared(of, value, parts[1], parts[2])
    if kind == "between":
        return compared(of, value, ">=", parts[1]) and compared(of, value, "<", parts[2])
    return any(compared(of, value, "==", each) for each in parts[1])


def compared(of: Field, value: Any, compare: str, constant: Any) -> bool:
    """Whether the comparison of a value with a constant holds."""
    if is_missing(value) or is_missing(constant):
        return compare == "!="
    return bool(COMPARE[compare](value, rounded(of, constant)))


def expression(case: Case, condition: tuple[Any, ...]) -> Any:
    """A condition as a tsmodel expression."""
    kind, *parts = condition
    if kind == "not":
        return ~expression(case, parts[0])
    if kind in ("and", "or"):
        return reduce(operator.and_ if kind == "and" else operator.or_, (expression(case, part) for part in parts))
    column = getattr(case.model, parts[0])
    if kind == "compare":
        return COMPARE[parts[1]](column, parts[2])
    return column.between(*parts[1:]) if kind == "between" else column.is_in(parts[1])


def table(case: Case) -> duckdb.DuckDBPyConnection:
    """The records as table `t` of a new database."""
    base = duckdb.connect()
    base.execute("SET threads = 1")
    columns = ", ".join(f"{name} {each.sql}" for name, each in case.fields.items())
    base.execute(f"CREATE TABLE t (n INTEGER, {columns})")
    marks = ", ".join("?" for _ in range(len(case.fields) + 1))
    base.executemany(f"INSERT INTO t VALUES ({marks})", [list(row.values()) for row in case.rows])
    return base


def sql(case: Case, condition: tuple[Any, ...]) -> str:
    """A condition in SQL.

    Raises:
        NotInSQL: SQL cannot express it exactly.
    """
    kind, *parts = condition
    if kind == "not":
        return f"(NOT {sql(case, parts[0])})"
    if kind in ("and", "or"):
        return "(" + f" {kind} ".join(sql(case, part) for part in parts) + ")"
    of = case.fields[parts[0]]
    if kind == "compare":
        return leaf(of, parts[1], parts[2])
    if kind == "between":
        return f"({leaf(of, '>=', parts[1])} AND {leaf(of, '<', parts[2])})"
    return "(" + " OR ".join(["false", *(leaf(of, "==", each) for each in parts[1])]) + ")"


def leaf(of: Field, compare: str, value: Any) -> str:
    name, value = of.name, rounded(of, value)
    column, constant = in_common_type(of, value)
    symbol = {"==": "=", "!=": "<>"}.get(compare, compare)
    absent = f"{name} IS NULL" + (f" OR isnan({name})" if of.kind == "float" else "")
    if compare == "!=":
        return f"({absent} OR {column} {symbol} {constant})"
    return f"(NOT ({absent}) AND {column} {symbol} {constant})"


def in_common_type(of: Field, value: Any) -> tuple[str, str]:
    """Column and constant, both cast to a type that represents them exactly."""
    if isinstance(value, bool) or of.kind == "bool":
        return of.name, str(bool(value)).lower()
    if of.kind == "text":
        return of.name, "'" + value.replace("'", "''") + "'"
    if isinstance(value, float) and math.isnan(value):
        raise NotInSQL
    if of.kind == "float":
        if isinstance(value, Decimal) or (isinstance(value, int) and abs(value) > 2**53):
            raise NotInSQL
        return of.name, f"CAST('{float(value)!r}' AS DOUBLE)"
    if isinstance(value, float):
        if of.sql in ("BIGINT", "UBIGINT") or of.kind == "decimal":
            raise NotInSQL
        return f"CAST({of.name} AS DOUBLE)", f"CAST('{value!r}' AS DOUBLE)"
    if abs(value) >= 10**30:
        raise NotInSQL
    return f"CAST({of.name} AS DECIMAL(38, 4))", f"CAST('{value}' AS DECIMAL(38, 4))"


def ordered(rows: Iterable[dict[str, Any]], by: list[tuple[str, bool]]) -> list[dict[str, Any]]:
    """Records sorted by fields, each ascending or descending; None and NaN last either way."""
    result = list(rows)
    for name, descending in reversed(by):
        there = [row for row in result if not is_missing(row[name])]
        gone = [row for row in result if is_missing(row[name])]
        result = sorted(there, key=lambda row: row[name], reverse=descending) + gone
    return result


def is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def newest(rows: Iterable[dict[str, Any]], by: tuple[str, ...] = ("cid", "mid", "moid", "cap")) -> list[dict[str, Any]]:
    """The latest version of each key."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        found[tuple(row[name] for name in by)] = row
    return list(found.values())


def windows(rows: Iterable[dict[str, Any]], every: int, name: str) -> dict[tuple[int, ...], tuple[Any, ...]]:
    """Count, sum, minimum and maximum of a field per series and window, ignoring absent values."""
    groups: dict[tuple[int, ...], list[Any]] = defaultdict(list)
    for row in rows:
        groups[row["cid"], row["mid"], row["moid"], row["cap"] // every * every].append(row[name])
    result = {}
    for key, values in groups.items():
        there = [value for value in values if value is not None]
        result[key] = (len(values), sum(there), min(there), max(there)) if there else (len(values), None, None, None)
    return result


def windows_by_pandas(rows: Iterable[dict[str, Any]], every: int, name: str) -> dict[tuple[int, ...], tuple[Any, ...]]:
    """The same with pandas."""
    frame = pd.DataFrame([(r["cid"], r["mid"], r["moid"], r["cap"] // every * every) for r in rows])
    frame["value"] = pd.array([row[name] for row in rows], "Int64")
    groups = frame.groupby([0, 1, 2, 3])["value"]
    made = groups.agg(["size", "sum", "min", "max"])
    return {
        key: (int(size), *((None,) * 3 if low is pd.NA else (int(total), int(low), int(high))))
        for key, size, total, low, high in zip(made.index, *(made[each] for each in made), strict=True)
    }
