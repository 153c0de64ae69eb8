"""Tests of the program: `pytest examples/testing`. The fixtures ts_... come with tsmodel."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from meters import Reading, store, too_high

from tsmodel import Session, TSModelError, connect
from tsmodel.testing import Clock, Faults, Server, assert_same_records, instances, records


def test_what_is_stored_twice_is_stored_once(ts_session: Session) -> None:
    readings = records(Reading, 100, seed=1)
    assert store(ts_session, readings) == 100
    assert store(ts_session, readings) == 0
    assert_same_records(Reading.query, readings)


def test_the_last_hour(ts_session: Session, ts_clock: Clock) -> None:
    ts_clock.set("2026-11-01T12:00:00Z")
    store(ts_session, records(Reading, 1, mid=5, volts=250.0, start="2026-11-01T11:30:00Z"))
    assert too_high(ts_session, 240) == [5]
    ts_clock.advance("31m")
    assert too_high(ts_session, 240) == []


def test_a_file(ts_file: Path) -> None:
    with connect(ts_file) as session:
        store(session, records(Reading, 10))
    with connect(ts_file, read_only=True) as session:
        assert_same_records(session.query(Reading), records(Reading, 10))


def test_a_server(ts_server: Server) -> None:
    with connect(ts_server.url) as session:
        assert store(session, records(Reading, 10)) == 10


def test_a_connection_that_breaks(ts_faults: Faults, ts_server: Server) -> None:
    with connect(ts_server.url) as session:
        store(session, records(Reading, 1000))
    ts_faults.reset(after=500)
    with connect(ts_faults.url) as session:
        with pytest.raises(TSModelError):
            session.query(Reading).all()
        assert len(session.query(Reading).all()) == 1000


@settings(deadline=None, max_examples=50)
@given(instances(Reading))
def test_any_reading_is_read_as_it_was_stored(reading: Reading) -> None:
    with connect("memory:") as session:
        session.add(reading)
        session.flush()
        assert_same_records(session.query(Reading), [reading])
