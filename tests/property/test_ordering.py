"""Order, newest versions and series against brute force, over every backend, sync and async."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.budget import examples
from support.fields import State
from support.sessions import EVERYWHERE, opened_at

from tsmodel import Enumerated, Float32, Float64, Nullable, Text, TSModel, UInt8, field
from tsmodel.query.sinks import Series


class Fixed(TSModel):
    volts: Float64
    state: Enumerated[State] = field(storage=UInt8)
    temp: Nullable[float] = field(item=Float64)


class Varying(TSModel):
    volts: Float64
    name: Text


class Before(TSModel):
    volts: Float32


class Widened(TSModel, replaces=Before):
    volts: Float64
    state: Enumerated[State] = field(storage=UInt8)


class Since(TSModel, replaces=Widened, since=1):
    volts: Float64
    name: Text


@Widened.upgrade_from(Before)
def widened(old: Before) -> Widened:
    return Widened(cid=9, mid=9, moid=9, cap=9, volts=old.volts, state=State.ON)


@Since.upgrade_from(Widened)
def renamed(old: Widened) -> Since:
    return Since(cid=9, mid=9, moid=9, cap=9, volts=-old.volts, name=old.state.name)


CIDS = itertools.count()


@pytest.fixture(scope="module", params=EVERYWHERE, ids="-".join)
def session(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with opened_at(*request.param, tmp_path_factory.mktemp("ordering")) as session:
        yield session


numbers = st.sampled_from([-1.5, 0.0, 2.0, math.nan])
fixed = st.builds(
    Fixed,
    cid=st.just(0),
    mid=st.integers(0, 2),
    moid=st.integers(0, 1),
    cap=st.integers(0, 2),
    volts=numbers,
    state=st.sampled_from(State),
    temp=st.sampled_from([None, 1.0, -3.0]),
)
varying = st.builds(
    Varying,
    cid=st.just(0),
    mid=st.integers(0, 2),
    moid=st.integers(0, 1),
    cap=st.integers(0, 2),
    volts=numbers,
    name=st.sampled_from(["", "a", "ab", "ä"]),
)


def versions_of(*models: type[Any], caps: st.SearchStrategy[int]) -> st.SearchStrategy[Any]:
    more = {"state": st.sampled_from(State), "name": st.sampled_from(["", "a", "ab", "ä"])}
    keys = {"cid": st.just(0), "mid": st.integers(0, 2), "moid": st.integers(0, 1), "cap": caps}
    return st.one_of(
        st.builds(each, **keys, volts=numbers, **{name: more[name] for name in more if hasattr(each, name)})
        for each in models
    )


ROWS: dict[Any, st.SearchStrategy[Any]] = {
    Fixed: fixed,
    Varying: varying,
    Widened: versions_of(Before, Widened, caps=st.integers(0, 2)),
    Since: versions_of(Before, Widened, caps=st.just(0)) | versions_of(Since, caps=st.integers(1, 2)),
}
ORDERS: dict[Any, list[str]] = {
    Fixed: ["cap", "mid", "acq", "volts", "state", "temp"],
    Varying: ["cap", "moid", "acq", "volts", "name"],
    Widened: ["cap", "mid", "acq", "volts", "state"],
    Since: ["cap", "moid", "acq", "volts", "name"],
}


def sort_key(value: Any) -> Any:
    return value.value if isinstance(value, State) else value.encode() if isinstance(value, str) else value


def is_absent(value: Any) -> bool:
    return value is None or value != value


def by_brute_force(
    rows: list[Any], *, latest: bool, keep: Callable[[Any], bool], series: str | None, orders: list[tuple[str, bool]]
) -> list[Any]:
    if latest:
        newest: dict[Any, Any] = {}
        for row in sorted(rows, key=lambda row: row.acq):
            newest[row.mid, row.moid, row.cap] = row
        rows = list(newest.values())
    rows = [row for row in rows if keep(row)]
    if series is not None:
        chosen: dict[Any, Any] = {}
        for row in sorted(rows, key=lambda row: (row.cap, row.acq), reverse=series == "first"):
            chosen[row.mid, row.moid] = row
        rows = list(chosen.values())
    for name, descending in reversed(orders):
        present = [row for row in rows if not is_absent(getattr(row, name))]
        present.sort(key=lambda row, name=name: sort_key(getattr(row, name)), reverse=descending)
        rows = present + [row for row in rows if is_absent(getattr(row, name))]
    return rows


def streamed(asked: Any) -> list[Any]:
    """The records of batches, sync or async."""
    batches = asked.batches(2)
    if hasattr(batches, "__iter__"):
        return [row for batch in batches for row in batch]

    async def collected() -> list[Any]:
        return [row async for batch in batches for row in batch]

    found: list[Any] = asked._loop.run_until_complete(collected())
    return found


@settings(deadline=None, max_examples=examples(60), suppress_health_check=list(HealthCheck))
@given(st.data())
def test_queries_match_brute_force(session: Any, data: st.DataObject) -> None:
    model = data.draw(st.sampled_from(list(ROWS)))
    rows = data.draw(st.lists(ROWS[model]))
    cid = next(CIDS)
    for row in rows:
        row.cid = cid
    half = len(rows) // 2
    for part in (rows[:half], rows[half:]):
        session.add_all(part)
        session.flush()
    query = session.query(model).cid(cid)
    stored = query.all()
    assert len(stored) == len(rows)

    latest = data.draw(st.booleans())
    series = data.draw(st.sampled_from([None, "first", "last"]))
    names = data.draw(st.lists(st.sampled_from(ORDERS[model]), unique=True, max_size=3))
    orders = [(name, data.draw(st.booleans())) for name in names]
    limit = data.draw(st.sampled_from([None, None, 0, 1, 3])) if orders else None
    filtered = data.draw(st.booleans())
    asked = query.latest() if latest else query
    if series:
        asked = asked.first_per_series() if series == "first" else asked.last_per_series()
    if filtered:
        asked = asked.where(model.volts >= 0)
    if orders:
        columns = [getattr(model, name) for name in names]
        pairs = zip(columns, orders, strict=True)
        asked = asked.order_by(*(column.desc() if down else column for column, (_, down) in pairs))
    if limit is not None:
        asked = asked.limit(limit)
    expected = by_brute_force(
        stored, latest=latest, keep=lambda row: not filtered or row.volts >= 0, series=series, orders=orders
    )

    def shown(found: list[Any]) -> list[str]:
        return [str([sort_key(getattr(row, name)) for name in names]) for row in found]

    found = asked.all()
    # Records that sort equal stay in arrival order, so only sort values are compared.
    assert shown(found) == shown(expected)[: len(expected) if limit is None else limit]
    assert {str(row) for row in found} <= {str(row) for row in expected}
    assert len({str(row) for row in found}) == len(found)
    assert asked.count() == len(found)
    assert shown([] if (first := asked.first()) is None else [first]) == shown(found)[:1]
    assert str(streamed(asked)) == str(found)
    assert str(asked.columns()["acq"].tolist()) == str([row.acq for row in found])
    assert asked.stats.records_returned == len(found)
    columns = [getattr(model, name) for name in ("mid", "acq", *ORDERS[model])]
    assert str(asked.select(*columns).all()) == str([tuple(getattr(row, each.name) for each in columns) for row in found])
    whole: dict[Any, list[int]] = {}
    for row in found:
        whole.setdefault((cid, row.mid, row.moid), []).append(row.cap)
    assert asked.series() == [Series(*key, len(caps), min(caps), max(caps)) for key, caps in sorted(whole.items())]
