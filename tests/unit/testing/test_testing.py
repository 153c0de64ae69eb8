"""`tsmodel.testing`: helpers for tests of programs that use tsmodel."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.budget import examples
from support.fields import models, variable_models

from tsmodel import Float32, Int32, Session, Text, TSModel, TSModelError, connect, field, now_ns, to_iso
from tsmodel.errors import SchemaError
from tsmodel.model.model import codec_of
from tsmodel.testing import Clock, Faults, Server, assert_same_records, instances, records
from tsmodel.timestamps import EPOCH_UNIX_NS


class Reading(TSModel, cid=1):
    counter: Int32 = field(ge=0)
    volts: Float32 = field(unit="V", ge=0, le=400)
    note: Text


@settings(suppress_health_check=list(HealthCheck), max_examples=examples(200))
@given((models() | variable_models()).map(lambda pair: pair[0]), st.data())
def test_generated_records_can_be_stored(model: Any, data: st.DataObject) -> None:
    made = [data.draw(instances(model))]
    try:
        made += records(model, 5, seed=data.draw(st.integers(0, 9)))
    except SchemaError as error:
        assert "give one" in str(error)  # noqa: PT017 - only some models have fields that nothing can be made up for
    for row in made:
        assert codec_of(model).values_of(codec_of(model).payload_of(row)) is not None


def test_generated_records_are_plausible_and_reproducible() -> None:
    made = records(Reading, 200, seed=5)
    assert made == records(Reading, 200, seed=5)
    assert made != records(Reading, 200, seed=6)
    assert len({row.mid for row in made}) == 4
    assert len({row.key for row in made}) == 200
    assert all(200 < row.volts < 260 and row.cid == 1 and row.note for row in made)
    one = [row for row in made if row.mid == made[0].mid]
    assert [row.counter for row in one] == list(range(50))
    assert to_iso(one[1].cap) == "2026-01-01T00:15:00Z"
    assert {row.mid for row in records(Reading, 9, mid=5)} == {5}
    assert {row.note for row in records(Reading, 9, note="x")} == {"x"}


def test_generator_meets_unlikely_constraints() -> None:
    class Odd(TSModel):
        code: Text = field(pattern="[0-9]{12}x")

    with pytest.raises(SchemaError, match=r"Odd.code .*give one: records\(Odd, …, code=…\)"):
        records(Odd, 1)
    assert records(Odd, 1, code="000000000000x")[0].code == "000000000000x"


def test_same_records() -> None:
    made = records(Reading, 8)
    assert_same_records(reversed(made), made)
    nan = [Reading(mid=1, moid=1, cap=1, counter=1, volts=231.7, note="")]
    assert_same_records(nan, [Reading(mid=1, moid=1, cap=1, acq=5, counter=1, volts=231.6999969482422, note="")])
    for found, expected, wording in (
        (made[1:], made, "7 records, where 8 are expected\n  missing: Reading"),
        (made, made[1:], "8 records, where 7 are expected\n  not expected: Reading"),
        (made * 2, made, "and 3 more not expected"),
    ):
        with pytest.raises(AssertionError, match=wording):
            assert_same_records(found, expected)
    with pytest.raises(AssertionError, match="missing"):
        assert_same_records([nan[0]], [Reading(mid=1, moid=1, cap=1, acq=5, counter=1, volts=231.7, note="")], acq=True)


def test_session_fixture(ts_session: Session) -> None:
    ts_session.add_all(records(Reading, 5))
    ts_session.flush()
    assert Reading.query.count() == 5
    ts_session.add_all(records(Reading, 5))  # discarded at the end


def test_file_fixture(ts_file: Path) -> None:
    with connect(ts_file, create=False) as session:
        assert session.query(Reading).count() == 0


def test_clock_fixture(ts_clock: Clock, ts_session: Session) -> None:
    ts_clock.set("2030-01-01T00:00:00Z")
    assert now_ns() == ts_clock.now
    ts_session.add_all(records(Reading, 1))
    assert to_iso(ts_session.flush().acq_min) == "2030-01-01T00:00:00Z"
    ts_clock.advance("1d")
    assert to_iso(now_ns()) == "2030-01-02T00:00:00Z"


def test_clock_is_restored() -> None:
    import time

    assert abs(now_ns() + EPOCH_UNIX_NS - time.time_ns()) < 10**10


def test_fault_injection(ts_faults: Faults, ts_server: Server) -> None:
    with connect(ts_server.url) as session:
        session.add_all(records(Reading, 1000))
    with connect(ts_faults.url) as session:
        query = session.query(Reading)
        assert query.count() == 1000
        ts_faults.cut_all()
        ts_faults.cut(after=2000)
        ts_faults.reset(way="to_server")
        for _ in range(2):
            with pytest.raises(TSModelError):
                query.count()
        ts_faults.refuse()
        with pytest.raises(TSModelError):
            query.count()
        ts_faults.refuse(False)
        ts_faults.delay("1ms")
        assert query.count() == 1000
    assert ts_faults.connections >= 5


def test_plugin_is_inert() -> None:
    program = "import sys, tsmodel.testing.plugin; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {name for name in done.stdout.split() if name.startswith("tsmodel")}
    assert loaded == {"tsmodel", "tsmodel.lazily", "tsmodel.testing", "tsmodel.testing.plugin"}
    assert not {"numpy", "msgspec", "hypothesis"} & set(done.stdout.split())
