"""`tsmodel sql`."""

from __future__ import annotations

import _thread
import json
import threading
from pathlib import Path

import pytest
from support.commands import Run

MODEL = ("--model", "meter_models:Reading")


def test_sql(run: Run, readings: Path, work: Path) -> None:
    statement = "select mid, max(volts) as most, min(cap) as first from Reading group by mid order by mid"
    done = run("sql", statement, readings, *MODEL, "--cap", "2026-11-01T00:05..", "--json")
    assert [json.loads(line) for line in done.out.splitlines()] == [
        {"mid": mid, "most": 239.0, "first": "2026-11-01T00:05:00Z"} for mid in (4711, 4712)
    ]
    assert run("sql", statement, readings, *MODEL).out.split()[:3] == ["mid", "most", "first"]
    assert run("sql", statement, readings, *MODEL, "-f", "csv").out.splitlines()[1] == "4711,239.0,2026-11-01T00:00:00Z"
    assert run("sql", statement, readings, *MODEL, "-o", "a.parquet").err == "wrote 2 rows to a.parquet\n"
    done = run("sql", "select count(*) as n from Record a join Record b using (mid, cap)", readings, "--json")
    assert json.loads(done.out) == {"n": 200}
    done = run("sql", "select sum(moid) as whole, sum(null::int) as none from Reading", readings, *MODEL, "--json")
    assert json.loads(done.out) == {"whole": 1400, "none": None}


@pytest.mark.parametrize("statement", ["", "selec 1", "select * from nothing", "select nothing from Record"])
def test_statements_that_are_wrong(run: Run, readings: Path, statement: str) -> None:
    done = run("sql", statement, readings)
    assert (done.status, done.out, done.err.count("\n")) == (2, "", 1)


def test_ctrl_c_while_a_query_runs(run: Run, readings: Path) -> None:
    timer = threading.Timer(1, _thread.interrupt_main)
    timer.start()
    done = run("sql", "select count(*) from range(1000000000000)", readings)
    assert (done.status, done.out, done.err) == (130, "", "")
