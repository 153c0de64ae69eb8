"""What type checkers see of order, versions and series. Checked as the contract is; never imported at run time."""

import datetime as dt

from typing_extensions import assert_type

from tsmodel import AsyncSession, Float32, Query, Session, TSModel
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
