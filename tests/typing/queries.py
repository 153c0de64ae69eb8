"""Types of ordered queries, versions and series. Checked like `typing_contract.py`; never imported at run time."""

import datetime as dt
from typing import Any

import numpy.typing as npt
from typing_extensions import assert_type

from tsmodel import AsyncSession, Float32, Query, Session, TSModel, count
from tsmodel.query.resample import Windows
from tsmodel.query.sinks import Quarantined, Series


class Reading(TSModel):
    volts: Float32


def ordered(session: Session) -> None:
    query = session.query(Reading).order_by(Reading.cap.desc(), Reading.mid).limit(3)
    assert_type(query, Query[Reading])
    assert_type(query.latest().all(), list[Reading])
    assert_type(query.one().captured, dt.datetime)
    assert_type(query.one().acquired, dt.datetime | None)
    assert_type(query.as_of("2026-01-01T00:00:00Z").first_per_series().first(), Reading | None)
    assert_type(query.on(dt.date(2026, 1, 1), "Europe/Warsaw").last("15m").series(), list[Series])
    assert_type(query.on_error("quarantine").quarantined, list[Quarantined])
    assert_type(query.select(Reading.mid, Reading.volts).all(), list[tuple[int, float]])
    for mid, volts in query.select(Reading.mid, Reading.volts):
        assert_type(mid, int)
        assert_type(volts, float)
    assert_type(query.order_by("cap", -Reading.volts), Query[Reading])
    query.order_by(5)  # type: ignore[arg-type]
    query.on_error("ignore")  # type: ignore[arg-type]


async def awaited(session: AsyncSession) -> None:
    assert_type(await session.query(Reading).revisions().all(), list[Reading])
    assert_type(await session.query(Reading).latest().series(), list[Series])
    assert_type(await session.query(Reading).select(Reading.volts).first(), tuple[float] | None)
    query = session.query(Reading)
    assert_type(await query.all(), list[Reading])
    assert_type(await query.one(), Reading)
    assert_type(await query.count(), int)
    assert_type(await query.exists(), bool)
    assert_type(await query.delete(dry_run=True), int)
    assert_type(await query.columns("volts"), dict[str, npt.NDArray[Any]])
    assert_type(await query.resample("1h").agg(n=count()), Windows)
    await query.delete(dry=True)  # type: ignore[call-arg]
    await query.to_pandas(tz=3)  # type: ignore[arg-type]
