"""Shared fixtures of the web tests: a file with two meters and some corrections, and a test client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.web import Client

from tsmodel import Float64, Int64, Nullable, Scaled, Session, TSModel, connect, field, to_ns
from tsmodel.web.application import application
from tsmodel.web.source import Limits, Source

START = to_ns("2026-11-01T00:00:00Z")
MINUTE = 60 * 10**9


class Reading(TSModel, moid=7):
    """A reading of a meter."""

    volts: Float64 = field(unit="V", doc="line voltage")
    total: Int64
    price: Nullable[Decimal] = field(item=Scaled, digits=2, default=None)


class Event(TSModel, moid=9):
    """An event."""

    code: Int64


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with 1,000 readings of each of two meters, one per minute, one spike, five corrections and an event."""
    path = tmp_path_factory.mktemp("web") / "readings.tsdb"
    with connect(path) as session:
        fill(session)
    return path


def fill(session: Session) -> None:
    for mid in (4711, 4712):
        session.add_all(
            Reading(
                cid=1,
                mid=mid,
                cap=START + n * MINUTE,
                volts=500.0 if (mid, n) == (4711, 444) else 230.0 + n % 10,
                total=2**53 + n,
                price=None if n % 2 else Decimal("1.25"),
            )
            for n in range(1000)
        )
    session.add(Event(cid=2, mid=-5, cap=START + 12345, code=1))
    session.flush()
    wrong = Reading.query.using(session).mid(4711).cap_between(START + 10 * MINUTE, START + 15 * MINUTE).all()
    for row in wrong:
        session.correct(row, volts=200.0)
    session.flush()


@pytest.fixture
def serve() -> Iterator[Callable[..., Client]]:
    """Makes a test client for a session."""
    with ExitStack() as stack:

        def serve(session: Session, models: Any = (Reading, Event), limits: Limits | None = None, **options: Any) -> Client:
            stack.enter_context(session)
            return Client(application(Source(session, models, limits), **options))

        yield serve


@pytest.fixture
def client(path: Path, serve: Callable[..., Client]) -> Client:
    """A test client for the file."""
    return serve(connect(path, read_only=True))
