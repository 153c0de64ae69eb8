"""Conditions with very many terms are built, planned, evaluated, shown and pickled without recursion."""

from __future__ import annotations

import copy
import gc
import pickle
from collections.abc import Callable
from functools import reduce
from operator import and_, or_
from typing import Any

import pytest
from support.budget import is_long

from tsmodel import Expression, Float32, Int32, TSModel, connect
from tsmodel.query.plan import Explanation

MANY = 100_000 if is_long() else 11_000
"""Far beyond the interpreter's recursion limit; so is a tenth of it."""


class Reading(TSModel):
    counter: Int32
    volts: Float32


class Other(TSModel):
    code: Int32


def negated(condition: Expression, times: int) -> Expression:
    for _ in range(times):
        condition = ~condition
    return condition


def nested(step: Callable[[Expression, int], Expression], times: int) -> Expression:
    condition: Any = Reading.mid == 0
    for n in range(1, times):
        condition = step(condition, n)
    return condition  # type: ignore[no-any-return]


CASES: dict[str, tuple[Callable[[], Any], Callable[[int], bool]]] = {
    "any of the key": (lambda: reduce(or_, [Reading.mid == 2 * n for n in range(MANY)]), lambda n: n % 2 == 0),
    "all of the key": (lambda: reduce(and_, [Reading.mid != 2 * n for n in range(MANY)]), lambda n: n % 2 == 1),
    "any of a field": (lambda: reduce(or_, [Reading.counter == 3 * n for n in range(MANY)]), lambda n: n % 3 == 0),
    "negations": (lambda: negated(Reading.counter < 7, MANY), lambda n: n < 7),
    "an odd number": (lambda: negated(Reading.mid < 7, 3001), lambda n: n >= 7),
    "alternating": (
        lambda: nested(lambda c, n: (Reading.mid == 2 * n) | c if n % 2 else c & (Reading.cap >= -n), MANY // 5),
        lambda n: n % 4 == 2 or n == 0,
    ),
    "to the right": (lambda: nested(lambda c, n: (Reading.mid == 2 * n) | c, MANY), lambda n: n % 2 == 0),
    "to the right, mixed": (
        lambda: nested(lambda c, n: (Reading.counter == 2 * n) | ~((Reading.volts < 0) | ~c), MANY // 5),
        lambda n: n % 2 == 0,
    ),
    "any of pairs": (
        lambda: reduce(or_, [(Reading.mid == 2 * n) & (Reading.counter >= n) for n in range(MANY // 10)]),
        lambda n: n % 2 == 0,
    ),
    "all of pairs": (
        lambda: reduce(and_, [(Reading.mid != 2 * n) | (Reading.cap < n) for n in range(MANY // 10)]),
        lambda n: n % 2 == 1,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_very_many_terms(name: str) -> None:
    make, meaning = CASES[name]
    condition = make()
    with connect("memory:") as session:
        session.add_all(Reading(cid=1, mid=n, moid=1, cap=n, counter=n, volts=n) for n in range(60))
        session.flush()
        query = session.query(Reading).where(condition)
        expected = [n for n in range(60) if meaning(n)]
        assert sorted(row.mid for row in query.all()) == expected
        assert query.where(Reading.mid < 30).count() == len([n for n in expected if n < 30])
        explained: Explanation = query.explain()
        assert len(str(explained)) < 10_000
        assert len(repr(query)) < 10_000
        text = str(condition)
        assert repr(condition) == f"<condition {text}>"
        assert copy.copy(condition) is copy.deepcopy(condition) is condition
        again = pickle.loads(pickle.dumps(condition))
        assert str(again) == text
        del condition, again, query, explained
        gc.collect()


def test_deep_conditions_on_several_models() -> None:
    condition: Any = reduce(or_, [Reading.counter == n for n in range(0, MANY, 2)])
    with connect("memory:") as session:
        session.add_all(Reading(cid=1, mid=1, moid=1, cap=n, counter=n, volts=n) for n in range(10))
        session.flush()
        assert session.query(Reading | Other).where(~condition).count() == 5
