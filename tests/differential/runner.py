"""Compares tsmodel's answers with those of `oracles`, over every backend.

usage: python tests/differential/runner.py [--minutes 10] [--seed 1]

Runs until the time is up or an answer differs, and then prints the seed that reproduces the case.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from differential import oracles
from differential.cases import KEYS, Case, random_case, random_condition
from support.sessions import OPENERS

from tsmodel import count
from tsmodel.server import serve_in_thread

EPOCH = 978_307_200 * 10**9
BACKENDS = ("memory", "file", "reopened", "tcp", "tcp to a file")


@contextmanager
def holding(case: Case, backend: str, kind: str, directory: Path) -> Iterator[Any]:
    """A session on a new store that holds the case's records, put by put."""
    opener = OPENERS[kind]

    def write(session: Any) -> None:
        for put in case.puts:
            session.add_all(put)
            session.flush()

    path = str(directory / "records.tsdb")
    if backend.startswith("tcp"):
        with serve_in_thread("memory:" if backend == "tcp" else path) as (host, port):
            with opener(f"tstorage://{host}:{port}") as session:
                write(session)
                yield session
        return
    if backend == "reopened":
        with opener(path) as session:
            write(session)
    with opener("memory:" if backend == "memory" else path) as session:
        if backend != "reopened":
            write(session)
        yield session


def is_absent(value: Any) -> bool:
    """Whether a value of a pandas frame is missing or NaN, which pandas does not always distinguish."""
    return value is None or value is pd.NA or oracles.is_missing(value)


def comparable(value: Any) -> Any:
    """The value in a form that equals itself, NaN included."""
    return "NaN" if isinstance(value, float) and math.isnan(value) else value


def check_case(seed: int, backend: str, kind: str, directory: Path, *, most: int = 120, queries: int = 6) -> Counter[str]:
    """Draws a case and queries from a seed, and compares all answers.

    Returns:
        Number of compared answers of each kind.

    Raises:
        AssertionError: an answer differs.
    """
    rng = Random(seed)
    case = random_case(rng, most)
    base = oracles.table(case)
    done: Counter[str] = Counter()
    with holding(case, backend, kind, directory) as session:
        for _ in range(queries):
            condition = random_condition(rng, case)
            rows = [row for row in case.rows if oracles.meets(case, condition, row)]
            try:
                selected = base.execute(f"SELECT n FROM t WHERE {oracles.sql(case, condition)} ORDER BY n").fetchall()
            except oracles.NotInSQL:
                pass
            else:
                assert [row["n"] for row in rows] == [n for (n,) in selected], f"the oracles differ on {condition}"
                done["conditions, SQL too"] += 1
            query = session.query(case.model).where(oracles.expression(case, condition))
            done += check_query(rng, case, query, rows, condition)
    base.close()
    return done


