"""Query steps and sinks: key ranges, what is read, and refusals."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import suppress

import numpy as np
import pytest

from tsmodel import Bool, Float32, Int16, Key, KeyRange, Query, Session, TSModel
from tsmodel.backend import AcqInterval, Batch, Scan, ScanBudget
from tsmodel.errors import NoSessionError, QueryError
from tsmodel.keys import LIMITS
from tsmodel.store import open_store


class Reading(TSModel):
    counter: Int16
    volts: Float32
    valid: Bool


class Fixed(TSModel, cid=5, moid=7):
    code: Int16


class Other(TSModel):
    counter: Bool


class Counting:
    """A store that counts requests."""

    def __init__(self) -> None:
        self.store = open_store(None)
        self.scan_budget = ScanBudget(0)
        self.boxes: list[KeyRange] = []
        self.chunks = 0
        self.scans = 0

    def scan(self, box: KeyRange) -> Scan:
        self.boxes.append(box)
        return Scan(self._chunks(box))

    def _chunks(self, box: KeyRange):  # type: ignore[no-untyped-def]
        self.scans += 1
        try:
            with self.store.scan(box) as scan:
                for chunk in scan:
                    self.chunks += 1
                    yield chunk
                return scan.acq
        finally:
            self.scans -= 1

    def append(self, batches: Sequence[Batch], *, with_acq: bool = False) -> AcqInterval:
        return self.store.append(batches, with_acq=with_acq)

    def last_acq(self, box: KeyRange) -> int:
        return self.store.last_acq(box)

    def close(self) -> None:
        self.store.close()


@pytest.fixture
def backend() -> Counting:
    return Counting()


@pytest.fixture
def session(backend: Counting) -> Iterator[Session]:
    with Session(backend) as session:
        session.add_all(
            Reading(cid=n % 2, mid=n % 5, moid=0, cap=n, counter=n, volts=n / 4, valid=n % 2 == 0) for n in range(10_000)
        )
        session.flush()
        yield session


def ranges(query: Query[Reading]) -> list[str]:
    return [str(box) for box in query.key_ranges()]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (Reading.query, ["all keys"]),
        (Reading.query.cid(1), ["cid 1"]),
        (Reading.query.cid(1, 2), ["cid [1, 3)"]),
        (Reading.query.cid(1, 3), ["cid 1", "cid 3"]),
        (Reading.query.cid([1, 3], 4), ["cid 1", "cid [3, 5)"]),
        (Reading.query.cid(range(3, 9)), ["cid [3, 9)"]),
        (Reading.query.cid(range(3, 9, 4)), ["cid 3", "cid 7"]),
        (Reading.query.cid(np.int64(3)), ["cid 3"]),
        (Reading.query.mid(-4), ["mid -4"]),
        (Reading.query.moid(0), ["moid 0"]),
        (Reading.query.cid_between(1, 4), ["cid [1, 4)"]),
        (Reading.query.mid_between(1, 4), ["mid [1, 4)"]),
        (Reading.query.moid_between(1, 4), ["moid [1, 4)"]),
        (Reading.query.cap_between(1, 4), ["cap [1, 4)"]),
        (Reading.query.cap_since(1), ["cap [1, max)"]),
        (Reading.query.cap_before(4), ["cap [min, 4)"]),
        (Reading.query.acq_between(1, 4), ["acq [1, 4)"]),
        (Reading.query.acq_since(1), ["acq [1, max)"]),
        (Reading.query.acq_before(4), ["acq [min, 4)"]),
        (Reading.query.cap_between(0, 9).cap_since(5), ["cap [5, 9)"]),
        (Reading.query.where(Reading.mid > 5, Reading.mid <= 7), ["mid [6, 8)"]),
        (Reading.query.where(Reading.mid != 5), ["mid [min, 5)", "mid [6, max)"]),
        (Reading.query.where(~(Reading.mid < 5)), ["mid [5, max)"]),
        (Reading.query.where((Reading.mid < 2) | (Reading.volts > 1)), ["all keys"]),
        (Reading.query.cid(), []),
        (Reading.query.cid(range(0)), []),
        (Reading.query.cap_between(4, 4), []),
        (Reading.query.where(Reading.cap.between(4, 1)), []),
        (Reading.query.cid(1).cid(2), []),
        (Reading.query.where(Reading.mid.is_in([])), []),
        (Reading.query.where(Reading.mid == 2**63 - 1), []),
    ],
)
def test_steps_become_key_ranges(query: Query[Reading], expected: list[str]) -> None:
    assert ranges(query) == expected


@pytest.mark.parametrize(
    "time",
    [
        1_500_000_000,
        "2001-01-01T00:00:01.500Z",
        "2001-01-01T01:00:01.5+01:00",
        dt.datetime(2001, 1, 1, 0, 0, 1, 500_000, tzinfo=dt.timezone.utc),
        np.datetime64("2001-01-01T00:00:01.500"),
    ],
)
def test_times_of_every_kind(time: object) -> None:
    assert Reading.query.cap_since(time).key_ranges() == [KeyRange.of(cap=(1_500_000_000, LIMITS["cap"].bound))]  # type: ignore[arg-type]


def test_every_step_returns_a_new_query() -> None:
    query = Reading.query.cid(1)
    assert query.mid(2) is not query
    assert ranges(query) == ["cid 1"]
    for changed in (query.limit(3), query.on_error("skip"), query.max_boxes(2), query.where(Reading.volts > 1)):
        assert changed is not query
        assert query.explain().limit is None
        assert query.explain().plan.residual == ()


def test_key_components_fixed_by_the_class_apply_to_every_query() -> None:
    assert [str(box) for box in Fixed.query.key_ranges()] == ["cid 5, moid 7"]
    assert [str(box) for box in Fixed.query.mid(1).key_ranges()] == ["cid 5, mid 1, moid 7"]
    assert Fixed.query.cid(6).key_ranges() == []


@pytest.mark.parametrize(
    ("make", "wording"),
    [
        (lambda: Reading.query.cid(-1), r"cid\(-1\): no record can have that cid; it is between 0 and 2147483646"),
        (lambda: Reading.query.mid(2**63 - 1), "no record can have that mid"),
        (lambda: Reading.query.cid("1"), r"Reading.cid \(Int32\) cannot be compared with"),
        (lambda: Reading.query.mid(None), "cannot be compared with None"),
        (lambda: Reading.query.mid("4711"), r"cannot be compared with '4711' \(str\)"),
        (lambda: Reading.query.mid(b"12"), r"cannot be compared with b'12' \(bytes\)"),  # not mids 49 and 50
        (lambda: Reading.query.cap_since(dt.datetime(2020, 1, 1)), "naive"),
        (lambda: Reading.query.cap_since("yesterday"), "is not ISO 8601"),
        (lambda: Reading.query.cap_between("2020-01-01", 5), "add the time of day"),
        (lambda: Reading.query.where(3), r"where\(\) takes conditions such as Reading.cap > 0, not 3 \(int\)"),
        (lambda: Reading.query.where(True), "not True"),
        (lambda: Reading.query.where(Other.counter == True), "Other.counter is not a column of Reading, which has cid"),  # noqa: E712
        (lambda: Reading.query.where((Reading.mid > 1) & ~(Fixed.code > 1)), "Fixed.code is not a column of Reading"),
        (lambda: Reading.query.limit(-1), "limit takes an int from 0, not -1"),
        (lambda: Reading.query.limit(True), "limit takes an int"),
        (lambda: Reading.query.batches(0), "batches takes an int from 1, not 0"),
        (lambda: Reading.query.max_boxes(0), "max_boxes takes an int from 1"),
        (lambda: Reading.query.on_error("ignore"), 'on_error takes "raise", "skip" or "quarantine"'),
        (lambda: Reading.query.stats, "has not run yet"),
    ],
)
def test_refusals(make, wording: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(QueryError, match=wording):
        make()


@pytest.mark.parametrize("name", ["cid", "mid", "moid", "cap", "acq"])
def test_reversed_range_is_refused(name: str) -> None:
    with pytest.raises(QueryError, match=rf"{name}_between\(5, 3\) is empty: its end lies below its start; swap them"):
        getattr(Reading.query, f"{name}_between")(5, 3)


def test_key_columns_are_shared_between_models() -> None:
    assert ranges(Reading.query.where(Other.mid == 5)) == ["mid 5"]


def test_nothing_is_read_when_nothing_can_match(session: Session, backend: Counting) -> None:
    query = Reading.query.cap_between(9, 9)
    assert (query.all(), query.first(), query.count(), query.exists(), list(query)) == ([], None, 0, False, [])
    assert list(query.batches(5)) == []
    assert Reading.query.limit(0).all() == []
    assert backend.boxes == []
    with pytest.raises(QueryError, match="no record can match"):
        query.last_acq()


def test_reading_stops_at_the_limit(session: Session, backend: Counting) -> None:
    for sink in (Query.first, Query.exists, lambda query: query.limit(3).all(), lambda query: query.limit(3).count()):
        backend.chunks = 0
        assert sink(Reading.query)
        assert backend.chunks == 1
        assert backend.scans == 0
    Reading.query.count()
    assert backend.chunks > 2


def test_closing_an_iterator_releases_the_scan(session: Session, backend: Counting) -> None:
    iterator = iter(Reading.query)
    next(iterator)
    assert backend.scans == 1
    iterator.close()  # type: ignore[attr-defined]
    assert backend.scans == 0
    batches = Reading.query.batches(10)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert backend.scans == 0


def test_error_in_the_loop_releases_the_scan(session: Session, backend: Counting) -> None:
    with suppress(KeyError):
        for _ in Reading.query.batches(10):
            assert backend.scans == 1
            raise KeyError
    assert backend.scans == 0


def test_filters(session: Session) -> None:
    query = Reading.query
    assert query.where(Reading.valid == True).count() == 5000  # noqa: E712
    assert query.where(Reading.volts < 1).count() == 4
    assert query.where(Reading.volts.between(1, 2)).count() == 4
    assert query.where(Reading.counter.is_in([1, 5, 9, 77, 10_001])).count() == 4
    assert query.where((Reading.counter < 3) | (Reading.cap >= 9_998)).count() == 5
    assert query.where((Reading.counter < 3) & (Reading.cap >= 1)).count() == 2
    assert sorted(row.counter for row in query.where(~(Reading.counter > 2))) == [0, 1, 2]


def test_stats(session: Session) -> None:
    query = Reading.query.cid(1).where(Reading.volts < 5)
    found = query.all()
    stats = query.stats
    assert (stats.ranges, stats.records_read, stats.records_returned, stats.skipped) == (1, 5000, len(found), 0)
    assert stats.bytes_read == 5000 * (36 + 7)
    assert stats.seconds > 0
    assert query.where().explain().stats is None


def test_explain(session: Session) -> None:
    query = Reading.query.cid(1).cap_between("2001-01-01T00:00:00.000000003Z", 1000).where(Reading.volts < 5).limit(7)
    before = str(query.explain())
    assert before.splitlines() == [
        "query of Reading",
        "  key ranges: 1",
        "    1. cid 1, cap [2001-01-01T00:00:00.000000003Z, 2001-01-01T00:00:00.000001Z)",
        "  residual filter: (volts < 5)",
        "  limit: stops after 7 records",
        "  last run: none yet",
    ]
    query.all()
    assert "last run: read " in str(query.explain())
    steps = query.stats.steps
    assert list(steps) == ["fetching", "checking", "filtering", "making"]
    assert all(seconds >= 0 for seconds in steps.values())
    assert sum(steps.values()) <= query.stats.seconds
    assert "ms (fetching " in str(query.explain())
    assert "returned 7" in str(query.explain())
    assert "nothing can match: nothing is read" in str(Reading.query.cid().explain())
    many = Reading.query.mid(*range(0, 1000, 2))
    assert "key ranges: 64, widened because there would be too many" in str(many.explain())
    assert "… 56 more" in str(many.explain())


def test_widened_queries_return_no_surplus(session: Session) -> None:
    query = Reading.query.where(Reading.cap.is_in(list(range(0, 3000, 3))))
    assert len(query.key_ranges()) == 64
    assert sorted(row.cap for row in query) == list(range(0, 3000, 3))
    assert query.max_boxes(1).count() == 1000


def test_repr() -> None:
    assert repr(Reading.query.cid(1).where(Reading.volts > 2)) == "<Query of Reading: (cid in {1}) & (volts > 2)>"
    assert repr(Reading.query) == "<Query of Reading: all records>"


def test_no_session() -> None:
    with pytest.raises(
        NoSessionError, match=r"no session is open here for Reading.query: open one with .*connect\(\.\.\.\)"
    ):
        Reading.query.all()


def test_using_names_a_session(session: Session) -> None:
    with Session(open_store(None)) as inner:
        assert Reading.query.count() == 0
        assert Reading.query.using(session).count() == 10_000
        assert Reading.query.using(inner).count() == 0
    assert Reading.query.count() == 10_000


def test_last_acq_is_cut_to_the_range(session: Session) -> None:
    last = Reading.query.last_acq()
    assert Reading.query.acq_before(last - 100).last_acq() == last - 100


def test_key_range_bounds() -> None:
    (box,) = Reading.query.cid(1).mid(2).cap_between(3, 4).key_ranges()
    assert box.min == Key(1, 2, LIMITS["moid"].least, 3, LIMITS["acq"].least)
    assert box.max == Key(2, 3, LIMITS["moid"].bound, 4, LIMITS["acq"].bound)
