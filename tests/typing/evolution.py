"""Types of model versions and of queries for several models.

Checked like `typing_contract.py`; never imported at run time.
"""

from typing_extensions import assert_type

from tsmodel import AsyncQuery, AsyncSession, Float32, Int32, Query, Session, TSModel, schema


class Reading(TSModel, moid=7):
    volts: Float32


class Event(TSModel, moid=8):
    code: Int32


class Alarm(TSModel, moid=9):
    code: Int32


class ReadingV2(TSModel, replaces=Reading, moid=7, versioned=True, version=2, since="2026-01-01T00:00:00Z"):
    millivolts: Int32


@ReadingV2.upgrade_from(Reading)
def upgraded(old: Reading) -> ReadingV2:
    return ReadingV2(cid=old.cid, mid=old.mid, cap=old.cap, millivolts=int(old.volts * 1000))


@ReadingV2.upgrade_from(Reading)  # type: ignore
def from_wrong_class(old: Event) -> ReadingV2:
    raise NotImplementedError


@ReadingV2.upgrade_from(Reading)  # type: ignore
def to_wrong_class(old: Reading) -> Event:
    raise NotImplementedError


assert_type(upgraded(Reading(cid=1, mid=1, cap=1, volts=1.0)), ReadingV2)
assert_type(ReadingV2.fingerprint, str)
from_number = ReadingV2.upgrade_from(7)  # type: ignore


def two(session: Session) -> None:
    query = session.query(Reading | Event)
    assert_type(query, Query[Reading | Event])
    assert_type(query.all(), list[Reading | Event])
    assert_type(query.cid(1).where((Reading.volts > 1) | (Event.code == 5)).first(), Reading | Event | None)
    assert_type(Query(Reading | Event).one(), Reading | Event)
    for row in query:
        if isinstance(row, Reading):
            assert_type(row.volts, float)
        else:
            assert_type(row.code, int)
    session.query(Reading | int)  # type: ignore


def three(session: Session) -> None:
    for row in session.query(Reading | Event | Alarm).cid(1):
        if isinstance(row, Event | Alarm):
            assert_type(row.code, int)


async def asynchronous(session: AsyncSession) -> None:
    assert_type(session.query(Reading | Event), AsyncQuery[Reading | Event])
    assert_type(await session.query(Reading | Event).all(), list[Reading | Event])


def annotated(a: Reading | None, b: list[Reading | Event], c: Reading | int) -> Reading | Event | None:
    return a


EitherOf = Reading | Event


def with_an_alias(row: EitherOf) -> EitherOf:
    return row


def checked() -> None:
    changes = schema.check([Reading, Event], "schema.lock")
    assert_type(changes, schema.Changes)
    assert_type(changes.breaking, schema.Changes)
    assert_type(list(changes), list[schema.Change])
    schema.freeze([Reading, 3], "schema.lock")  # type: ignore
