"""A program to test: it stores readings of meters, and finds the meters with high voltages."""

from __future__ import annotations

from collections.abc import Iterable

from tsmodel import Float32, Int32, Session, TSModel, field


class Reading(TSModel, cid=1, moid=7):
    counter: Int32
    volts: Float32 = field(unit="V", ge=0)


def store(session: Session, readings: Iterable[Reading]) -> int:
    """Stores readings that are not stored yet, and returns their number."""
    session.add_all(readings, unless_stored=True)
    return session.flush().count


def too_high(session: Session, volts: float) -> list[int]:
    """Meters that reported more than that in the last hour."""
    recent = session.query(Reading).last("1h").where(Reading.volts > volts)
    return sorted({series.mid for series in recent.series()})