def check_query(rng: Random, case: Case, query: Any, rows: list[dict[str, Any]], condition: Any) -> Counter[str]:
    """Compares the answers of one query."""
    done: Counter[str] = Counter()
    names = ["n", *case.fields]
    expected = sorted(tuple(comparable(row[name]) for name in names) for row in sorted(rows, key=lambda row: row["n"]))

    def same(what: str, got: Any, wanted: Any) -> None:
        done[what] += 1
        assert got == wanted, f"{what} of {condition}:\n  got {got}\n  not {wanted}"

    def of(found: Any) -> list[tuple[Any, ...]]:
        return sorted(tuple(comparable(getattr(row, name)) for name in names) for row in found)

    same("all", of(query.all()), expected)
    same("count", query.count(), len(rows))
    same("exists", query.exists(), bool(rows))
    chosen = rng.choice(list(case.fields))
    columns = (case.model.n, getattr(case.model, chosen))
    same(
        "select",
        sorted((n, comparable(value)) for n, value in query.select(*columns).all()),
        sorted((row["n"], comparable(row[chosen])) for row in rows),
    )
    arrow = query.to_arrow()
    since_1970 = arrow.column("cap").cast("int64").to_pylist()
    lists = {**{name: arrow.column(name).to_pylist() for name in names}, "cap": [ns - EPOCH for ns in since_1970]}
    listed = zip(*(lists[name] for name in names), strict=True)
    if not any(case.fields[name].kind == "float" and case.fields[name].width.__name__ == "float16" for name in case.fields):
        same("arrow", sorted(tuple(map(comparable, row)) for row in listed), expected)
    same("polars", sorted(query.to_polars()["n"].to_list()), sorted(row["n"] for row in rows))
    frame = query.to_pandas()
    for name in ["n", *(name for name in case.fields if name != "cap")]:
        found = [None if is_absent(value) else value for value in frame.sort_values("n")[name].tolist()]
        wanted = [None if oracles.is_missing(row[name]) else row[name] for row in rows]
        same("pandas", found, wanted)

    by = [(name, rng.random() < 0.5) for name in rng.sample(list(case.fields), k=min(2, len(case.fields)))]
    steps = [getattr(case.model, name).desc() if down else getattr(case.model, name) for name, down in by]
    limit = rng.choice([None, 1, 3, 1000])
    sorted_query = query.order_by(*steps, case.model.n)
    wanted = [row["n"] for row in oracles.ordered(rows, [*by, ("n", False)])][:limit]
    same("order", [row.n for row in (sorted_query.limit(limit) if limit else sorted_query).all()], wanted)

    series = {(row["cid"], row["mid"], row["moid"]): 0 for row in rows}
    for row in rows:
        series[row["cid"], row["mid"], row["moid"]] += 1
    same("series", {(each.cid, each.mid, each.moid): each.count for each in query.series()}, series)
    last = {(row["cid"], row["mid"], row["moid"]): row["cap"] for row in oracles.ordered(rows, [("cap", False)])}
    found = query.last_per_series().all()
    same("last_per_series", {(row.cid, row.mid, row.moid): row.cap for row in found}, last)
    same("last_per_series, limited", len(query.last_per_series().limit(2).all()), min(2, len(last)))
    for row in query.last_per_series().limit(2).all():
        same("last_per_series, limited", row.cap, last[row.cid, row.mid, row.moid])

    newest = {row["n"] for row in oracles.newest(case.rows)}
    whole = sorted(row.n for row in query.latest().all())
    key_only = fields_of(condition) <= set(KEYS)
    wanted = sorted(row["n"] for row in rows if row["n"] in newest)
    same("latest" if key_only else "latest, then conditions", whole, wanted)

    numbers = [
        name
        for name, each in case.fields.items()
        if each.kind == "int" and name not in KEYS and each.sql != "UBIGINT"  # their sum may exceed int64 and is refused
    ]
    if numbers and rows:
        name, every = rng.choice(numbers), rng.choice([1, 7, 10])
        column = getattr(case.model, name)
        expected_windows = oracles.windows(rows, every, name)
        if sum(abs(row[name] or 0) for row in rows) < 2**63:  # otherwise the sum may be refused
            got = query.resample(every, origin=0).agg(n=count(), s=column.sum(), low=column.min(), high=column.max())
            same(
                "windows",
                {(w.cid, w.mid, w.moid, w.start): (w.n, w.s, w.low, w.high) for w in got},
                expected_windows,
            )
            same("windows, by pandas", oracles.windows_by_pandas(rows, every, name), expected_windows)
    return done


def fields_of(condition: tuple[Any, ...]) -> set[str]:
    kind, *parts = condition
    if kind in ("and", "or", "not"):
        return set().union(*map(fields_of, parts))
    return {parts[0]}


def main() -> None:
    """Runs for a while and reports the number of comparisons."""
    parser = argparse.ArgumentParser(description="compares tsmodel with independent implementations, on random data")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    until = time.monotonic() + 60 * given.minutes
    done: Counter[str] = Counter()
    seed, cases = given.seed, 0
    while time.monotonic() < until:
        backend, kind = BACKENDS[seed % len(BACKENDS)], ("sync", "async")[seed // len(BACKENDS) % 2]
        with tempfile.TemporaryDirectory() as directory:
            try:
                done += check_case(seed, backend, kind, Path(directory), most=Random(seed).choice([20, 200, 1000]))
            except BaseException:
                print(f"seed {seed}, {backend}, {kind}", file=sys.stderr)
                raise
        seed += 1
        cases += 1
    print(f"{cases} cases, seeds {given.seed} to {seed - 1}; answers compared, none differed:")
    for what, many in done.most_common():
        print(f"{many:10,}  {what}")


if __name__ == "__main__":
    main()
