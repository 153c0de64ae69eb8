"""Fixtures for pytest.

Rules kept here:

* Importing this module imports neither the rest of tsmodel nor anything slow: it is loaded in every run of pytest.
* A fixture leaves nothing behind: no file outside of `tmp_path`, no thread, no connection, no changed clock.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from tsmodel.session import Session
    from tsmodel.testing.proxy import Faults
    from tsmodel.timestamps import DurationLike, TimeLike

__all__ = ["Clock", "Server", "ts_clock", "ts_faults", "ts_file", "ts_server", "ts_session"]


class Server(NamedTuple):
    """A running server.

    Attributes:
        host, port: its address.
    """

    host: str
    port: int

    @property
    def url(self) -> str:
        """The target for `connect`."""
        return f"tstorage://{self.host}:{self.port}?timeout=10"


class Clock:
    """The clock that tsmodel sees in this process. It stands still until you move it.

    Attributes:
        now: its time, ns since 2001.
    """

    def __init__(self, now: int) -> None:
        self.now = now

    def advance(self, duration: DurationLike) -> None:
        """Moves the clock forward; a negative int moves it back."""
        from tsmodel.timestamps import duration_ns

        self.now += duration_ns(duration)

    def set(self, at: TimeLike) -> None:
        """Sets the clock to a time."""
        from tsmodel.timestamps import to_ns

        self.now = to_ns(at)


@pytest.fixture
def ts_session() -> Iterator[Session]:
    """An open session on a store in memory, which `Reading.query` uses too. Pending records are discarded at the end."""
    from tsmodel.session import connect

    with connect("memory:") as session:
        yield session
        session.discard()


@pytest.fixture
def ts_file(tmp_path: Path) -> Path:
    """The path of an empty embedded file."""
    from tsmodel.session import connect

    path = tmp_path / "records.tsdb"
    connect(path).close()
    return path


@pytest.fixture
def ts_server() -> Iterator[Server]:
    """A TStorage server with a store in memory, for `connect(ts_server.url)` or any other client."""
    from tsmodel.server import serve_in_thread

    with serve_in_thread() as (host, port):
        yield Server(host, port)


@pytest.fixture
def ts_faults(ts_server: Server) -> Iterator[Faults]:
    """A proxy in front of `ts_server` that cuts, delays and resets connections: `connect(ts_faults.url)`."""
    from tsmodel.testing.proxy import Faults

    with ExitStack() as stack:
        faults = Faults(ts_server.host, ts_server.port)
        stack.callback(faults.close)
        yield faults


@pytest.fixture
def ts_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that tsmodel sees, stopped when the test begins. Acquisition times, `last("15m")` and everything else that
    asks for the time use it. Timeouts and pauses use the real clock."""
    import tsmodel.timestamps as timestamps

    clock = Clock(timestamps.now_ns())
    fake: Any = SimpleNamespace(**{name: getattr(time, name) for name in ("monotonic", "perf_counter", "time")})
    fake.time_ns = lambda: clock.now + timestamps.EPOCH_UNIX_NS
    monkeypatch.setattr(timestamps, "time", fake)
    return clock
